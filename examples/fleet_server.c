/* SPDX-License-Identifier: MIT */
/*
 * A server that asks servers on other hosts, see fleet_backend.c. Each request of HTTP is one context, which
 *is shared with the fleet and ends when the client leaves. Its id is in the header tracestate that ctx_inject
 * writes for the backends, next to the trace and the time left. When the client leaves, the operations here
 * and on all those hosts are cancelled, and no code of this program says so to anybody.
 *
 *	fleet_server PORTFILE ADDRESS BACKEND_ADDRESS:PORT...
 *
 * GET /work?n=20&ms=1000 asks each backend the same. ctxd and ctxd-fleet must run.
 */
#include "fleet.h"

#define BACKENDS_MAX 8

struct question {
	struct request *request;
	struct ctx_op connect, send, receive;
	int fd;
	char answer[512];
};

struct request {
	struct ctx_context *sent; /* what the client has sent: its deadline and its trace */
	struct ctx_context *ctx;  /* below that; ends when the client leaves */
	int fd;
	unsigned pending, answered;
	struct ctx_op receive, reply;
	char path[256], id[CTXD_GLOBAL_ID_TEXT], text[HEAD_MAX + 1];
	struct head head;
	size_t text_size;
	struct question questions[BACKENDS_MAX];
};

static struct ctx_ring *ring;
static struct service service;
static struct sockaddr_in backends[BACKENDS_MAX];
static unsigned backend_count;
static struct ctx_op accepting;
static int listener;

static void request_free(struct request *request)
{
	ctx_finish(request->ctx);
	ctx_finish(request->sent);
	close(request->fd);
	free(request);
}

static void replied(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)unused;
	(void)completion;
	request_free(container_of(op, struct request, reply));
}

static void request_reply(struct request *request, const char *status, const char *body)
{
	int size = make_reply(request->text, sizeof(request->text), status, body);

	ctx_op_init(&request->reply, replied, 0);
	io_uring_prep_send(ctx_ring_get_sqe(ring, ctx_background(), &request->reply), request->fd,
			   request->text, (size_t)size, MSG_NOSIGNAL);
}

/* ---- what is asked of a backend: connect, send, receive */

static struct io_uring_sqe *question_sqe(struct question *question, struct ctx_op *op, ctx_op_fn callback)
{
	ctx_op_init(op, callback, 0);
	return ctx_ring_get_sqe(ring, question->request->ctx, op);
}

static void question_over(struct question *question)
{
	struct request *request = question->request;
	char body[64];

	if (question->fd >= 0)
		close(question->fd);
	if (--request->pending)
		return;
	log_request_end(request->ctx, backend_count - request->answered);
	if (ctx_err(request->ctx)) {
		request_free(request);
		return;
	}
	snprintf(body, sizeof(body), "%u of %u backends have answered\n", request->answered, backend_count);
	request_reply(request, request->answered == backend_count ? "200 OK" : "502 Bad Gateway", body);
}

static void received_answer(struct ctx_ring *unused, struct ctx_op *op,
			    const struct ctx_completion *completion)
{
	struct question *question = container_of(op, struct question, receive);

	(void)unused;
	if (completion->res > 0 && !strncmp(question->answer, "HTTP/1.1 200 ", 13))
		question->request->answered++;
	question_over(question);
}

static void sent(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct question *question = container_of(op, struct question, send);

	(void)unused;
	if (completion->res != (int)question->request->text_size) {
		question_over(question);
		return;
	}
	io_uring_prep_recv(question_sqe(question, &question->receive, received_answer), question->fd,
			   question->answer, sizeof(question->answer), 0);
}

static void connected(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct question *question = container_of(op, struct question, connect);

	(void)unused;
	if (completion->res < 0) {
		question_over(question);
		return;
	}
	io_uring_prep_send(question_sqe(question, &question->send, sent), question->fd,
			   question->request->text, question->request->text_size, MSG_NOSIGNAL);
}

static void question_begin(struct question *question, struct request *request,
			   const struct sockaddr_in *address)
{
	question->request = request;
	request->pending++;
	question->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	io_uring_prep_connect(question_sqe(question, &question->connect, connected), question->fd,
			      (const struct sockaddr *)address, sizeof(*address));
}

/* ---- a request */

/* A function for ctx_inject: adds a header. */
static int add_header(const char *name, const char *value, void *data)
{
	struct request *request = data;
	size_t room = sizeof(request->text) - request->text_size;
	int size = snprintf(request->text + request->text_size, room, "%s: %s\r\n", name, value);

	if ((size_t)size >= room)
		return -EMSGSIZE;
	request->text_size += (size_t)size;
	return 0;
}

/* Shares the request with all hosts, and writes what is sent to the backends. */
static bool share_request(struct request *request)
{
	struct ctxd_id id;
	int error = ctxd_share(service.client, request->ctx, NULL, 0600 | CTXD_FLEET, &id);

	if (error) {
		fprintf(stderr, "fleet_server: cannot share with the fleet: %s\n", strerror(-error));
		return false;
	}
	ctxd_global_id_of(service.client, request->ctx, request->id);
	request->text_size =
		(size_t)snprintf(request->text, sizeof(request->text),
				 "GET %s HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n", request->path);
	return !ctx_inject(request->ctx, CTX_CARRIER_HEADERS, NULL, 0, add_header, request) &&
	       request->text_size + 2 < sizeof(request->text);
}

static void request_begin(struct request *request)
{
	if (!head_path(&request->head, request->path, sizeof(request->path)) ||
	    ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, head_value, &request->head, "client",
			&request->sent) ||
	    ctx_with_hangup(request->sent, ring, request->fd, 0, request->path, &request->ctx)) {
		request_reply(request, "400 Bad Request", "This request cannot be served.\n");
		return;
	}
	if (!share_request(request)) {
		request_reply(request, "503 Service Unavailable", "The fleet is not there.\n");
		return;
	}
	log_request("begin", request->ctx, "backends=%u id=%s", backend_count, request->id);
	request->text_size += (size_t)sprintf(request->text + request->text_size, "\r\n");
	for (unsigned i = 0; i < backend_count; i++)
		question_begin(&request->questions[i], request, &backends[i]);
}

static void request_receive(struct request *request);

static void received(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = container_of(op, struct request, receive);

	(void)unused;
	if (completion->res <= 0)
		request_free(request);
	else if (head_add(&request->head, (size_t)completion->res))
		request_begin(request);
	else
		request_receive(request);
}

static void request_receive(struct request *request)
{
	ctx_op_init(&request->receive, received, 0);
	/* With no room left it receives nothing, which ends the connection. */
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx_background(), &request->receive), request->fd,
			   request->head.text + request->head.size, HEAD_MAX - request->head.size, 0);
}

static void accepted(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = completion->res >= 0 ? calloc(1, sizeof(*request)) : NULL;

	(void)unused;
	if (request) {
		request->fd = completion->res;
		request_receive(request);
	}
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), op), listener, NULL, NULL,
			     SOCK_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint16_t port = 0;

	if (argc < 4 || argc > 3 + BACKENDS_MAX) {
		fprintf(stderr, "Usage: fleet_server PORTFILE ADDRESS BACKEND_ADDRESS:PORT...\n");
		return 2;
	}
	for (int i = 3; i < argc; i++)
		if (!parse_address(argv[i], &backends[backend_count++])) {
			fprintf(stderr, "fleet_server: expected ADDRESS:PORT, not \"%s\"\n", argv[i]);
			return 2;
		}
	ring = open_ring(1024, NULL);
	listener = listen_on(argv[2], &port);
	if (!ring || listener < 0 || !service_begin(&service, ring, CTXD_PUBLISH) ||
	    write_port_file(argv[1], port))
		return 1;
	ctx_op_init(&accepting, accepted, 0);
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), &accepting), listener, NULL, NULL,
			     SOCK_CLOEXEC);
	for (;;)
		if (ctx_ring_dispatch(ring, CTX_FOREVER) < 0 && errno != EINTR)
			return 1;
}
