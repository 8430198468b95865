/* SPDX-License-Identifier: MIT */
/*
 * A TCP proxy with ctxring. proxy_by_hand.c is the same program with plain liburing, proxy.h says what both
 * do.
 *
 *	proxy [--port N] [--port-file FILE] [--idle MS] [--total MS] HOST:PORT
 *
 * The contexts:
 *
 *	proxy		ends with SIGTERM or SIGINT
 *	  session	one for each client; ends when its total time is over
 *	    relay	ends when no byte has moved for the idle time, and when a connection fails
 *
 * Every operation of a session is submitted under its relay, so whichever of the three ends, the library
 * cancels the operations. Each of them delivers one final completion; with the last one the session is freed.
 */
#include "proxy.h"
#include "example.h"

struct session;

/* One direction of a session. It receives or sends; never both. */
struct direction {
	struct ctx_op op;
	struct session *session;
	int from, to;
	bool sending;
	bool ended; /* from sends no more, and to was told so */
	size_t length, sent;
	uint64_t bytes;
	char data[PROXY_BUFFER_SIZE];
};

struct session {
	struct proxy *proxy;
	struct ctx_context *ctx, *relay;
	uint64_t id;
	int client, backend;
	unsigned pending; /* operations whose final completion has not come */
	struct ctx_op connect;
	struct direction up, down;
};

struct proxy {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct proxy_options options;
	int listen_fd;
	struct ctx_op accept;
	uint64_t session_count;
	unsigned sessions;
	bool accept_stalled;
};

static void accept_begin(struct proxy *proxy)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(proxy->ring, proxy->ctx, &proxy->accept);

	proxy->accept_stalled = false;
	io_uring_prep_multishot_accept(sqe, proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ctx_op_set_flags(&proxy->accept, CTX_OP_CLOSE_FD);
}

static void session_free(struct session *session)
{
	struct proxy *proxy = session->proxy;
	struct ctx_cause cause;

	ctx_get_cause(session->relay, &cause);
	proxy_print_end(session->id, session->up.bytes, session->down.bytes, cause.text);
	ctx_finish(session->relay);
	ctx_finish(session->ctx);
	close(session->client);
	close(session->backend);
	free(session);
	proxy->sessions--;
	if (proxy->accept_stalled && !ctx_err(proxy->ctx))
		accept_begin(proxy);
}

static struct io_uring_sqe *session_sqe(struct session *session, struct ctx_op *op)
{
	session->pending++;
	return ctx_ring_get_sqe(session->proxy->ring, session->relay, op);
}

/* Call it last for each completion. */
static void session_completed(struct session *session)
{
	if (!--session->pending)
		session_free(session);
}

static void session_moved(struct session *session)
{
	ctx_set_deadline(session->relay, now_ns() + session->proxy->options.idle_ns);
}

/* ---- relaying */

static void direction_begin(struct direction *direction)
{
	struct io_uring_sqe *sqe = session_sqe(direction->session, &direction->op);

	if (direction->sending)
		io_uring_prep_send(sqe, direction->to, direction->data + direction->sent,
				   direction->length - direction->sent, MSG_NOSIGNAL);
	else
		io_uring_prep_recv(sqe, direction->from, direction->data, sizeof(direction->data), 0);
}

static void direction_next(struct direction *direction, int res)
{
	struct session *session = direction->session;

	session_moved(session);
	if (direction->sending) {
		direction->sent += (size_t)res;
		direction->bytes += (uint64_t)res;
		direction->sending = direction->sent < direction->length;
	} else if (res) {
		direction->sending = true;
		direction->length = (size_t)res;
		direction->sent = 0;
	} else {
		direction->ended = true;
		shutdown(direction->to, SHUT_WR);
		if (session->up.ended && session->down.ended)
			ctx_cancel_cause(session->relay, 0, "both sides closed");
		return;
	}
	direction_begin(direction);
}

static void direction_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct direction *direction = container_of(op, struct direction, op);
	struct session *session = direction->session;

	(void)ring;
	if (completion->res < 0) /* if the context has ended already, its cause stays */
		ctx_cancel_cause(session->relay, completion->res, "%s", strerror(-completion->res));
	else
		direction_next(direction, completion->res);
	session_completed(session);
}

static void connect_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct session *session = container_of(op, struct session, connect);

	(void)ring;
	if (completion->res < 0) {
		ctx_cancel_cause(session->relay, completion->res, "%s", strerror(-completion->res));
	} else {
		session_moved(session);
		direction_begin(&session->up);
		direction_begin(&session->down);
	}
	session_completed(session);
}

/* ---- the life of sessions */

static bool session_make_contexts(struct session *session)
{
	const struct proxy_options *options = &session->proxy->options;

	if (ctx_with_timeout_cause(session->proxy->ctx, options->total_ns, "session", &session->ctx, 0,
				   "total time is over"))
		return false;
	if (!ctx_with_movable_deadline(session->ctx, CTX_FOREVER, "relay", &session->relay)) {
		if (!ctx_set_deadline_cause(session->relay, 0, "idle"))
			return true;
		ctx_finish(session->relay);
	}
	ctx_finish(session->ctx);
	return false;
}

static void session_open(struct proxy *proxy, int client)
{
	struct session *session = malloc(sizeof(*session));
	int backend = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!session || backend < 0)
		goto fail;
	memset(session, 0, sizeof(*session));
	session->proxy = proxy;
	if (!session_make_contexts(session))
		goto fail;
	session->id = ++proxy->session_count;
	session->up.session = session->down.session = session;
	session->client = session->up.from = session->down.to = client;
	session->backend = session->up.to = session->down.from = backend;
	proxy->sessions++;
	proxy_send_at_once(client);
	proxy_send_at_once(backend);
	ctx_op_init(&session->connect, connect_done, 0);
	ctx_op_init(&session->up.op, direction_done, 0);
	ctx_op_init(&session->down.op, direction_done, 0);
	session_moved(session);
	io_uring_prep_connect(session_sqe(session, &session->connect), backend,
			      (struct sockaddr *)&proxy->options.backend, sizeof(proxy->options.backend));
	return;

fail:
	if (backend >= 0)
		close(backend);
	close(client);
	free(session);
}

static void accept_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct proxy *proxy = container_of(op, struct proxy, accept);

	(void)ring;
	if (completion->res >= 0)
		session_open(proxy, completion->res);
	if (completion->more || ctx_err(proxy->ctx))
		return;
	if (proxy_is_short(completion->res) && proxy->sessions)
		proxy->accept_stalled = true;
	else
		accept_begin(proxy);
}

static int proxy_run(struct proxy *proxy)
{
	sigset_t signals;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	error = ctx_with_signals(ctx_background(), proxy->ring, &signals, "proxy", &proxy->ctx);
	if (error)
		return error;
	proxy->listen_fd = proxy_listen(&proxy->options);
	if (proxy->listen_fd < 0)
		return proxy->listen_fd;
	ctx_op_init(&proxy->accept, accept_done, 0);
	accept_begin(proxy);
	error = ctx_ring_run(proxy->ring, proxy->ctx);
	/* A signal came: the cancels have gone, here the completions come in. */
	return error ? error : ctx_ring_run(proxy->ring, NULL);
}

int main(int argc, char **argv)
{
	static struct proxy proxy = {.listen_fd = -1};
	int error;

	error = proxy_options(argc, argv, &proxy.options);
	if (error)
		return error > 0 ? EXIT_SUCCESS : 2;
	raise_file_limit();
	proxy.ring = open_ring(PROXY_RING_ENTRIES, NULL);
	if (!proxy.ring)
		return EXIT_FAILURE;
	error = proxy_run(&proxy);
	if (error)
		fprintf(stderr, "proxy: %s\n", strerror(-error));
	ctx_finish(proxy.ctx);
	ctx_ring_close(proxy.ring, CTX_FOREVER, NULL, 0, NULL);
	if (proxy.listen_fd >= 0)
		close(proxy.listen_fd);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
