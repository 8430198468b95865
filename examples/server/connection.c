/* SPDX-License-Identifier: MIT */
/*
 * A connection: llhttp makes requests of the bytes that are received, and one request is answered at a time,
 * in their order. While a request is answered nothing is received; what the client has sent ahead waits in
 * the buffer or in the socket.
 *
 * So a receive cannot show that the client has left. A poll does that, which is pending for the life of the
 * connection. With --park an idle connection is to have nothing in the kernel, and the poll is pending only
 * while a request waits for something. A client that has closed only its sending side counts as one that has
 * left: without sending, the two cannot be told apart.
 */
#include "httpd.h"
#include <poll.h>
#include <strings.h>

static int on_url(llhttp_t *parser, const char *text, size_t length)
{
	struct connection *conn = parser->data;
	struct incoming *in = &conn->in;

	if (length > URL_LENGTH_MAX - in->url_length) {
		in->refusal = 414;
		return HPE_USER;
	}
	memcpy(in->url + in->url_length, text, length);
	in->url_length += length;
	in->url[in->url_length] = '\0';
	return 0;
}

/* The parser gives names and values in pieces. Collects as much of them as matters. */
static void collect(char *piece, size_t size, size_t *used, const char *text, size_t length)
{
	size_t room = size - 1 - *used;

	if (length > room)
		length = room;
	memcpy(piece + *used, text, length);
	*used += length;
	piece[*used] = '\0';
}

static int count_header(struct incoming *in, size_t length)
{
	in->header_bytes += length;
	if (in->header_bytes <= HEADER_BYTES_MAX)
		return 0;
	in->refusal = 431;
	return HPE_USER;
}

static int on_header_field(llhttp_t *parser, const char *text, size_t length)
{
	struct incoming *in = &((struct connection *)parser->data)->in;

	collect(in->field, sizeof(in->field), &in->field_length, text, length);
	return count_header(in, length);
}

static int on_header_value(llhttp_t *parser, const char *text, size_t length)
{
	struct incoming *in = &((struct connection *)parser->data)->in;

	collect(in->value, sizeof(in->value), &in->value_length, text, length);
	return count_header(in, length);
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct incoming *in = &((struct connection *)parser->data)->in;

	/* The parser does not remove blanks behind a value. */
	in->value[strcspn(in->value, " \t")] = '\0';
	/* A bad value is answered after the whole request, when the client reads. */
	if (!strcasecmp(in->field, "X-Deadline-Ms") &&
	    (!parse_number(in->value, DEADLINE_MS_MAX, &in->deadline_ms) || !in->deadline_ms))
		in->refusal = 400;
	if (!strcasecmp(in->field, "Host"))
		in->host = true;
	in->field_length = 0;
	in->field[0] = '\0';
	in->value_length = 0;
	in->value[0] = '\0';
	return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct incoming *in = &((struct connection *)parser->data)->in;

	if (parser->http_major != 1) {
		in->refusal = 505;
		return HPE_USER;
	}
	if (parser->http_minor >= 1 && !in->host)
		in->refusal = 400;
	if ((parser->flags & F_CONTENT_LENGTH) && parser->content_length > BODY_BYTES_MAX) {
		in->refusal = 413;
		return HPE_USER;
	}
	return 0;
}

/* No route wants a body: its bytes are counted and ignored. */
static int on_body(llhttp_t *parser, const char *text, size_t length)
{
	struct incoming *in = &((struct connection *)parser->data)->in;

	(void)text;
	in->body_bytes += length;
	if (in->body_bytes <= BODY_BYTES_MAX)
		return 0;
	in->refusal = 413;
	return HPE_USER;
}

/* Stops the parser behind this request. The next one is parsed when this one has been answered. */
static int on_message_complete(llhttp_t *parser)
{
	((struct connection *)parser->data)->in.complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t parser_settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

static void incoming_reset(struct incoming *in)
{
	in->url_length = in->field_length = in->value_length = 0;
	in->url[0] = in->field[0] = in->value[0] = '\0';
	in->header_bytes = in->body_bytes = 0;
	in->deadline_ms = 0;
	in->host = false;
	in->refusal = 0;
	in->complete = false;
}

static void connection_receive(struct connection *conn)
{
	struct io_uring_sqe *sqe;

	conn->filled = conn->parsed = 0;
	sqe = ctx_ring_get_sqe(conn->server->ring, conn->tagged, &conn->receive);
	io_uring_prep_recv(sqe, conn->fd, conn->buffer, sizeof(conn->buffer), 0);
	ctx_op_set_timeout(&conn->receive, conn->lingering ? LINGER_TIMEOUT_NS : IDLE_TIMEOUT_NS);
	connection_ref(conn);
	/* The receive sees a hang-up, too. An error means that the cancel is under way already. */
	if (conn->server->park && conn->watched)
		ctx_op_cancel(conn->server->ring, &conn->hangup);
}

/* Parses what is in the buffer. True when a request is complete, or when it cannot be one. */
static bool connection_parse(struct connection *conn, int *ret_refusal)
{
	llhttp_errno_t error;

	do {
		error = llhttp_execute(&conn->parser, conn->buffer + conn->parsed,
				       conn->filled - conn->parsed);
		if (error == HPE_OK) {
			conn->parsed = conn->filled;
			return false;
		}
		conn->parsed = (size_t)(llhttp_get_error_pos(&conn->parser) - conn->buffer);
		/* A request may offer another protocol. Going on in HTTP/1.1 is a valid answer. */
		if (error == HPE_PAUSED_UPGRADE)
			llhttp_resume_after_upgrade(&conn->parser);
	} while (error == HPE_PAUSED_UPGRADE);
	*ret_refusal = conn->in.refusal || error == HPE_PAUSED ? conn->in.refusal : 400;
	return true;
}

/* Closes a descriptor on which no operation is left. With --park the ring has to forget its number. */
void server_close_fd(struct server *server, int fd)
{
	if (server->park)
		ctx_ring_close_fd(server->ring, fd);
	else
		close(fd);
}

/* Answers the next request that is in the buffer, or receives more. */
void connection_next(struct connection *conn)
{
	const char *method;
	bool keep_alive;
	int refusal;

	if (conn->hung_up) {
		connection_close(conn, "client hung up");
		return;
	}
	if (conn->in.complete) {
		incoming_reset(&conn->in);
		llhttp_resume(&conn->parser);
	}
	if (conn->parsed == conn->filled || !connection_parse(conn, &refusal)) {
		connection_receive(conn);
		return;
	}
	/* Of a request that was not understood it is not known where it ends, so no other one can follow. */
	keep_alive = conn->in.complete && llhttp_should_keep_alive(&conn->parser);
	method = conn->in.url_length ? llhttp_method_name((llhttp_method_t)conn->parser.method) : "-";
	request_begin(conn, refusal, method, keep_alive);
}

static void receive_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct connection *conn = container_of(op, struct connection, receive);

	(void)ring;
	if (completion->res > 0 && conn->lingering) {
		connection_receive(conn);
	} else if (completion->res > 0) {
		conn->filled = (size_t)completion->res;
		connection_next(conn);
	} else if (completion->res == 0) {
		connection_close(conn, "client closed");
	} else if (completion->end == CTX_OP_TIMEOUT) {
		connection_close(conn, "idle");
	} else {
		connection_close(conn, strerror(-completion->res));
	}
	connection_unref(conn);
}

/*
 * The client has left. If there is no request, the receive sees that as well, after the last bytes. If there
 * is one, nobody waits for it any more: the context of the connection is ended, and with it everything that
 * is pending under it.
 */
static void hangup_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct connection *conn = container_of(op, struct connection, hangup);

	(void)ring;
	conn->watched = false;
	if (completion->res > 0) {
		conn->hung_up = true;
		if (conn->request) {
			log_event(conn->request->tagged, "hangup", "pending=%u", conn->request->pending);
			log_batch_of(conn->ctx, conn->request);
			ctx_cancel_cause(conn->ctx, -ECONNRESET, "client hung up");
		}
	} else if (completion->end == CTX_OP_CANCELLED && conn->request && !ctx_err(conn->ctx)) {
		/* It was cancelled while the connection was idle, and then a request came first. */
		connection_watch_hangup(conn);
	}
	connection_unref(conn);
}

void connection_watch_hangup(struct connection *conn)
{
	struct io_uring_sqe *sqe;

	if (conn->watched || conn->server->no_cancel)
		return;
	conn->watched = true;
	sqe = ctx_ring_get_sqe(conn->server->ring, conn->tagged, &conn->hangup);
	io_uring_prep_poll_add(sqe, conn->fd, POLLRDHUP | POLLHUP | POLLERR);
	connection_ref(conn);
}

void connection_open(struct server *server, int fd)
{
	struct connection *conn;
	char label[CTX_LABEL_MAX + 1];

	conn = malloc(sizeof(*conn));
	if (!conn)
		goto fail;
	/* The buffer is not cleared: then most of it takes no memory while the connection is idle. */
	memset(conn, 0, offsetof(struct connection, buffer));
	conn->server = server;
	conn->fd = fd;
	conn->refs = 1;
	conn->id = ++server->connection_count;
	snprintf(label, sizeof(label), "conn %llu", (unsigned long long)conn->id);
	if (ctx_with_cancel(server->ctx, label, &conn->ctx))
		goto fail;
	if (tag_context(conn->ctx, &connection_key, conn->id, &conn->tagged))
		goto fail_context;
	ctx_op_init(&conn->receive, receive_done, 0);
	ctx_op_init(&conn->hangup, hangup_done, 0);
	llhttp_init(&conn->parser, HTTP_REQUEST, &parser_settings);
	conn->parser.data = conn;
	if (!server->park)
		connection_watch_hangup(conn);
	connection_receive(conn);
	return;

fail_context:
	ctx_finish(conn->ctx);
fail:
	log_event(server->ctx, "refused", "reason=\"no memory\"");
	free(conn);
	server_close_fd(server, fd);
}

/* Ends everything that the connection waits for. It is freed after the last operation has completed. */
void connection_close(struct connection *conn, const char *why)
{
	if (conn->closed)
		return;
	conn->closed = true;
	ctx_cancel_cause(conn->ctx, 0, "%s", why);
	connection_unref(conn);
}

/*
 * To close a socket that has unread bytes resets the connection, and the client may lose the reply that says
 * why it was refused. So the server ends its sending side and reads until the client has closed, for a
 * bounded time.
 */
void connection_linger(struct connection *conn)
{
	conn->lingering = true;
	if (conn->hung_up || shutdown(conn->fd, SHUT_WR) < 0)
		connection_close(conn, "refused");
	else
		connection_receive(conn);
}

struct connection *connection_ref(struct connection *conn)
{
	conn->refs++;
	return conn;
}

void connection_unref(struct connection *conn)
{
	struct server *server = conn->server;

	if (--conn->refs)
		return;
	server_close_fd(server, conn->fd);
	ctx_unref(conn->tagged);
	ctx_unref(conn->ctx);
	free(conn);
	if (server->accept_stalled)
		server_accept(server);
}
