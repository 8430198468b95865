/* SPDX-License-Identifier: MIT */
/*
 * Deadlines. This program has its own clock_gettime(), which the library calls in place
 * of libc's: tests can stop the monotonic clock for a thread, and make the wall clock jump
 * without touching the machine's.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_ALONE("defines clock_gettime");

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static int64_t realtime_jump_s;
static __thread uint64_t stopped_at_ns; /* 0: the clock runs */

int clock_gettime(clockid_t clock, struct timespec *time)
{
	if (stopped_at_ns && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) {
		*time = clock_timespec(stopped_at_ns);
		return 0;
	}
	long result = syscall(SYS_clock_gettime, clock, time);
	if (clock == CLOCK_REALTIME)
		time->tv_sec += __atomic_load_n(&realtime_jump_s, __ATOMIC_RELAXED);
	return (int)result;
}

START_TEST(expiry_is_etime_and_not_early)
{
	uint64_t before = clock_now_ns();
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND), *below = child_of(ctx);

	ck_assert(!ctx_err(ctx) || clock_now_ns() - before >= 20 * MILLISECOND);
	ck_assert_ok(ctx_wait(below, CTX_FOREVER));
	ck_assert_uint_ge(clock_now_ns() - before, 20 * MILLISECOND);
	ck_assert_expired(ctx);
	ck_assert_expired(below);
	ck_assert_int_eq(ctx_cancel(ctx), -EALREADY);
	ck_assert_expired(ctx);
	ck_assert_uint_eq(ctx_time_left_ns(ctx), 0);
	ctx_finish(below);
	ctx_finish(ctx);
}
END_TEST

/* Goal: a thread that only computes sees its deadline. Method: call nothing but ctx_err. */
START_TEST(computing_thread_sees_its_deadline_through_ctx_err_alone)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND);
	volatile uint64_t work = 0;

	while (ctx_err(ctx) == 0)
		work = work + 1;
	ck_assert_expired(ctx);
	ctx_finish(ctx);
}
END_TEST

START_TEST(earlier_of_own_and_ancestors_deadline_wins)
{
	struct ctx_context *soon = timed_child_of(ctx_background(), HOUR),
			   *late = timed_child_of(soon, 2 * HOUR);
	struct ctx_context *sooner = timed_child_of(late, HOUR / 2), *plain = child_of(sooner);

	ck_assert_uint_eq(ctx_deadline_ns(late), ctx_deadline_ns(soon));
	ck_assert_uint_lt(ctx_deadline_ns(sooner), ctx_deadline_ns(soon));
	ck_assert_uint_eq(ctx_deadline_ns(plain), ctx_deadline_ns(sooner));
	ck_assert_uint_le(ctx_time_left_ns(plain), HOUR / 2);
	ck_assert_uint_gt(ctx_time_left_ns(plain), HOUR / 3);
	ctx_finish(plain);
	ctx_finish(sooner);
	ctx_finish(late);
	ctx_finish(soon);
}
END_TEST

START_TEST(ancestors_deadline_ends_a_child_with_a_later_one)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), 10 * MILLISECOND);
	struct ctx_context *child = timed_child_of(parent, HOUR);

	ck_assert_ok(ctx_wait(child, CTX_FOREVER));
	ck_assert_expired(child);
	ck_assert(cause_of(child).inherited);
	ck_assert_uint_eq(cause_of(child).ctx_id, ctx_id(parent));
	ck_assert_int_eq(cause_of(child).kind, CTX_CAUSE_DEADLINE);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(deadline_in_the_past_or_now_is_born_expired)
{
	struct timespec past = {.tv_sec = 1};
	struct ctx_context *born[5];

	stopped_at_ns = clock_now_ns();
	ck_assert_ok(ctx_with_deadline(ctx_background(), stopped_at_ns, NULL, &born[0]));
	ck_assert_ok(ctx_with_deadline(ctx_background(), stopped_at_ns - 1, NULL, &born[1]));
	ck_assert_ok(ctx_with_deadline(ctx_background(), 0, NULL, &born[2]));
	ck_assert_ok(ctx_with_timeout(ctx_background(), 0, NULL, &born[3]));
	ck_assert_ok(ctx_with_deadline_at(ctx_background(), CLOCK_REALTIME, &past, NULL, &born[4]));
	for (int i = 0; i < 5; i++) {
		ck_assert_expired(born[i]);
		ck_assert_int_eq(cause_of(born[i]).kind, CTX_CAUSE_DEADLINE);
		ck_assert(!cause_of(born[i]).inherited);
		ctx_finish(born[i]);
	}
	struct ctx_context *next;
	ck_assert_ok(ctx_with_deadline(ctx_background(), stopped_at_ns + HOUR, NULL, &next));
	ck_assert_live(next);
	ctx_finish(next);
	stopped_at_ns = 0;
}
END_TEST

START_TEST(timeout_and_deadline_forms_agree)
{
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI};
	struct ctx_context *timeout, *deadline, *at;

	stopped_at_ns = clock_now_ns();
	ck_assert_ok(ctx_with_timeout(ctx_background(), HOUR, NULL, &timeout));
	ck_assert_ok(ctx_with_deadline(ctx_background(), stopped_at_ns + HOUR, NULL, &deadline));
	ck_assert_uint_eq(ctx_deadline_ns(timeout), stopped_at_ns + HOUR);
	ck_assert_uint_eq(ctx_deadline_ns(deadline), stopped_at_ns + HOUR);
	stopped_at_ns = 0;
	for (int i = 0; i < 4; i++) {
		struct timespec point = clock_timespec(clock_read_ns(clocks[i]) + HOUR);
		ck_assert_ok(ctx_with_deadline_at(ctx_background(), clocks[i], &point, NULL, &at));
		ck_assert_uint_le(ctx_deadline_ns(at), clock_now_ns() + HOUR + MILLISECOND);
		ck_assert_uint_gt(ctx_time_left_ns(at), HOUR / 2);
		ctx_finish(at);
	}
	ctx_finish(timeout);
	ctx_finish(deadline);
}
END_TEST

START_TEST(forever_is_no_deadline)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), CTX_FOREVER), *other;

	ck_assert_ok(ctx_with_deadline(ctx_background(), CTX_FOREVER, NULL, &other));
	ck_assert_uint_eq(ctx_deadline_ns(ctx), CTX_FOREVER);
	ck_assert_uint_eq(ctx_time_left_ns(other), CTX_FOREVER);
	ck_assert_live(ctx);
	ctx_finish(ctx);
	ctx_finish(other);
}
END_TEST

START_TEST(cancelled_before_expiry_is_ecanceled_for_ever)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 5 * MILLISECOND);
	struct ctx_context *later = timed_child_of(ctx_background(), 15 * MILLISECOND);

	int result = ctx_cancel(ctx);
	ck_assert_ok(ctx_wait(later, CTX_FOREVER));
	ck_assert_int_eq(ctx_err(ctx), result == 0 ? -ECANCELED : -ETIME);
	ck_assert_int_eq(cause_of(ctx).kind, result == 0 ? CTX_CAUSE_CALL : CTX_CAUSE_DEADLINE);
	ctx_finish(ctx);
	ctx_finish(later);
}
END_TEST

/* Goal: a cancelled context leaves nothing with the timer. Method: the library's blocks do not grow. */
START_TEST(a_timer_is_gone_with_its_context)
{
	counting_allocator_use();
	unsigned most = 0, rounds = test_scaled(300000);

	for (unsigned i = 0; i < rounds; i++) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR + i);
		if (i % 2)
			ck_assert_ok(ctx_cancel(ctx));
		ctx_unref(ctx);
		if (counting_allocator_blocks() > most)
			most = counting_allocator_blocks();
	}
	ck_assert_uint_lt(most, 200);
}
END_TEST

START_TEST(jump_of_the_wall_clock_changes_nothing)
{
	struct timespec point = clock_timespec(clock_read_ns(CLOCK_REALTIME) + HOUR);
	struct ctx_context *at, *soon;

	ck_assert_ok(ctx_with_deadline_at(ctx_background(), CLOCK_REALTIME, &point, NULL, &at));
	uint64_t before = ctx_deadline_ns(at);
	point = clock_timespec(clock_read_ns(CLOCK_REALTIME) + 30 * MILLISECOND);
	ck_assert_ok(ctx_with_deadline_at(ctx_background(), CLOCK_REALTIME, &point, NULL, &soon));
	__atomic_store_n(&realtime_jump_s, 100 * 3600, __ATOMIC_RELAXED);
	ck_assert_live(at);
	ck_assert_uint_eq(ctx_deadline_ns(at), before);
	__atomic_store_n(&realtime_jump_s, -100 * 3600, __ATOMIC_RELAXED);
	ck_assert_ok(ctx_wait(soon, CTX_FOREVER));
	ck_assert_live(at);
	ck_assert_uint_gt(ctx_time_left_ns(at), HOUR / 2);
	ctx_finish(soon);
	ctx_finish(at);
}
END_TEST

START_TEST(deadline_moved_earlier_reaches_descendants)
{
	struct ctx_context *ctx = child_of(ctx_background()), *below = timed_child_of(ctx, HOUR);
	struct ctx_context *leaf = child_of(below);
	const struct ctx_context *detached = detached_child_of(ctx);
	uint64_t half = clock_now_ns() + HOUR / 2;

	ck_assert_ok(ctx_set_deadline(ctx, half));
	ck_assert_uint_eq(ctx_deadline_ns(ctx), half);
	ck_assert_uint_eq(ctx_deadline_ns(below), half);
	ck_assert_uint_eq(ctx_deadline_ns(leaf), half);
	ck_assert_uint_eq(ctx_deadline_ns(detached), CTX_FOREVER);
	ck_assert_int_eq(ctx_set_deadline(ctx, half + HOUR), -EPERM);
	ck_assert_int_eq(ctx_set_deadline(below, half + HOUR), -EPERM);
	ck_assert_uint_eq(ctx_deadline_ns(ctx), half);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + MILLISECOND));
	ck_assert_ok(ctx_wait(leaf, CTX_FOREVER));
	ck_assert_expired(leaf);
	ck_assert_live(detached);
	ck_assert_int_eq(ctx_set_deadline(ctx, 5), -EALREADY);
	ctx_unref(detached);
	ctx_finish(leaf);
	ctx_finish(below);
	ctx_finish(ctx);
}
END_TEST

START_TEST(movable_deadline_moves_later_and_descendants_follow)
{
	struct ctx_context *movable, *plain, *fixed;
	uint64_t now = clock_now_ns();

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), now + HOUR, NULL, &movable));
	plain = child_of(movable);
	ck_assert_ok(ctx_with_deadline(movable, now + 3 * HOUR, NULL, &fixed));
	ck_assert_uint_eq(ctx_deadline_ns(fixed), now + HOUR);
	ck_assert_ok(ctx_set_deadline(movable, now + 2 * HOUR));
	ck_assert_uint_eq(ctx_deadline_ns(plain), now + 2 * HOUR);
	ck_assert_uint_eq(ctx_deadline_ns(fixed), now + 2 * HOUR);
	ck_assert_ok(ctx_set_deadline(movable, now + 4 * HOUR));
	ck_assert_uint_eq(ctx_deadline_ns(plain), now + 4 * HOUR);
	ck_assert_uint_eq(ctx_deadline_ns(fixed), now + 3 * HOUR);
	ck_assert_ok(ctx_set_deadline(movable, CTX_FOREVER));
	ck_assert_uint_eq(ctx_deadline_ns(movable), CTX_FOREVER);
	ck_assert_uint_eq(ctx_deadline_ns(fixed), now + 3 * HOUR);
	ck_assert_ok(ctx_set_deadline(movable, 1));
	/* The end reaches one after the other. */
	ck_assert_ok(ctx_wait(plain, CTX_FOREVER));
	ck_assert_ok(ctx_wait(fixed, CTX_FOREVER));
	ck_assert_expired(fixed);
	ctx_finish(fixed);
	ctx_finish(plain);
	ctx_finish(movable);
}
END_TEST

/* Goal: a timer that was armed for the old deadline does not fire. Method: outwait the old one. */
START_TEST(deadline_moved_later_does_not_fire_at_the_old_one)
{
	struct ctx_context *movable, *old = timed_child_of(ctx_background(), 30 * MILLISECOND);
	uint64_t now = clock_now_ns();

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), now + 20 * MILLISECOND, NULL, &movable));
	int moved = ctx_set_deadline(movable, now + 60 * MILLISECOND);
	ck_assert_ok(ctx_wait(old, CTX_FOREVER));
	int error = ctx_err(movable);
	if (moved == 0 && clock_now_ns() < now + 60 * MILLISECOND)
		ck_assert_int_eq(error, 0);
	ck_assert_ok(ctx_wait(movable, CTX_FOREVER));
	if (moved == 0)
		ck_assert_uint_ge(clock_now_ns(), now + 60 * MILLISECOND);
	ctx_finish(movable);
	ctx_finish(old);
}
END_TEST

/*
 * Goal: a deadline that was moved while the timer has it for an earlier time fires at the last one. Method:
 * there are deadlines between the old times and the new ones, and every third is moved back.
 */
START_TEST(deadlines_moved_again_and_again_fire_at_the_last_one)
{
	struct ctx_context *moved[20], *plain = timed_child_of(ctx_background(), 30 * MILLISECOND);
	uint64_t start_ns = clock_now_ns(), last_ns[20];

	for (unsigned i = 0; i < 20; i++) {
		last_ns[i] = start_ns + (10 + i) * MILLISECOND;
		ck_assert_ok(ctx_with_movable_deadline(ctx_background(), last_ns[i], NULL, &moved[i]));
		for (unsigned turn = 1; turn < 4; turn++) {
			unsigned after_ms = i % 3 ? 20 + i + 10 * turn : 45 - i - turn;
			if (!ctx_set_deadline(moved[i], start_ns + after_ms * MILLISECOND))
				last_ns[i] = start_ns + after_ms * MILLISECOND;
		}
	}
	for (unsigned i = 20; i--;) {
		ck_assert_ok(ctx_wait(moved[i], CTX_FOREVER));
		ck_assert_uint_ge(clock_now_ns(), last_ns[i]);
		ck_assert_expired(moved[i]);
		ctx_finish(moved[i]);
	}
	ck_assert_ok(ctx_wait(plain, CTX_FOREVER));
	ck_assert_expired(plain);
	ctx_finish(plain);
}
END_TEST

/* Goal: the timer serves them in the order of time. Method: done times of many random ones, all children of
 * one. */
START_TEST(many_deadlines_fire_each_at_its_time)
{
	enum {
		COUNT = 300
	};
	struct ctx_context *many[COUNT];
	unsigned seed = test_seed();

	for (int i = 0; i < COUNT; i++)
		many[i] = timed_child_of(ctx_background(),
					 (unsigned)rand_r(&seed) % (50 * (unsigned)MILLISECOND));
	for (int i = 0; i < COUNT; i++) {
		ck_assert_ok(ctx_wait(many[i], CTX_FOREVER));
		ck_assert_expired(many[i]);
		ck_assert_uint_ge(clock_now_ns(), ctx_deadline_ns(many[i]));
		ctx_finish(many[i]);
	}
}
END_TEST

START_TEST(unreferenced_context_with_live_children_still_expires)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), 10 * MILLISECOND),
			   *child = child_of(parent);

	ctx_unref(parent);
	ck_assert_ok(ctx_wait(child, CTX_FOREVER));
	ck_assert_expired(child);
	ctx_finish(child);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("deadline");
	TCase *deadline = test_case(suite, "deadline");

	tcase_add_test(deadline, expiry_is_etime_and_not_early);
	tcase_add_test(deadline, computing_thread_sees_its_deadline_through_ctx_err_alone);
	tcase_add_test(deadline, earlier_of_own_and_ancestors_deadline_wins);
	tcase_add_test(deadline, ancestors_deadline_ends_a_child_with_a_later_one);
	tcase_add_test(deadline, deadline_in_the_past_or_now_is_born_expired);
	tcase_add_test(deadline, timeout_and_deadline_forms_agree);
	tcase_add_test(deadline, forever_is_no_deadline);
	tcase_add_test(deadline, cancelled_before_expiry_is_ecanceled_for_ever);
	tcase_add_test(deadline, jump_of_the_wall_clock_changes_nothing);
	tcase_add_test(deadline, deadlines_moved_again_and_again_fire_at_the_last_one);
	tcase_add_test(deadline, many_deadlines_fire_each_at_its_time);
	tcase_add_test(deadline, unreferenced_context_with_live_children_still_expires);
	TCase *moved = test_case(suite, "moved");
	tcase_add_test(moved, deadline_moved_earlier_reaches_descendants);
	tcase_add_test(moved, movable_deadline_moves_later_and_descendants_follow);
	tcase_add_test(moved, deadline_moved_later_does_not_fire_at_the_old_one);
	tcase_add_test(test_case_cold(suite, "memory"), a_timer_is_gone_with_its_context);
	return suite;
}
