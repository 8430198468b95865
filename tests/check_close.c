/* SPDX-License-Identifier: MIT */
/* Closing, and what must not be left behind or reached by mistake. */
#include "ring.h"
#include "support/rings.h"

struct starter {
	struct probe first, second;
	const struct ctx_context *ctx;
};

/* As a server does: a receive has ended, so its descriptor is to be closed by the ring. */
static void start_another(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct starter *starter = (struct starter *)op;

	probe_count(ring, op, completion);
	io_uring_prep_nop(probe_start(ring, starter->ctx, &starter->second));
}

START_TEST(close_ends_what_its_callbacks_begin)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct starter starter = {.ctx = ctx};
	char byte;

	ctx_op_init(&starter.first.op, start_another, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &starter.first.op), pair.near, &byte, 1, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ring_end(ring);
	ck_assert_probe(&starter.first, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&starter.second, -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

static int close_within;

static void close_again(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	close_within = ctx_ring_close(data, 0, NULL, 0, NULL);
}

START_TEST(a_posted_callback_runs_while_the_ring_still_stands)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};

	close_within = 1;
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, close_again, ring, NULL));
	ring_end(ring);
	ck_assert_int_eq(close_within, -EBUSY);
	ctx_unref(ctx);
}
END_TEST

START_TEST(an_operation_of_another_ring_is_not_cancelled)
{
	struct ctx_ring *ring = ring_of(_i), *other = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe mine, stranger;
	char bytes[2];

	probe_recv(ring, ctx, &mine, pair.near, &bytes[0], 1);
	probe_recv(other, ctx, &stranger, pair.far, &bytes[1], 1);
	ck_assert_int_eq(ctx_op_cancel(ring, &stranger.op), -EALREADY);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_ring_submit(other), 1);
	ck_assert_int_eq(ctx_op_cancel(ring, &stranger.op), -EALREADY);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(mine.finals, 0);
	ck_assert_ok(ctx_op_cancel(other, &stranger.op));
	await_probes(other, &stranger, 1);
	ring_end(other);
	ring_end(ring);
	ck_assert_probe(&mine, -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(short_timeouts_leave_no_kernel_timeouts_behind_a_long_one)
{
	const struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	struct ctx_ring *ring = ring_with(_i, 64, &options);
	struct ctx_context *late = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probe, long_one;
	char byte;

	probe_recv(ring, late, &long_one, pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	for (int i = 0; i < 20; i++) {
		struct ctx_context *soon = timed_child_of(ctx_background(), MILLISECOND);
		probe_recv(ring, soon, &probe, pair.near, &byte, 1);
		await_probes(ring, &probe, 1);
		ctx_finish(soon);
	}
	ck_assert_int_le(__builtin_popcountll(ring->times.kernel_timers.out), 2);
	ring_end(ring);
	ctx_finish(late);
	pair_end(pair);
}
END_TEST

START_TEST(a_drain_counts_what_a_barrier_holds_back)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe before, behind;
	char byte;

	probe_recv(ring, ctx_background(), &before, pair.near, &byte, 1);
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &behind);
	io_uring_prep_send(sqe, pair.near, "x", 1, 0);
	sqe->flags |= IOSQE_IO_DRAIN;
	ck_assert_int_ge(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_ring_drain(ring, ctx, MILLISECOND, NULL, 0, NULL), -ETIMEDOUT);
	ck_assert_int_eq(write(pair.far, "y", 1), 1);
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	await_probes(ring, &behind, 1);
	ck_assert_probe(&behind, 1, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_chain_whose_context_ends_while_it_is_built_never_starts)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probes[2];
	char byte;

	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probes[0]);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_LINK;
	ck_assert_ok(ctx_cancel(ctx));
	io_uring_prep_send(probe_start(ring, ctx_background(), &probes[1]), pair.near, "x", 1, 0);
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(recv(pair.far, &byte, 1, MSG_DONTWAIT), -1);
	ring_end(ring);
	ctx_unref(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(the_fd_of_a_ring_shows_what_was_ready_before_it_was_asked_for)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char byte;

	probe_recv(ring, ctx, &probe, pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	struct pollfd fd = {.fd = ctx_ring_fd(ring), .events = POLLIN};
	ck_assert_int_ge(fd.fd, 0);
	ck_assert_int_eq(poll(&fd, 1, 30000), 1);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("close");
	TCase *corners = test_case_ring(suite, "corners");

	ON_EACH_RING(corners, close_ends_what_its_callbacks_begin);
	ON_EACH_RING(corners, a_posted_callback_runs_while_the_ring_still_stands);
	ON_EACH_RING(corners, an_operation_of_another_ring_is_not_cancelled);
	ON_EACH_RING(corners, short_timeouts_leave_no_kernel_timeouts_behind_a_long_one);
	ON_EACH_RING(corners, a_drain_counts_what_a_barrier_holds_back);
	ON_EACH_RING(corners, a_chain_whose_context_ends_while_it_is_built_never_starts);
	ON_EACH_RING(corners, the_fd_of_a_ring_shows_what_was_ready_before_it_was_asked_for);
	return suite;
}
