/* SPDX-License-Identifier: MIT */
/*
 * The life of a request. It has a context, with the deadline that the client has asked for and with the id of
 * the request as a value.
 *
 * A request ends in one of three ways: the route replies; its deadline passes, and the client is sent a 504;
 * or its connection ends, and nothing can be sent. In the last two cases every operation of the route
 * completes as cancelled and the route does nothing more: request_goes_on() waits for the last operation,
 * since until then the kernel may use the memory of the request.
 */
#include "httpd.h"
#include <inttypes.h>

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Unknown";
}

/* Frees what the route has: its sockets, its place at the upstream. No operation of it may be in flight. */
static void request_release(struct request *request)
{
	if (request->release)
		request->release(request);
	request->release = NULL;
}

/* Frees a request that is over. Returns its connection, with the reference that the request had to it. */
static struct connection *request_free(struct request *request)
{
	struct connection *conn = request->conn;

	request_release(request);
	conn->request = NULL;
	ctx_unref(request->tagged);
	ctx_finish(request->ctx);
	free(request->reply);
	free(request);
	return conn;
}

static void log_end(struct request *request, const char *reason)
{
	log_event(request->tagged, "end", "status=%d us=%" PRIu64 " by_deadline=%u reason=\"%s\"",
		  request->status, (now_ns() - request->begun_ns) / 1000, request->by_deadline, reason);
}

void request_finish(struct request *request)
{
	bool keep_alive = request->keep_alive, refused = request->refused;
	struct connection *conn;

	log_end(request, "replied");
	conn = request_free(request);
	if (keep_alive)
		connection_next(conn);
	else if (refused)
		connection_linger(conn);
	else
		connection_close(conn, "no keep-alive");
	connection_unref(conn);
}

void request_abort(struct request *request, const char *why)
{
	struct connection *conn;

	if (!request->replying)
		request->status = 499; /* the status that other servers log for a client that did not wait */
	log_end(request, why);
	conn = request_free(request);
	connection_close(conn, why);
	connection_unref(conn);
}

void request_interrupted(struct request *request)
{
	struct ctx_cause cause;

	ctx_get_cause(request->ctx, &cause);
	if (ctx_err(request->ctx) == -ETIME && !request->replying && !ctx_err(request->conn->ctx)) {
		log_event(request->tagged, "deadline", "ended=%u", request->by_deadline);
		/* The upstream is not to work on while the reply is sent. */
		request_release(request);
		request_reply(request, 504, "The deadline of the request has passed.\n");
		return;
	}
	request_abort(request, cause.text[0] ? cause.text : "deadline");
}

struct io_uring_sqe *request_sqe(struct request *request, struct ctx_op *op)
{
	/* When only the reply is left, its send tells that the client has left. */
	connection_watch_hangup(request->conn);
	request->pending++;
	return ctx_ring_get_sqe(request->conn->server->ring, request->tagged, op);
}

bool request_goes_on(struct request *request, const struct ctx_completion *completion)
{
	request->pending--;
	if (completion->end == CTX_OP_DEADLINE)
		request->by_deadline++;
	if (!ctx_err(request->ctx))
		return true;
	if (!request->pending)
		request_interrupted(request);
	return false;
}

static void request_send_rest(struct request *request)
{
	struct io_uring_sqe *sqe;

	request->pending++;
	sqe = ctx_ring_get_sqe(request->conn->server->ring, request->send_ctx, &request->send);
	io_uring_prep_send(sqe, request->conn->fd, request->send_data, request->send_left, MSG_NOSIGNAL);
}

static void send_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = container_of(op, struct request, send);

	(void)ring;
	request->pending--;
	if (completion->end == CTX_OP_DEADLINE)
		request->by_deadline++;
	if (completion->res > 0) {
		request->replying = true;
		request->send_data += completion->res;
		request->send_left -= (size_t)completion->res;
		if (!request->send_left) {
			request->sent(request);
			return;
		}
	}
	if (ctx_err(request->send_ctx))
		request_interrupted(request);
	else if (completion->res > 0)
		request_send_rest(request);
	else
		request_abort(request, strerror(-completion->res));
}

void request_send(struct request *request, const void *data, size_t length,
		  void (*sent)(struct request *request))
{
	request->send_data = data;
	request->send_left = length;
	request->sent = sent;
	/* The reply that says that the deadline has passed goes under the context of the connection. */
	request->send_ctx = ctx_err(request->ctx) == -ETIME ? request->conn->tagged : request->tagged;
	request_send_rest(request);
}

static void send_reply(struct request *request, int status, const char *type, uint64_t length,
		       const char *body, void (*sent)(struct request *request))
{
	time_t now = time(NULL);
	char date[64];
	struct tm tm;
	int size;

	free(request->reply);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	request->status = status;
	size = asprintf(&request->reply,
			"HTTP/1.1 %d %s\r\n"
			"Date: %s\r\n"
			"Content-Type: %s\r\n"
			"Content-Length: %" PRIu64 "\r\n"
			"X-Request-Id: %" PRIu64 "\r\n"
			"%s"
			"Connection: %s\r\n"
			"\r\n"
			"%s",
			status, status_text(status), date, type, length, request->id,
			status == 405 ? "Allow: GET, HEAD\r\n" : "",
			request->keep_alive ? "keep-alive" : "close", request->head ? "" : body);
	if (size < 0) {
		request->reply = NULL;
		request_abort(request, "no memory");
		return;
	}
	request_send(request, request->reply, (size_t)size, sent);
}

void request_reply(struct request *request, int status, const char *body)
{
	send_reply(request, status, "text/plain", strlen(body), body, request_finish);
}

void request_reply_head(struct request *request, int status, const char *type, uint64_t length,
			void (*sent)(struct request *request))
{
	send_reply(request, status, type, length, "", sent);
}

static int request_make_contexts(struct request *request, uint64_t deadline_ms, const char *label)
{
	struct connection *conn = request->conn;
	int error;

	if (deadline_ms)
		error = ctx_with_timeout(conn->tagged, deadline_ms * NSEC_PER_MSEC, label, &request->ctx);
	else
		error = ctx_with_cancel(conn->tagged, label, &request->ctx);
	if (error)
		return error;
	error = tag_context(request->ctx, &request_key, request->id, &request->tagged);
	if (error)
		ctx_finish(request->ctx);
	return error;
}

/* Copies path for the log, without what would break the line. */
static void printable(char *text, size_t size, const char *path)
{
	size_t i;

	for (i = 0; path[i] && i < size - 1; i++)
		text[i] = path[i] < ' ' || path[i] > '~' || path[i] == '"' ? '?' : path[i];
	text[i] = '\0';
}

void request_begin(struct connection *conn, int refusal, const char *method, bool keep_alive)
{
	char path[256], label[CTX_LABEL_MAX + 1];
	uint64_t deadline_ms = refusal ? 0 : conn->in.deadline_ms;
	struct request *request;

	request = calloc(1, sizeof(*request));
	if (!request)
		goto fail;
	request->conn = conn;
	request->id = ++conn->server->request_count;
	request->begun_ns = now_ns();
	request->keep_alive = keep_alive;
	request->refused = refusal;
	request->head = !strcmp(method, "HEAD");
	request->url = conn->in.url;
	ctx_op_init(&request->send, send_done, 0);
	printable(path, sizeof(path), request->url);
	snprintf(label, sizeof(label), "%s %.*s", method, CTX_LABEL_MAX - 8, path);
	if (request_make_contexts(request, deadline_ms, label))
		goto fail;
	conn->request = request;
	connection_ref(conn);
	log_event(request->tagged, "begin", "method=%s path=\"%s\" deadline_ms=%" PRIu64, method, path,
		  deadline_ms);
	if (deadline_ms)
		log_batch_of(request->ctx, request);
	if (refusal)
		request_reply(request, refusal, "This request cannot be served.\n");
	else if (strcmp(method, "GET") && !request->head)
		request_reply(request, 405, "Only GET and HEAD.\n");
	else
		route_request(request);
	return;

fail:
	free(request);
	connection_close(conn, "no memory");
}
