/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls when the k-th system call or allocation fails, once or from then on: the result is the
 * call's own or a documented error, nothing is lost or left behind, and the next call works.
 */
#include <sys/wait.h>

#include "support/blockers.h"
#include "support/faults.h"
#include "thread_ring.h"

TEST_MODES(TEST_FAULTS);

static bool is_documented(ssize_t result)
{
	switch (result) {
	case -ENOMEM:
	case -EMFILE:
	case -ENOTSUP:
	case -EAGAIN:
	/* Those that the faults give to attempts, as the kernel would. */
	case -EIO:
	case -ECONNRESET:
	case -ENOBUFS:
	case -ECONNREFUSED:
	case -ECHILD:
		return true;
	default:
		return false;
	}
}

/* What is waited for is there when the call comes, but for a sleep. */
static ssize_t call_one(const struct blocker *blocker, struct scene *scene, const struct ctx_context *ctx)
{
	if (blocker->finish && blocker->call != blockers[17].call)
		blocker->finish(scene);
	return blocker->call(scene, ctx);
}

static unsigned run_scenario(const struct blocker *blocker, uint64_t calls, unsigned k, bool for_ever,
			     int error)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND);
	struct scene scene;

	ck_assert(scene_prepare(&scene, blocker));
	scene.hasty = true;
	faults_arm(calls, k, for_ever, error);
	ssize_t result = call_one(blocker, &scene, ctx);
	unsigned failed = faults_disarm();
	if (result < 0 && result != -ETIME)
		ck_assert_msg(is_documented(result), "%s, fault %u: %s", blocker->name, k,
			      strerror((int)-result));
	if (blocker->result < 0 && result >= 0)
		close((int)result);
	scene_end(&scene);
	ctx_finish(ctx);
	thread_ring_trim();
	return failed;
}

static void run_all(int number, bool for_ever, int error)
{
	const struct blocker *blocker = &blockers[number];
	/* What waits is asked again: it may fail once, but not for ever. */
	uint64_t calls = for_ever ? FAULTS_RESOURCES : FAULTS_ALL;
	unsigned k = 1;

	if (blocker->needs_ring && test_no_uring())
		return;
	while (run_scenario(blocker, calls, k, for_ever, error))
		k++;
}

START_TEST(each_call_fails_once)
{
	run_all(_i, false, 0);
}
END_TEST

START_TEST(each_call_fails_from_then_on)
{
	run_all(_i, true, 0);
}
END_TEST

/* Without memory for a ring each call works by poll(2), and the kernel is not asked at each call. */
START_TEST(a_ring_is_not_asked_for_at_each_call)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	uint64_t start_ns = clock_now_ns();
	char byte;

	faults_arm(FAULT(SYS_CALL_URING_SETUP), 1, true, 0);
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
		ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	}
	/* Two setups a try, with and without a flag that not every kernel knows. */
	ck_assert_uint_le(faults_count(SYS_CALL_URING_SETUP),
			  2 + 2 * (clock_now_ns() - start_ns) / (100 * MILLISECOND));
	ck_assert_uint_ge(faults_count(SYS_CALL_URING_SETUP), 1);
	faults_disarm();
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

/* A kernel that knows a request not, or says that it is forbidden. */
START_TEST(forbidden_for_good_is_asked_once)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	char byte;

	faults_arm(FAULT(SYS_CALL_URING_SETUP), 1, true, EPERM);
	ck_assert_int_eq(ctxio_openat(ctx, AT_FDCWD, "/", O_RDONLY, 0), -ENOTSUP);
	unsigned asked = faults_count(SYS_CALL_URING_SETUP);
	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	ck_assert_int_eq(ctxio_fsync(ctx, pipe.far), -ENOTSUP);
	ck_assert_uint_eq(faults_count(SYS_CALL_URING_SETUP), asked);
	faults_disarm();
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults blocking");
	TCase *all = test_case_calls(suite, "all");

	tcase_add_loop_test(all, each_call_fails_once, 0, (int)blocker_count);
	tcase_add_loop_test(all, each_call_fails_from_then_on, 0, (int)blocker_count);
	tcase_add_test(all, a_ring_is_not_asked_for_at_each_call);
	tcase_add_test(all, forbidden_for_good_is_asked_once);
	return suite;
}
