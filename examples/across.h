/* SPDX-License-Identifier: MIT */
/*
 * What across_server.c and across_backend.c share: work that only ends when it is cancelled, and a connection
 * to ctxd that is served by the ring.
 */
#ifndef ACROSS_H
#define ACROSS_H

#include <poll.h>

#include "example.h"

#define WORK_MAX 256

/* Work for a request: receives that nobody answers, instead of reads of a disk or questions to other servers.
 */
struct work {
	struct ctx_op ops[WORK_MAX];
	int silence[2]; /* a pair of sockets on which nothing is sent */
	unsigned pending;
	char sink[16];
	void (*done)(struct work *work); /* called when the last operation has ended */
};

static inline void work_ended(struct ctx_ring *ring, struct ctx_op *op,
			      const struct ctx_completion *completion)
{
	struct work *work = (struct work *)(uintptr_t)op->data;

	(void)ring;
	(void)completion;
	if (--work->pending)
		return;
	close(work->silence[0]);
	close(work->silence[1]);
	work->done(work);
}

static inline bool work_begin(struct work *work, struct ctx_ring *ring, const struct ctx_context *ctx,
			      unsigned count, void (*done)(struct work *work))
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, work->silence))
		return false;
	work->done = done;
	work->pending = count;
	for (unsigned i = 0; i < count; i++) {
		ctx_op_init(&work->ops[i], work_ended, (uintptr_t)work);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &work->ops[i]), work->silence[0], work->sink,
				   sizeof(work->sink), 0);
	}
	return true;
}

/*
 * A connection to ctxd. Its descriptor is polled on the ring, like any other, and ctxd_dispatch is called on
 * the thread of the ring. So when a joined context ends, its operations are cancelled in the same dispatch.
 */
struct service {
	struct ctx_op poll;
	struct ctxd_client *client;
};

static inline void service_ready(struct ctx_ring *ring, struct ctx_op *op,
				 const struct ctx_completion *completion)
{
	struct service *service = container_of(op, struct service, poll);

	ctxd_dispatch(service->client, 0);
	if (completion->more)
		return;
	io_uring_prep_poll_multishot(ctx_ring_get_sqe(ring, ctx_background(), op), ctxd_fd(service->client),
				     POLLIN);
}

static inline bool service_begin(struct service *service, struct ctx_ring *ring, unsigned flags)
{
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH | flags};
	char reason[300];
	int error = ctxd_connect(&options, &service->client);

	if (error) {
		ctxd_explain(error, reason, sizeof(reason));
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, reason);
		return false;
	}
	ctx_op_init(&service->poll, service_ready, 0);
	io_uring_prep_poll_multishot(ctx_ring_get_sqe(ring, ctx_background(), &service->poll),
				     ctxd_fd(service->client), POLLIN);
	return true;
}

/* Prints a line about the end of a request. */
static inline void log_end(const struct ctx_context *ctx, const char *name, unsigned operations)
{
	struct ctx_cause cause;

	ctx_get_cause(ctx, &cause);
	fprintf(stderr, "event=end request=%s operations=%u cause=%s by=%d text=\"%s\"\n", name, operations,
		ctx_cause_kind_name(cause.kind), (int)cause.pid, cause.text);
}

#endif
