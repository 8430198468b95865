/* SPDX-License-Identifier: MIT */
/* A load on a ctx ring. */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

#include "ctxring.h"
#include "load.h"

struct ours {
	struct ctx_ring *ring;
	struct ctx_op *ops;
	unsigned completed;
};

static inline void ours_complete(struct ctx_ring *ring, struct ctx_op *op,
				 const struct ctx_completion *completion)
{
	struct ours *ours = (struct ours *)(uintptr_t)op->data;
	(void)ring;
	if (!completion->more)
		ours->completed++;
}

static inline void ours_open(struct ours *ours, unsigned entries, unsigned setup_flags, unsigned flags,
			     unsigned ops)
{
	struct ctx_ring_options options = {.setup_flags = setup_flags, .flags = flags};
	memset(ours, 0, sizeof(*ours));
	if (entries >= LOAD_ENTRIES_MAX)
		options.cq_entries = 2 * LOAD_ENTRIES_MAX;
	bench_check(ctx_ring_open(entries, &options, &ours->ring), "ctx_ring_open");
	ours->ops = bench_allocate(ops, sizeof(*ours->ops));
	for (unsigned i = 0; i < ops; i++)
		ctx_op_init(&ours->ops[i], ours_complete, (uint64_t)(uintptr_t)ours);
}

static inline void ours_close(struct ours *ours)
{
	bench_check(ctx_ring_close(ours->ring, CTX_FOREVER, NULL, 0, NULL), "ctx_ring_close");
	free(ours->ops);
}

static inline struct io_uring_sqe *ours_get_sqe(struct ours *ours, const struct ctx_context *ctx, unsigned i)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ours->ring, ctx, &ours->ops[i]);
	if (!sqe)
		bench_fail("ctx_ring_get_sqe refuses operation %u", i);
	return sqe;
}

/* Submits the operations of each group under its context, and those that are in no group under contexts[0].
 */
static inline void ours_fill(struct ours *ours, const struct load *load, struct ctx_context *const *contexts)
{
	for (unsigned i = 0; i < load->pending; i++)
		load_prepare(load, ours_get_sqe(ours, contexts[load_group(load, i)], i), i);
	bench_check(ctx_ring_submit(ours->ring), "ctx_ring_submit");
}

static inline void ours_reap(struct ours *ours, unsigned count)
{
	while (ours->completed < count)
		bench_check(ctx_ring_dispatch(ours->ring, CTX_FOREVER), "ctx_ring_dispatch");
}

/* Ends ctx and dispatches until count operations have completed. */
static inline void ours_cancel(struct ours *ours, struct ctx_context *ctx, unsigned count)
{
	ours->completed = 0;
	bench_check(ctx_cancel(ctx), "ctx_cancel");
	ours_reap(ours, count);
}

#endif
