/* SPDX-License-Identifier: MIT */
/*
 * ctxring. Forms: pending (in the kernel, on a ring without setup flags), defer (the same with
 * IORING_SETUP_DEFER_TASKRUN), parked (CTX_RING_PARK, with DEFER_TASKRUN). With CTX_RING_PARK a receive is
 * parked when it has waited for 0.2 seconds. Those of idle have waited, so they have CTX_OP_PARK, which parks
 * at once.
 */
#include "ctxring.h"
#include "work.h"

#include <liburing.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

#define ENTRIES_MAX 32768u

static struct ctx_ring *ring;
static struct ctx_op *ops;
static struct ctx_context *top, **contexts; /* of the group, or of each request */
static char (*buffers)[WORK_BUFFER];

static void check(int result, const char *what)
{
	errno = -result;
	if (result < 0)
		work_fail(what);
}

static struct ctx_context *context_of(const struct ctx_context *parent)
{
	struct ctx_context *ctx;
	check(ctx_with_cancel(parent, NULL, &ctx), "ctx_with_cancel");
	return ctx;
}

static void complete(struct ctx_ring *on, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)on;
	(void)op;
	work_done(completion->res);
}

static void open_ring(unsigned count)
{
	struct ctx_ring_options options = {0};
	if (!work_form("pending"))
		options.setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	if (work_form("parked"))
		options.flags = CTX_RING_PARK;
	if (count > ENTRIES_MAX)
		options.cq_entries = 2 * ENTRIES_MAX;
	check(ctx_ring_open(count < ENTRIES_MAX ? 2 * count : ENTRIES_MAX, &options, &ring), "ctx_ring_open");
	ops = work_allocate(count, sizeof(*ops));
	contexts = work_allocate(count, sizeof(*contexts));
	buffers = work_allocate(count, sizeof(*buffers));
	for (unsigned i = 0; i < count; i++)
		ctx_op_init(&ops[i], complete, 0);
	top = context_of(ctx_background());
}

static void group_open(void)
{
	contexts[0] = context_of(top);
}

static void receive(unsigned i)
{
	bool grouped = work_is("idle");
	if (!grouped)
		contexts[i] = context_of(top);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, contexts[grouped ? 0 : i], &ops[i]);
	if (!sqe)
		work_fail("ctx_ring_get_sqe");
	io_uring_prep_recv(sqe, work.near_fds[i % work.sockets], buffers[i], WORK_BUFFER, 0);
	if (grouped && work_form("parked"))
		check(ctx_op_set_flags(&ops[i], CTX_OP_PARK), "ctx_op_set_flags");
}

/* Of parked receives a dispatch makes the attempts that do not wait. */
static void submit(void)
{
	check(ctx_ring_submit(ring), "ctx_ring_submit");
	for (unsigned i = 0; i < 3 && work_is("idle"); i++)
		check(ctx_ring_dispatch(ring, 0), "ctx_ring_dispatch");
}

static void group_end(void)
{
	check(ctx_cancel(contexts[0]), "ctx_cancel");
}

static void leave(unsigned i)
{
	check(ctx_cancel(contexts[i]), "ctx_cancel");
}

static void run_until(unsigned done)
{
	while (work.cancelled + work.received < done)
		check(ctx_ring_dispatch(ring, CTX_FOREVER), "ctx_ring_dispatch");
}

static void request_end(unsigned i)
{
	ctx_finish(contexts[i]);
}

static void group_close(void)
{
	ctx_unref(contexts[0]);
}

static void tree_make(unsigned children)
{
	top = context_of(ctx_background());
	contexts = work_allocate(children, sizeof(*contexts));
	for (unsigned i = 0; i < children; i++)
		contexts[i] = context_of(top);
}

static void tree_end(void)
{
	check(ctx_cancel(top), "ctx_cancel");
}

static unsigned tree_ended(void)
{
	unsigned ended = 0;
	for (unsigned i = 0; i < work.count; i++)
		ended += ctx_err(contexts[i]) != 0;
	return ended;
}

static void tree_free(void)
{
	for (unsigned i = 0; i < work.count; i++)
		ctx_unref(contexts[i]);
	ctx_unref(top);
	free(contexts);
}

static void token(unsigned count)
{
	if (!top)
		top = context_of(ctx_background());
	for (unsigned i = 0; i < count; i++)
		ctx_finish(context_of(top));
}

const struct peer peer = {
	.open = open_ring,
	.group_open = group_open,
	.receive = receive,
	.submit = submit,
	.group_end = group_end,
	.leave = leave,
	.wait = run_until,
	.request_end = request_end,
	.group_close = group_close,
	.tree_make = tree_make,
	.tree_end = tree_end,
	.tree_ended = tree_ended,
	.tree_free = tree_free,
	.token = token,
};
