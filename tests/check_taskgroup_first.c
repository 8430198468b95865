/* SPDX-License-Identifier: MIT */
/* Task groups on threads in which the first success ends the rest: who starts when, who wins, who never runs.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "support/contexts.h"
#include "support/threads.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define FIRST "another task of the group was first"

static struct ctx_taskgroup *group_below(const struct ctx_context *parent, unsigned limit, uint64_t delay_ns)
{
	const struct ctx_taskgroup_options options = {
		.flags = CTX_TASKGROUP_FIRST, .limit = limit, .delay_ns = delay_ns};
	struct ctx_taskgroup *group = NULL;

	ck_assert_ok(ctx_taskgroup_new_with_options(parent, &options, "group", &group));
	ck_assert_ptr_nonnull(group);
	return group;
}

static struct ctx_taskgroup *group_of(unsigned limit, uint64_t delay_ns)
{
	return group_below(ctx_background(), limit, delay_ns);
}

/* A member. It says that it has begun, and ends with result when it is told to. */
struct member {
	sem_t begun, go;
	int result;
	_Atomic unsigned ran;
	struct ctx_taskgroup *group; /* for members that use it */
};

static void member_init(struct member *member, int result)
{
	memset(member, 0, sizeof(*member));
	sem_init(&member->begun, 0, 0);
	sem_init(&member->go, 0, 0);
	member->result = result;
}

static int hold_up(const struct ctx_context *ctx, void *data)
{
	struct member *member = data;

	(void)ctx;
	member->ran++;
	sem_post(&member->begun);
	sem_wait(&member->go);
	return member->result;
}

/* Ends with its context. */
static int wait_for_end(const struct ctx_context *ctx, void *data)
{
	struct member *member = data;

	member->ran++;
	sem_post(&member->begun);
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	return ctx_err(ctx);
}

static int end_at_once(const struct ctx_context *ctx, void *data)
{
	struct member *member = data;

	(void)ctx;
	member->ran++;
	sem_post(&member->begun);
	return member->result;
}

static void start(struct ctx_taskgroup *group, ctx_task_fn function, struct member *member, const char *name)
{
	ck_assert_ok(ctx_taskgroup_start(group, function, member, name));
}

static void ck_assert_winner(struct ctx_taskgroup *group, const struct member *member)
{
	void *winner = NULL;

	ck_assert_ok(ctx_taskgroup_first(group, &winner));
	ck_assert_ptr_eq(winner, member);
}

static void ck_assert_no_winner(struct ctx_taskgroup *group)
{
	void *winner;

	ck_assert_int_eq(ctx_taskgroup_first(group, &winner), -ENOENT);
}

/* ---- ends */

START_TEST(the_first_success_ends_the_others_and_is_the_cause)
{
	struct ctx_taskgroup *group = group_of(0, 0);
	const struct ctx_context *ctx = ctx_ref(ctx_taskgroup_context(group));
	struct ctx_failure failures[5];
	struct member others[4], winner;

	for (int i = 0; i < 4; i++) {
		member_init(&others[i], 0);
		start(group, wait_for_end, &others[i], "other");
		sem_wait(&others[i].begun);
	}
	ck_assert_no_winner(group);
	member_init(&winner, 0);
	start(group, end_at_once, &winner, "winner");
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &winner);
	struct ctx_cause cause = cause_of(ctx);
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_int_eq(cause.error, -ECANCELED);
	ck_assert_str_eq(cause.text, FIRST);
	ck_assert(!cause.inherited);
	ck_assert_ptr_nonnull(cause.site);
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 5), 4);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(failures[i].error, -ECANCELED);
		ck_assert(failures[i].consequence);
		ck_assert_str_eq(failures[i].text, "other");
	}
	/* It stays so, and nothing can be started any more. */
	ck_assert_int_eq(ctx_taskgroup_start(group, end_at_once, &others[0], NULL), -ECANCELED);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &winner);
	ctx_taskgroup_free(group);
	ctx_unref(ctx);
}
END_TEST

START_TEST(a_second_success_changes_nothing)
{
	struct ctx_taskgroup *group = group_of(0, 0);
	struct member late, winner;

	member_init(&late, 0);
	member_init(&winner, 0);
	start(group, hold_up, &late, NULL);
	sem_wait(&late.begun);
	start(group, end_at_once, &winner, NULL);
	ck_assert_ok(ctx_wait(ctx_taskgroup_context(group), CTX_FOREVER));
	sem_post(&late.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &winner);
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 0), 0);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(failures_end_nothing_until_one_succeeds)
{
	struct ctx_taskgroup *group = group_of(0, 0);
	struct ctx_failure failures[3];
	struct member bad[3], good;

	for (int i = 0; i < 3; i++) {
		member_init(&bad[i], -ECONNREFUSED - i);
		start(group, end_at_once, &bad[i], "bad");
		ck_assert_int_eq(ctx_taskgroup_wait(group), -ECONNREFUSED);
		ck_assert_live(ctx_taskgroup_context(group));
		ck_assert_no_winner(group);
	}
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 3), 3);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(failures[i].error, -ECONNREFUSED - i);
		ck_assert(!failures[i].consequence);
	}
	member_init(&good, 0);
	start(group, end_at_once, &good, "good");
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &good);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(a_reported_failure_ends_nothing)
{
	struct ctx_taskgroup *group = group_of(0, 0);
	struct ctx_failure failure;

	ck_assert_ok(ctx_taskgroup_fail(group, -EBADMSG, "answer of %s", "nobody"));
	ck_assert_live(ctx_taskgroup_context(group));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EBADMSG);
	ck_assert_int_eq(ctx_taskgroup_failures(group, &failure, 1), 1);
	ck_assert_str_eq(failure.text, "answer of nobody");
	ctx_taskgroup_free(group);
}
END_TEST

/* ---- turns */

START_TEST(nobody_waits_for_a_turn_that_does_not_come)
{
	struct ctx_taskgroup *group = group_of(0, _i ? CTX_FOREVER : HOUR);
	struct member first, others[3];

	member_init(&first, 0);
	start(group, hold_up, &first, NULL);
	for (int i = 0; i < 3; i++) {
		member_init(&others[i], 0);
		start(group, end_at_once, &others[i], NULL);
	}
	sem_wait(&first.begun);
	sem_post(&first.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &first);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(others[i].ran, 0);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(a_failure_starts_the_next_at_once)
{
	struct ctx_taskgroup *group = group_of(0, _i ? CTX_FOREVER : HOUR);
	struct member members[5], never;

	for (int i = 0; i < 5; i++) {
		member_init(&members[i], i < 4 ? -ECONNREFUSED : 0);
		start(group, hold_up, &members[i], NULL);
	}
	member_init(&never, 0);
	start(group, end_at_once, &never, NULL);
	for (int i = 0; i < 5; i++) {
		sem_wait(&members[i].begun);
		for (int k = i + 1; k < 5; k++)
			ck_assert_uint_eq(members[k].ran, 0);
		sem_post(&members[i].go);
	}
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &members[4]);
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 0), 4);
	ck_assert_uint_eq(never.ran, 0);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(all_that_fail_have_had_their_turn)
{
	struct ctx_taskgroup *group = group_of(0, HOUR);
	struct member members[100];

	for (int i = 0; i < 100; i++) {
		member_init(&members[i], -ECONNREFUSED);
		start(group, end_at_once, &members[i], NULL);
	}
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECONNREFUSED);
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 0), 100);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(members[i].ran, 1);
	ck_assert_live(ctx_taskgroup_context(group));
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(the_next_starts_when_the_delay_is_over)
{
	struct ctx_taskgroup *group = group_of(0, MILLISECOND);
	struct member slow[3], winner, never;

	for (int i = 0; i < 3; i++) {
		member_init(&slow[i], 0);
		start(group, wait_for_end, &slow[i], NULL);
	}
	for (int i = 0; i < 3; i++)
		sem_wait(&slow[i].begun);
	member_init(&winner, 0);
	start(group, end_at_once, &winner, NULL);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &winner);
	member_init(&never, 0);
	ck_assert_int_eq(ctx_taskgroup_start(group, end_at_once, &never, NULL), -ECANCELED);
	ck_assert_uint_eq(never.ran, 0);
	ctx_taskgroup_free(group);
}
END_TEST

/* Goal: the time of the next one is over while as many run as may, and then one fails. */
START_TEST(a_place_that_becomes_free_is_taken_at_once)
{
	struct ctx_taskgroup *group = group_of(1, _i ? 1 : 0);
	struct member members[3];

	for (int i = 0; i < 3; i++) {
		member_init(&members[i], i < 2 ? -EPIPE : 0);
		start(group, hold_up, &members[i], NULL);
	}
	for (int i = 0; i < 3; i++) {
		sem_wait(&members[i].begun);
		test_await_others_asleep();
		for (int k = i + 1; k < 3; k++)
			ck_assert_uint_eq(members[k].ran, 0);
		sem_post(&members[i].go);
	}
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &members[2]);
	ctx_taskgroup_free(group);
}
END_TEST

/* Goal: no thread is there for members that wait. */
START_TEST(members_that_wait_take_no_thread)
{
	struct ctx_taskgroup *group = group_of(0, HOUR);
	struct member first, others[50];

	member_init(&first, 0);
	start(group, hold_up, &first, NULL);
	sem_wait(&first.begun);
	unsigned threads = count_threads("ctx-task");
	for (int i = 0; i < 50; i++) {
		member_init(&others[i], 0);
		start(group, end_at_once, &others[i], NULL);
	}
	ck_assert_uint_eq(count_threads("ctx-task"), threads);
	sem_post(&first.go);
	ctx_taskgroup_free(group);
}
END_TEST

/* ---- parents */

START_TEST(a_deadline_of_the_parent_ends_all)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), HOUR);
	struct ctx_taskgroup *group = group_below(parent, 0, HOUR);
	struct ctx_failure failure;
	struct member first, never;

	member_init(&first, 0);
	member_init(&never, 0);
	start(group, wait_for_end, &first, NULL);
	start(group, end_at_once, &never, NULL);
	ck_assert_ok(ctx_set_deadline(parent, clock_now_ns() + 10 * MILLISECOND));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ETIME);
	ck_assert_no_winner(group);
	ck_assert_uint_eq(never.ran, 0);
	ck_assert_int_eq(ctx_taskgroup_failures(group, &failure, 1), 1);
	ck_assert(failure.consequence);
	ctx_taskgroup_free(group);
	ctx_finish(parent);
}
END_TEST

START_TEST(a_success_counts_after_the_parents_end)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct ctx_taskgroup *group = group_below(parent, 0, 0);
	struct member member;

	member_init(&member, 0);
	start(group, hold_up, &member, NULL);
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "client left"));
	sem_post(&member.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &member);
	ck_assert_str_eq(cause_of(ctx_taskgroup_context(group)).text, "client left");
	ctx_taskgroup_free(group);
	ctx_finish(parent);
}
END_TEST

/* ---- freeing */

static int free_inside(const struct ctx_context *ctx, void *data)
{
	struct member *member = data;

	(void)ctx;
	sem_wait(&member->go);
	ck_assert_int_eq(ctx_taskgroup_wait(member->group), -EDEADLK);
	ctx_taskgroup_free(member->group);
	sem_post(&member->begun);
	return member->result;
}

static bool no_contexts(void *unused)
{
	(void)unused;
	return test_count_contexts() == 0;
}

/* Goal: whether the member that frees the group then succeeds or fails, the queued ones are freed unstarted.
 */
START_TEST(a_member_that_frees_its_group_leaves_that_to_the_last)
{
	struct member freer, other, queued[3];

	member_init(&freer, _i ? -EPIPE : 0);
	member_init(&other, 0);
	freer.group = group_of(2, MILLISECOND);
	start(freer.group, free_inside, &freer, NULL);
	start(freer.group, wait_for_end, &other, NULL);
	sem_wait(&other.begun);
	for (int i = 0; i < 3; i++) {
		member_init(&queued[i], 0);
		start(freer.group, end_at_once, &queued[i], NULL);
	}
	sem_post(&freer.go);
	sem_wait(&freer.begun);
	ck_assert(test_until(no_contexts, NULL));
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(queued[i].ran, 0);
}
END_TEST

START_TEST(freeing_ends_those_that_run_and_those_that_wait)
{
	struct ctx_taskgroup *group = group_of(0, HOUR);
	struct member first, queued;

	member_init(&first, 0);
	member_init(&queued, 0);
	start(group, wait_for_end, &first, NULL);
	start(group, end_at_once, &queued, NULL);
	sem_wait(&first.begun);
	ctx_taskgroup_free(group);
	ck_assert_uint_eq(first.ran, 1);
	ck_assert_uint_eq(queued.ran, 0);
	ctx_taskgroup_free(group_of(0, HOUR));
}
END_TEST

/* ---- races */

static void *cancel_in_thread(void *data)
{
	ctx_cancel(data);
	return NULL;
}

/*
 * Goal: members that start by time, by failure and at once, a success and the end of the parent meet. Each
 * member runs once or never, and the winner is one that ran.
 */
START_TEST(everything_meets)
{
	unsigned seed = test_seed();

	for (unsigned round = 0; round < test_scaled(2000); round++) {
		struct ctx_context *parent = child_of(ctx_background());
		unsigned random = seed = seed * 1103515245u + 12345u;
		struct ctx_taskgroup *group =
			group_below(parent, random >> 16 & 1 ? 2 : 0, 1000u * (random >> 17 & 63));
		bool cancels = random >> 24 & 1;
		struct member members[6];
		unsigned started = 0, ran = 0;
		pthread_t thread;
		void *winner = NULL;

		if (cancels)
			ck_assert_ok(pthread_create(&thread, NULL, cancel_in_thread, parent));
		for (unsigned i = 0; i < 6; i++) {
			bool fails = random >> (8 + i) & 1;
			member_init(&members[i], fails ? -EIO : 0);
			int error = ctx_taskgroup_start(group, end_at_once, &members[i], NULL);
			ck_assert(error == 0 || error == -ECANCELED);
			started += !error;
		}
		int result = ctx_taskgroup_wait(group);
		for (unsigned i = 0; i < 6; i++) {
			ck_assert_uint_le(members[i].ran, 1);
			ran += members[i].ran;
		}
		ck_assert_uint_le(ran, started);
		if (ctx_taskgroup_first(group, &winner) == 0) {
			const struct member *member = winner;
			ck_assert_ok(result);
			ck_assert_uint_eq(member->ran, 1);
			ck_assert_ok(member->result);
		} else {
			ck_assert(result == -EIO || (result == 0 && cancels));
			ck_assert(ran == 6 || cancels);
		}
		ctx_taskgroup_free(group);
		for (unsigned i = 0; i < 6; i++)
			ck_assert_uint_le(members[i].ran, 1);
		if (cancels)
			ck_assert_ok(pthread_join(thread, NULL));
		ctx_finish(parent);
	}
}
END_TEST

/* ---- forks and bad use */

static int use_in_child(void *data)
{
	struct ctx_taskgroup *group = data;
	void *winner;

	if (ctx_taskgroup_wait(group) != -EPERM || ctx_taskgroup_first(group, &winner) != -EPERM ||
	    ctx_taskgroup_start(group, end_at_once, NULL, NULL) != -EPERM)
		return 1;
	ctx_taskgroup_free(group);
	return 0;
}

START_TEST(a_forked_child_leaves_the_parents_group_alone)
{
	struct ctx_taskgroup *group = group_of(0, HOUR);
	struct member first, queued;

	member_init(&first, -EPIPE);
	member_init(&queued, 0);
	start(group, hold_up, &first, NULL);
	start(group, end_at_once, &queued, NULL);
	sem_wait(&first.begun);
	test_settle();
	ck_assert_int_eq(test_in_child(use_in_child, group), 0);
	ck_assert_live(ctx_taskgroup_context(group));
	ck_assert_uint_eq(queued.ran, 0);
	sem_post(&first.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &queued);
	ctx_taskgroup_free(group);
}
END_TEST

static int run_in_child(void *data)
{
	struct member bad, slow, good;
	struct ctx_taskgroup *group;
	void *winner;

	(void)data;
	group = group_of(0, MILLISECOND);
	member_init(&bad, -EPIPE);
	member_init(&slow, 0);
	member_init(&good, 0);
	start(group, end_at_once, &bad, NULL);
	start(group, wait_for_end, &slow, NULL);
	start(group, end_at_once, &good, NULL);
	if (ctx_taskgroup_wait(group) || ctx_taskgroup_first(group, &winner) || winner != &good)
		return 1;
	ctx_taskgroup_free(group);
	return 0;
}

START_TEST(a_forked_child_has_groups_of_its_own)
{
	test_settle();
	ck_assert_int_eq(test_in_child(run_in_child, NULL), 0);
}
END_TEST

START_TEST(bad_use_is_refused)
{
	const struct ctx_taskgroup_options unknown = {.flags = 1u << 7}, delay = {.delay_ns = 1},
					   plain = {.limit = 2}, first = {.flags = CTX_TASKGROUP_FIRST};
	struct ctx_taskgroup *group = NULL;
	void *winner;

	ck_assert_int_eq(ctx_taskgroup_new_with_options(NULL, &first, NULL, &group), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_with_options(ctx_background(), NULL, NULL, &group), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_with_options(ctx_background(), &first, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_with_options(ctx_background(), &unknown, NULL, &group), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_with_options(ctx_background(), &delay, NULL, &group), -EINVAL);
	ck_assert_ptr_null(group);
	/* Without the flag it is an ordinary group. */
	ck_assert_ok(ctx_taskgroup_new_with_options(ctx_background(), &plain, NULL, &group));
	ck_assert_int_eq(ctx_taskgroup_first(group, &winner), -EINVAL);
	ck_assert_ok(ctx_taskgroup_fail(group, -EPIPE, NULL));
	ck_assert_cancelled(ctx_taskgroup_context(group));
	ctx_taskgroup_free(group);
	group = group_of(0, 0);
	ck_assert_int_eq(ctx_taskgroup_first(NULL, &winner), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_first(group, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(group, NULL, NULL, NULL), -EINVAL);
	ctx_taskgroup_free(group);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup_first");
	TCase *ends = test_case(suite, "ends"), *turns = test_case(suite, "turns"),
	      *others = test_case(suite, "others");

	tcase_add_test(ends, the_first_success_ends_the_others_and_is_the_cause);
	tcase_add_test(ends, a_second_success_changes_nothing);
	tcase_add_test(ends, failures_end_nothing_until_one_succeeds);
	tcase_add_test(ends, a_reported_failure_ends_nothing);
	tcase_add_test(ends, a_deadline_of_the_parent_ends_all);
	tcase_add_test(ends, a_success_counts_after_the_parents_end);
	tcase_add_loop_test(turns, nobody_waits_for_a_turn_that_does_not_come, 0, 2);
	tcase_add_loop_test(turns, a_failure_starts_the_next_at_once, 0, 2);
	tcase_add_test(turns, all_that_fail_have_had_their_turn);
	tcase_add_test(turns, the_next_starts_when_the_delay_is_over);
	tcase_add_loop_test(turns, a_place_that_becomes_free_is_taken_at_once, 0, 2);
	tcase_add_test(turns, members_that_wait_take_no_thread);
	tcase_add_loop_test(others, a_member_that_frees_its_group_leaves_that_to_the_last, 0, 2);
	tcase_add_test(others, freeing_ends_those_that_run_and_those_that_wait);
	tcase_add_test(others, everything_meets);
	tcase_add_test(others, a_forked_child_leaves_the_parents_group_alone);
	tcase_add_test(others, a_forked_child_has_groups_of_its_own);
	tcase_add_test(others, bad_use_is_refused);
	return suite;
}
