/* SPDX-License-Identifier: MIT */
/*
 * A server on another host that the servers of examples/fleet_server.c ask. It serves requests of HTTP, each
 * under a context of its own, which ctx_extract makes of the headers. With the header tracestate that context
 * is joined to the one on the host that asks. When it ends there, for whatever reason, the operations here
 *are cancelled in one batch.
 *
 *	fleet_backend PORTFILE ADDRESS
 *
 * GET /work?n=20&ms=1000 is 20 operations that take a second. Without ms they take an hour. This server does
 * not look whether the connection is still there: it is the context alone that ends the work. ctxd and
 * ctxd-fleet must run.
 */
#include "fleet.h"

struct job {
	struct ctx_context *ctx;
	int fd;
	unsigned operations, pending;
	struct ctx_op receive, send, ops[WORK_MAX];
	struct __kernel_timespec time;
	char reply[256];
	struct head head;
};

static struct ctx_ring *ring;
static struct service service;
static struct ctx_op accepting;
static int listener;

static void job_free(struct job *job)
{
	close(job->fd);
	ctx_finish(job->ctx);
	free(job);
}

static void replied(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)unused;
	(void)completion;
	job_free(container_of(op, struct job, send));
}

static void job_reply(struct job *job, const char *status, const char *body)
{
	int size = make_reply(job->reply, sizeof(job->reply), status, body);

	ctx_op_init(&job->send, replied, 0);
	io_uring_prep_send(ctx_ring_get_sqe(ring, ctx_background(), &job->send), job->fd, job->reply,
			   (size_t)size, MSG_NOSIGNAL);
}

static void worked(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct job *job = (struct job *)(uintptr_t)op->data;

	(void)unused;
	(void)completion;
	if (--job->pending)
		return;
	log_request_end(job->ctx, job->operations);
	if (ctx_err(job->ctx))
		job_free(job);
	else
		job_reply(job, "200 OK", "done\n");
}

/* Makes the context of the request and starts its work. */
static void job_begin(struct job *job)
{
	char path[256];
	uint64_t ms;

	if (!head_path(&job->head, path, sizeof(path)) ||
	    ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, head_value, &job->head, path,
			&job->ctx)) {
		job_reply(job, "400 Bad Request", "This request cannot be served.\n");
		return;
	}
	job->operations = (unsigned)path_number(path, "n=", 1);
	if (!job->operations || job->operations > WORK_MAX)
		job->operations = 1;
	job->pending = job->operations;
	ms = path_number(path, "ms=", UINT64_C(3600000));
	job->time.tv_sec = (long long)(ms / 1000);
	job->time.tv_nsec = (long long)(ms % 1000 * NSEC_PER_MSEC);
	log_request("begin", job->ctx, "operations=%u left_ms=%" PRIu64, job->operations,
		    ctx_time_left_ns(job->ctx) == CTX_FOREVER ? 0
							      : ctx_time_left_ns(job->ctx) / NSEC_PER_MSEC);
	for (unsigned i = 0; i < job->operations; i++) {
		ctx_op_init(&job->ops[i], worked, (uintptr_t)job);
		io_uring_prep_timeout(ctx_ring_get_sqe(ring, job->ctx, &job->ops[i]), &job->time, 0, 0);
	}
}

static void job_receive(struct job *job);

static void received(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct job *job = container_of(op, struct job, receive);

	(void)unused;
	if (completion->res <= 0)
		job_free(job);
	else if (head_add(&job->head, (size_t)completion->res))
		job_begin(job);
	else
		job_receive(job);
}

static void job_receive(struct job *job)
{
	ctx_op_init(&job->receive, received, 0);
	/* With no room left it receives nothing, which ends the connection. */
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx_background(), &job->receive), job->fd,
			   job->head.text + job->head.size, HEAD_MAX - job->head.size, 0);
}

static void accepted(struct ctx_ring *unused, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct job *job = completion->res >= 0 ? calloc(1, sizeof(*job)) : NULL;

	(void)unused;
	if (job) {
		job->fd = completion->res;
		job_receive(job);
	}
	io_uring_prep_accept(ctx_ring_get_sqe(ring, ctx_background(), op), listener, NULL, NULL,
			     SOCK_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint16_t port = 0;

	if (argc != 3) {
		fprintf(stderr, "Usage: fleet_backend PORTFILE ADDRESS\n");
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
