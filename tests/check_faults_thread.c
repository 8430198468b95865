/* SPDX-License-Identifier: MIT */
/* Threads of the library that cannot be had, and what cannot be read about those of the program. */
#include <pthread.h>

#include "support/faults.h"
#include "support/rings.h"

TEST_MODES(TEST_FAULTS);

/* A stack that is too small, as with more thread-local variables than were counted, is tried larger. */
START_TEST(a_stack_that_is_too_small_is_made_larger)
{
	struct ctx_context *ctx;

	faults_arm(FAULT(SYS_CALL_THREAD_CREATE), 1, false, EINVAL);
	ck_assert_ok(ctx_with_timeout(ctx_background(), MILLISECOND, NULL, &ctx));
	ck_assert_uint_eq(faults_disarm(), 1);
	ck_assert_uint_eq(faults_count(SYS_CALL_THREAD_CREATE), 2);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ctx_unref(ctx);
}
END_TEST

START_TEST(the_reason_is_told_why_there_is_no_thread)
{
	static const int errors[] = {EAGAIN, EPERM, EINVAL};
	struct ctx_context *ctx = NULL;

	faults_arm(FAULT(SYS_CALL_THREAD_CREATE), 1, true, errors[_i]);
	ck_assert_int_eq(ctx_with_timeout(ctx_background(), MILLISECOND, NULL, &ctx), -errors[_i]);
	ck_assert_uint_gt(faults_disarm(), 0);
	ck_assert_ptr_null(ctx);
}
END_TEST

struct left {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe probe;
	struct pair pair;
	char byte;
};

static void *leave_an_operation(void *data)
{
	struct left *left = data;

	probe_recv(left->ring, left->ctx, &left->probe, left->pair.near, &left->byte, 1);
	ctx_ring_submit(left->ring);
	return NULL;
}

/* Goal: that nothing is known of the owner beyond its end hangs nobody. Method: its record can be opened, and
 * then not be read; or not even be opened. */
START_TEST(what_cannot_be_read_of_an_owner_does_not_decide)
{
	static const enum sys_call calls[] = {SYS_CALL_READ, SYS_CALL_OPENAT};
	struct left left = {
		.ring = ring_of(RING_DEFER), .ctx = child_of(ctx_background()), .pair = pair_new()};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, leave_an_operation, &left));
	ck_assert_ok(pthread_join(thread, NULL));
	faults_arm(FAULT(calls[_i]), 1, true, EIO);
	ck_assert_ok(ctx_ring_close(left.ring, SOON, NULL, 0, NULL));
	faults_disarm();
	ck_assert_probe(&left.probe, -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(left.ctx);
	pair_end(left.pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_thread");
	TCase *threads = test_case_cold(suite, "thread");
	TCase *owners = test_case_ring(suite, "owner");

	tcase_add_test(threads, a_stack_that_is_too_small_is_made_larger);
	tcase_add_loop_test(threads, the_reason_is_told_why_there_is_no_thread, 0, 3);
	tcase_add_loop_test(owners, what_cannot_be_read_of_an_owner_does_not_decide, 0, 2);
	return suite;
}
