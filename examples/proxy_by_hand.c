/* SPDX-License-Identifier: MIT */
/*
 * A TCP proxy with plain liburing. proxy.c is the same program with ctxring, proxy.h says what both do.
 *
 *	proxy_by_hand [--port N] [--port-file FILE] [--idle MS] [--total MS] HOST:PORT
 *
 * How a session ends: session_end() sends one cancel request for each operation that the kernel holds. The
 * kernel may use the buffers until it has posted the completion of the operation itself, whatever the cancel
 * request says: after 0 the operation may still have moved bytes, after -ENOENT its completion is in the
 * queue already, after -EALREADY it runs right now. So the session is freed when the completions of all
 * operations have been seen. Those of the cancel requests are waited for as well, since they carry the
 * address of the session: a late one would be taken for that of a new session at the same address.
 */
#include "proxy.h"
#include <liburing.h>
#include <sys/queue.h>
#include <sys/signalfd.h>

/* What a completion belongs to: the low bits of its user_data. The rest is the address of the session. */
enum kind {
	ACCEPT,
	SIGNAL,
	TIMER,
	CANCEL,
	CONNECT,
	UP,
	DOWN
};
#define KIND_MASK UINT64_C(7)

/* One direction of a session. It receives or sends; never both. */
struct direction {
	int from, to;
	bool sending;
	bool ended; /* from sends no more, and to was told so */
	size_t length, sent;
	uint64_t bytes;
	char data[PROXY_BUFFER_SIZE];
};

struct session {
	TAILQ_ENTRY(session) by_age;  /* proxy->by_age: until it is freed */
	TAILQ_ENTRY(session) by_idle; /* proxy->by_idle: until it ends */
	uint64_t id;
	uint64_t begun_ns, moved_ns;
	int client, backend;
	unsigned pending;  /* a bit for each enum kind that the kernel holds an operation of */
	unsigned cancels;  /* cancel requests whose completion has not been seen */
	const char *ended; /* why; NULL: it goes on */
	struct direction up, down;
};

TAILQ_HEAD(sessions, session);

struct proxy {
	struct io_uring uring;
	struct proxy_options options;
	int listen_fd, signal_fd;
	struct signalfd_siginfo siginfo;
	struct sessions by_age;	 /* oldest first: the order in which their total times are over */
	struct sessions by_idle; /* longest idle first: the order in which their idle times are over */
	uint64_t session_count;
	unsigned pending; /* as of a session: ACCEPT, SIGNAL, TIMER */
	unsigned cancels;
	bool stopped;
	bool accept_stalled;
	struct __kernel_timespec timer; /* the kernel reads it when it takes the request */
};

static void fail(const char *what, int error)
{
	fprintf(stderr, "proxy_by_hand: %s: %s\n", what, strerror(-error));
	exit(EXIT_FAILURE);
}

/* A full queue is given to the kernel first. Completions that this leads to wait in the other queue. */
static struct io_uring_sqe *get_sqe(struct proxy *proxy)
{
	struct io_uring_sqe *sqe;
	int result;

	while (!(sqe = io_uring_get_sqe(&proxy->uring))) {
		result = io_uring_submit(&proxy->uring);
		if (result < 0 && result != -EINTR && result != -EAGAIN)
			fail("submit", result);
	}
	return sqe;
}

static uint64_t user_data(const struct session *session, enum kind kind)
{
	return (uint64_t)(uintptr_t)session | kind;
}

/* Call it after io_uring_prep_*. session is NULL for the proxy's own operations. */
static void name_operation(struct proxy *proxy, struct session *session, struct io_uring_sqe *sqe,
			   enum kind kind)
{
	io_uring_sqe_set_data64(sqe, user_data(session, kind));
	if (session)
		session->pending |= 1u << kind;
	else
		proxy->pending |= 1u << kind;
}

/* Asks the kernel to end one operation. Returns at once. */
static void cancel(struct proxy *proxy, struct session *session, enum kind kind)
{
	struct io_uring_sqe *sqe = get_sqe(proxy);

	io_uring_prep_cancel64(sqe, user_data(session, kind), 0);
	io_uring_sqe_set_data64(sqe, user_data(session, CANCEL));
	if (session)
		session->cancels++;
	else
		proxy->cancels++;
}

/* ---- the end of sessions */

static void accept_begin(struct proxy *proxy);

static void session_end(struct proxy *proxy, struct session *session, const char *why)
{
	if (session->ended)
		return;
	session->ended = why;
	TAILQ_REMOVE(&proxy->by_idle, session, by_idle);
	for (enum kind kind = CONNECT; kind <= DOWN; kind++)
		if (session->pending & 1u << kind)
			cancel(proxy, session, kind);
}

/* Call it last for each completion: frees a session that has ended when the kernel holds nothing of it. */
static void session_free_if_over(struct proxy *proxy, struct session *session)
{
	if (!session->ended || session->pending || session->cancels)
		return;
	proxy_print_end(session->id, session->up.bytes, session->down.bytes, session->ended);
	TAILQ_REMOVE(&proxy->by_age, session, by_age);
	close(session->client);
	close(session->backend);
	free(session);
	if (proxy->accept_stalled && !proxy->stopped)
		accept_begin(proxy);
}

/* ---- deadlines: one timeout in the kernel for the earliest of all */

static uint64_t next_deadline_ns(const struct proxy *proxy)
{
	const struct session *oldest = TAILQ_FIRST(&proxy->by_age);
	const struct session *idlest = TAILQ_FIRST(&proxy->by_idle);
	uint64_t idle_ns, total_ns;

	/* Those that have ended are at any place in by_age, until they are freed. */
	while (oldest && oldest->ended)
		oldest = TAILQ_NEXT(oldest, by_age);
	if (!oldest || !idlest)
		return 0;
	total_ns = oldest->begun_ns + proxy->options.total_ns;
	idle_ns = idlest->moved_ns + proxy->options.idle_ns;
	return total_ns < idle_ns ? total_ns : idle_ns;
}

/*
 * A deadline is never earlier than those that were there before it, so a timeout that is armed is early
 * enough. It may come too early, when the session that it was for has moved bytes or ended.
 */
static void timer_arm(struct proxy *proxy)
{
	uint64_t at_ns = next_deadline_ns(proxy);
	struct io_uring_sqe *sqe;

	if (!at_ns || proxy->stopped || proxy->pending & 1u << TIMER)
		return;
	proxy->timer.tv_sec = (long long)(at_ns / NSEC_PER_SEC);
	proxy->timer.tv_nsec = (long long)(at_ns % NSEC_PER_SEC);
	sqe = get_sqe(proxy);
	io_uring_prep_timeout(sqe, &proxy->timer, 0, IORING_TIMEOUT_ABS);
	name_operation(proxy, NULL, sqe, TIMER);
}

static void timer_done(struct proxy *proxy)
{
	struct session *session, *next;
	uint64_t now = now_ns();

	for (session = TAILQ_FIRST(&proxy->by_age); session; session = next) {
		next = TAILQ_NEXT(session, by_age);
		if (session->begun_ns + proxy->options.total_ns > now)
			break;
		session_end(proxy, session, "total time is over");
	}
	while ((session = TAILQ_FIRST(&proxy->by_idle)) && session->moved_ns + proxy->options.idle_ns <= now)
		session_end(proxy, session, "idle");
	timer_arm(proxy);
}

static void session_moved(struct proxy *proxy, struct session *session)
{
	session->moved_ns = now_ns();
	TAILQ_REMOVE(&proxy->by_idle, session, by_idle);
	TAILQ_INSERT_TAIL(&proxy->by_idle, session, by_idle);
}

/* ---- relaying */

static void direction_begin(struct proxy *proxy, struct session *session, enum kind kind)
{
	struct direction *direction = kind == UP ? &session->up : &session->down;
	struct io_uring_sqe *sqe = get_sqe(proxy);

	if (direction->sending)
		io_uring_prep_send(sqe, direction->to, direction->data + direction->sent,
				   direction->length - direction->sent, MSG_NOSIGNAL);
	else
		io_uring_prep_recv(sqe, direction->from, direction->data, sizeof(direction->data), 0);
	name_operation(proxy, session, sqe, kind);
}

static void direction_done(struct proxy *proxy, struct session *session, enum kind kind, int res)
{
	struct direction *direction = kind == UP ? &session->up : &session->down;

	session_moved(proxy, session);
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
			session_end(proxy, session, "both sides closed");
		return;
	}
	direction_begin(proxy, session, kind);
}

static void session_done(struct proxy *proxy, struct session *session, enum kind kind, int res)
{
	session->pending &= ~(1u << kind);
	if (session->ended) /* what came is for nobody any more */
		return;
	if (res < 0) {
		session_end(proxy, session, strerror(-res));
	} else if (kind == CONNECT) {
		session_moved(proxy, session);
		direction_begin(proxy, session, UP);
		direction_begin(proxy, session, DOWN);
	} else {
		direction_done(proxy, session, kind, res);
	}
}

static void session_open(struct proxy *proxy, int client)
{
	struct session *session = malloc(sizeof(*session));
	int backend = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct io_uring_sqe *sqe;

	if (!session || backend < 0) {
		if (backend >= 0)
			close(backend);
		close(client);
		free(session);
		return;
	}
	memset(session, 0, sizeof(*session));
	session->id = ++proxy->session_count;
	session->client = session->up.from = session->down.to = client;
	session->backend = session->up.to = session->down.from = backend;
	session->begun_ns = session->moved_ns = now_ns();
	TAILQ_INSERT_TAIL(&proxy->by_age, session, by_age);
	TAILQ_INSERT_TAIL(&proxy->by_idle, session, by_idle);
	proxy_send_at_once(client);
	proxy_send_at_once(backend);
	sqe = get_sqe(proxy);
	io_uring_prep_connect(sqe, backend, (struct sockaddr *)&proxy->options.backend,
			      sizeof(proxy->options.backend));
	name_operation(proxy, session, sqe, CONNECT);
	timer_arm(proxy);
}

/* ---- the proxy itself */

static void accept_begin(struct proxy *proxy)
{
	struct io_uring_sqe *sqe = get_sqe(proxy);

	proxy->accept_stalled = false;
	io_uring_prep_multishot_accept(sqe, proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	name_operation(proxy, NULL, sqe, ACCEPT);
}

static void accept_done(struct proxy *proxy, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		proxy->pending &= ~(1u << ACCEPT);
	/* A connection may have been accepted before the cancel request arrived. */
	if (cqe->res >= 0 && proxy->stopped)
		close(cqe->res);
	else if (cqe->res >= 0)
		session_open(proxy, cqe->res);
	if (proxy->stopped || proxy->pending & 1u << ACCEPT)
		return;
	if (proxy_is_short(cqe->res) && !TAILQ_EMPTY(&proxy->by_age))
		proxy->accept_stalled = true;
	else
		accept_begin(proxy);
}

/* SIGTERM. The kernel finds the newest of many operations first, so the newest session ends first. */
static void stop(struct proxy *proxy)
{
	struct session *session;

	proxy->stopped = true;
	if (proxy->pending & 1u << ACCEPT)
		cancel(proxy, NULL, ACCEPT);
	if (proxy->pending & 1u << TIMER)
		cancel(proxy, NULL, TIMER);
	TAILQ_FOREACH_REVERSE(session, &proxy->by_age, sessions, by_age)
	session_end(proxy, session, "the proxy ends");
}

static void handle(struct proxy *proxy, const struct io_uring_cqe *cqe)
{
	struct session *session = (struct session *)(uintptr_t)(cqe->user_data & ~KIND_MASK);
	enum kind kind = cqe->user_data & KIND_MASK;

	switch (kind) {
	case ACCEPT:
		accept_done(proxy, cqe);
		return;
	case SIGNAL:
		proxy->pending &= ~(1u << SIGNAL);
		stop(proxy);
		return;
	case TIMER:
		proxy->pending &= ~(1u << TIMER);
		if (!proxy->stopped)
			timer_done(proxy);
		return;
	case CANCEL:
		if (!session) {
			proxy->cancels--;
			return;
		}
		session->cancels--;
		break;
	default:
		session_done(proxy, session, kind, cqe->res);
	}
	session_free_if_over(proxy, session);
}

static void proxy_run(struct proxy *proxy)
{
	struct io_uring_cqe *cqe;
	unsigned head, count;
	int result;

	while (!proxy->stopped || proxy->pending || proxy->cancels || !TAILQ_EMPTY(&proxy->by_age)) {
		result = io_uring_submit_and_wait(&proxy->uring, 1);
		if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
			fail("wait", result);
		count = 0;
		io_uring_for_each_cqe(&proxy->uring, head, cqe)
		{
			handle(proxy, cqe);
			count++;
		}
		io_uring_cq_advance(&proxy->uring, count);
	}
}

static int watch_signals(struct proxy *proxy)
{
	struct io_uring_sqe *sqe;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	add_unless_ignored(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	proxy->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (proxy->signal_fd < 0)
		return -errno;
	sqe = get_sqe(proxy);
	io_uring_prep_read(sqe, proxy->signal_fd, &proxy->siginfo, sizeof(proxy->siginfo), 0);
	name_operation(proxy, NULL, sqe, SIGNAL);
	return 0;
}

int main(int argc, char **argv)
{
	static struct proxy proxy;
	int error;

	error = proxy_options(argc, argv, &proxy.options);
	if (error)
		return error > 0 ? EXIT_SUCCESS : 2;
	TAILQ_INIT(&proxy.by_age);
	TAILQ_INIT(&proxy.by_idle);
	raise_file_limit();
	error = io_uring_queue_init(PROXY_RING_ENTRIES, &proxy.uring, 0);
	if (error)
		fail("no io_uring", error);
	error = watch_signals(&proxy);
	if (error)
		fail("signals", error);
	proxy.listen_fd = proxy_listen(&proxy.options);
	if (proxy.listen_fd < 0)
		fail("listen", proxy.listen_fd);
	accept_begin(&proxy);
	proxy_run(&proxy);
	io_uring_queue_exit(&proxy.uring);
	close(proxy.signal_fd);
	close(proxy.listen_fd);
	return EXIT_SUCCESS;
}
