/* SPDX-License-Identifier: MIT */
/*
 * Goal: an operation that is begun under a context that is done completes at the next dispatch, whatever
 * holds the queue back. Method: before it stands one with IOSQE_IO_DRAIN that waits for a receive for ever.
 */
#include "support/rings.h"

struct held {
	struct ctx_ring *ring;
	struct pair pair;
	struct ctx_context *live, *done;
	struct probe receive, draining;
	char byte;
};

static void held_begin(struct held *held, int kind)
{
	held->ring = ring_of(kind);
	held->pair = pair_new();
	held->live = child_of(ctx_background());
	held->done = child_of(ctx_background());
	ck_assert_ok(ctx_cancel(held->done));
	probe_recv(held->ring, held->live, &held->receive, held->pair.near, &held->byte, 1);
	struct io_uring_sqe *sqe = probe_start(held->ring, held->live, &held->draining);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
}

static void held_end(struct held *held)
{
	ck_assert_uint_eq(held->receive.finals, 0);
	ck_assert_uint_eq(held->draining.finals, 0);
	ctx_finish(held->live);
	ctx_unref(held->done);
	await_probes(held->ring, &held->receive, 1);
	await_probes(held->ring, &held->draining, 1);
	ring_end(held->ring);
	pair_end(held->pair);
}

START_TEST(one_under_a_done_context_does_not_wait_for_a_draining_one)
{
	struct probe refused;
	struct held held;

	held_begin(&held, _i);
	io_uring_prep_nop(probe_start(held.ring, held.done, &refused));
	ck_assert_int_ge(ctx_ring_submit(held.ring), 0);
	ck_assert_int_ge(ctx_ring_dispatch(held.ring, 0), 1);
	ck_assert_probe(&refused, -ECANCELED, CTX_OP_CANCELLED);
	held_end(&held);
}
END_TEST

START_TEST(nor_does_one_that_comes_later)
{
	struct probe refused;
	struct held held;

	held_begin(&held, _i);
	ck_assert_int_ge(ctx_ring_submit(held.ring), 0);
	ck_assert_int_ge(ctx_ring_dispatch(held.ring, 0), 0);
	io_uring_prep_nop(probe_start(held.ring, held.done, &refused));
	ck_assert_int_ge(ctx_ring_dispatch(held.ring, 0), 1);
	ck_assert_probe(&refused, -ECANCELED, CTX_OP_CANCELLED);
	held_end(&held);
}
END_TEST

START_TEST(nor_a_chain_of_which_one_is_under_it)
{
	struct probe head, follower;
	struct held held;

	held_begin(&held, _i);
	struct io_uring_sqe *sqe = probe_start(held.ring, held.live, &head);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_LINK;
	io_uring_prep_nop(probe_start(held.ring, held.done, &follower));
	ck_assert_int_ge(ctx_ring_submit(held.ring), 0);
	ck_assert_int_ge(ctx_ring_dispatch(held.ring, 0), 2);
	ck_assert_probe(&head, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&follower, -ECANCELED, CTX_OP_CANCELLED);
	held_end(&held);
}
END_TEST

START_TEST(nor_does_the_wait_for_a_task_group_that_is_over)
{
	struct ctx_taskgroup *group;
	struct probe refused;
	struct held held;

	held_begin(&held, _i);
	ck_assert_ok(ctx_taskgroup_new_on_ring(held.live, held.ring, NULL, &group));
	ck_assert_ok(ctx_taskgroup_fail(group, -EIO, NULL));
	memset(&refused, 0, sizeof(refused));
	ctx_op_init(&refused.op, probe_count, 0);
	io_uring_prep_nop(ctx_taskgroup_get_sqe(group, &refused.op));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EIO);
	ck_assert_probe(&refused, -ECANCELED, CTX_OP_CANCELLED);
	ctx_taskgroup_free(group);
	held_end(&held);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("refused");
	TCase *refused = test_case_ring(suite, "refused");

	ON_EACH_RING(refused, one_under_a_done_context_does_not_wait_for_a_draining_one);
	ON_EACH_RING(refused, nor_does_one_that_comes_later);
	ON_EACH_RING(refused, nor_a_chain_of_which_one_is_under_it);
	ON_EACH_RING(refused, nor_does_the_wait_for_a_task_group_that_is_over);
	return suite;
}
