/* SPDX-License-Identifier: MIT */
/*
 * The second of three processes. A client sends a request, this server works for it and asks a backend, which
 * is another process, for help. The request is one context. It is shared under an id that is part of the
 * question to the backend. When the client leaves, this context ends, and with it the work in both processes.
 * No message is sent to the backend for that.
 *
 *	across_server PORTFILE BACKEND_HOST:PORT
 *
 * A client sends "COUNT\n"; see examples/across.sh. ctxd must run.
 */
#include <inttypes.h>

#include "across.h"

struct request {
	struct work work; /* first member: request_free() casts it to the request */
	struct ctx_context *ctx;
	int client, backend;
	struct ctx_op hangup; /* a receive that completes when the client leaves */
	unsigned operations;
	char line[16], id[CTXD_ID_TEXT], name[32];
};

static struct ctx_ring *ring;
static struct service service;
static struct sockaddr_in backend_address;
static struct ctx_op accepting;
static int listener;

static void request_free(struct work *work)
{
	struct request *request = (struct request *)work;

	log_end(request->ctx, request->name, request->operations);
	close(request->client);
	close(request->backend);
	ctx_unref(request->ctx);
	free(request);
}

static void client_left(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = container_of(op, struct request, hangup);

	(void)unused;
	(void)completion;
	/* Changes nothing when the context has ended for another reason. */
	ctx_cancel_cause(request->ctx, -ECONNRESET, "the client left");
	work_ended(NULL, &request->work.ops[0], NULL);
}

/* Asks the backend: sends it the id of the context and how many operations to start. */
static bool ask_backend(struct request *request, unsigned count)
{
	char question[CTXD_ID_TEXT + 16];
	struct ctxd_id id;

	if (ctxd_share(service.client, request->ctx, request->name, 0600, &id))
		return false;
	ctxd_format_id(id, request->id, sizeof(request->id));
	request->backend = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int size = snprintf(question, sizeof(question), "%s %u\n", request->id, count);
	return request->backend >= 0 &&
	       !connect(request->backend, (struct sockaddr *)&backend_address, sizeof(backend_address)) &&
	       send(request->backend, question, (size_t)size, MSG_NOSIGNAL) == size;
}

static bool request_begin(struct request *request)
{
	static unsigned last;
	uint64_t count;
	ssize_t size = recv(request->client, request->line, sizeof(request->line) - 1, 0);

	request->line[size > 0 ? strcspn(request->line, "\n") : 0] = '\0';
	if (!parse_number(request->line, WORK_MAX - 1, &count) || !count)
		return false;
	snprintf(request->name, sizeof(request->name), "request-%d-%u", (int)getpid(), ++last);
	if (ctx_with_cancel(ctx_background(), request->name, &request->ctx))
		return false;
	if (!ask_backend(request, (unsigned)count) ||
	    !work_begin(&request->work, ring, request->ctx, (unsigned)count, request_free)) {
		ctx_finish(request->ctx);
		return false;
	}
	request->operations = (unsigned)count;
	/* The receive that sees the client leave is one more operation: the request is freed after it has
	 * ended. */
	request->work.pending++;
	ctx_op_init(&request->hangup, client_left, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, request->ctx, &request->hangup), request->client,
			   request->line, sizeof(request->line), 0);
	fprintf(stderr, "event=begin request=%s id=%s context=%d:%" PRIu32 ".%" PRIu32 " operations=%u\n",
		request->name, request->id, (int)getpid(), (uint32_t)ctx_id(request->ctx),
		(uint32_t)(ctx_id(request->ctx) >> 32), (unsigned)count);
	return true;
}

static void accepted(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = completion->res >= 0 ? calloc(1, sizeof(*request)) : NULL;

	(void)unused;
	if (request) {
		request->client = completion->res;
		request->backend = -1;
		if (!request_begin(request)) {
			close(request->client);
			if (request->backend >= 0)
				close(request->backend);
			free(request);
		}
	}
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), op), listener, NULL, NULL,
			     SOCK_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint16_t port = 0;

	if (argc != 3 || !parse_address(argv[2], &backend_address)) {
		fprintf(stderr, "Usage: across_server PORTFILE BACKEND_HOST:PORT\n");
		return 2;
	}
	ring = open_ring(1024, NULL);
	listener = listen_on_loopback(&port);
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
