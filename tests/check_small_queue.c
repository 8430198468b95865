/* SPDX-License-Identifier: MIT */
/* Queues too small for the linked timeouts of what is submitted: the ring's own timers bound it. */
#include "support/rings.h"

/* The forms of deadlines that can be asked for, on an ordinary and on a DEFER_TASKRUN ring. */
static struct ctx_ring *small_ring(int i, unsigned entries)
{
	static const unsigned forms[] = {0, CTX_RING_LINKED_TIMEOUTS, CTX_RING_ONE_TIMER, CTX_RING_PARK};
	struct ctx_ring_options options = {.flags = forms[i % 4]};

	return ring_with(i < 4 ? RING_ORDINARY : RING_DEFER, entries, &options);
}

#define ON_EACH_FORM(test_case, test) \
	tcase_add_loop_test(test_case, test, 0, test_mode() == TEST_PLAIN ? 4 : 8)

START_TEST(one_entry_serves_operations_with_a_deadline)
{
	struct ctx_context *far_off = timed_child_of(ctx_background(), 3600 * NS_PER_SECOND);
	struct ctx_context *soon = timed_child_of(ctx_background(), 5 * MILLISECOND);
	struct ctx_ring *ring = small_ring(_i, 1);
	struct pair pair = pair_new();
	struct probe done, late;
	char bytes[2];

	ck_assert_uint_eq(ctx_ring_uring(ring)->sq.ring_entries, 1);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	io_uring_prep_read(probe_start(ring, far_off, &done), pair.near, &bytes[0], 1, 0);
	await_probes(ring, &done, 1);
	ck_assert_probe(&done, 1, CTX_OP_FINISHED);
	probe_recv(ring, soon, &late, pair.near, &bytes[1], 1);
	await_probes(ring, &late, 1);
	ck_assert_probe(&late, -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(far_off);
	ctx_finish(soon);
	pair_end(pair);
}
END_TEST

START_TEST(one_entry_serves_operations_with_a_timeout_of_their_own)
{
	struct ctx_ring *ring = small_ring(_i, 1);
	struct pair pair = pair_new();
	struct probe done, late;
	char bytes[2];

	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	probe_recv(ring, ctx_background(), &done, pair.near, &bytes[0], 1);
	ck_assert_ok(ctx_op_set_timeout(&done.op, 3600 * NS_PER_SECOND));
	await_probes(ring, &done, 1);
	ck_assert_probe(&done, 1, CTX_OP_FINISHED);
	probe_recv(ring, ctx_background(), &late, pair.near, &bytes[1], 1);
	ck_assert_ok(ctx_op_set_timeout(&late.op, 5 * MILLISECOND));
	uint64_t before_ns = clock_now_ns();
	await_probes(ring, &late, 1);
	ck_assert_uint_ge(clock_now_ns() - before_ns, 5 * MILLISECOND);
	ck_assert_probe(&late, -ECANCELED, CTX_OP_TIMEOUT);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* The operations of a chain that fit the queue, and with a timeout for each would not. */
START_TEST(a_chain_that_fits_only_without_timeouts_runs)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 3600 * NS_PER_SECOND);
	struct ctx_ring *ring = small_ring(_i, 4);
	struct probe probes[4];

	for (int i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx, &probes[i]);
		io_uring_prep_openat(sqe, AT_FDCWD, "/nonexistent", O_RDONLY, 0);
		if (i != 3)
			sqe->flags |= IOSQE_IO_HARDLINK;
		ck_assert_ok(ctx_op_set_timeout(&probes[i].op, 3600 * NS_PER_SECOND));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 4);
	await_probes(ring, probes, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_probe(&probes[i], -ENOENT, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

/* Method: the first two of a chain wait on sockets; the first goes on, and the time of the second is over. */
START_TEST(in_such_a_chain_the_time_of_each_is_kept)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 3600 * NS_PER_SECOND);
	struct ctx_ring *ring = small_ring(_i, 2);
	struct pair pairs[2] = {pair_new(), pair_new()};
	struct probe probes[2];
	char bytes[2];

	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx, &probes[i]);
		io_uring_prep_recv(sqe, pairs[i].near, &bytes[i], 1, 0);
		sqe->flags |= i ? 0 : IOSQE_IO_LINK;
		ck_assert_ok(ctx_op_set_timeout(&probes[i].op, i ? MILLISECOND : 3600 * NS_PER_SECOND));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	/* Its time is over before it starts. */
	for (uint64_t end_ns = clock_now_ns() + 10 * MILLISECOND; clock_now_ns() < end_ns;)
		ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
	ck_assert_uint_eq(probes[0].finals, 0);
	ck_assert_int_eq(write(pairs[0].far, "x", 1), 1);
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pairs[0]);
	pair_end(pairs[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("small_queue");
	TCase *small = test_case_ring(suite, "small");

	ON_EACH_FORM(small, one_entry_serves_operations_with_a_deadline);
	ON_EACH_FORM(small, one_entry_serves_operations_with_a_timeout_of_their_own);
	ON_EACH_FORM(small, a_chain_that_fits_only_without_timeouts_runs);
	ON_EACH_FORM(small, in_such_a_chain_the_time_of_each_is_kept);
	return suite;
}
