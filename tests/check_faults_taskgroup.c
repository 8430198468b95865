/* SPDX-License-Identifier: MIT */
/*
 * Task groups when the k-th allocation or system call fails, once or from then on: the error is one that the
 * contract names, a task that was not started does not run, each one that was runs once, an operation ends
 * once, and nothing is left behind. Each try is a process of its own, so that no thread is there already.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/rings.h"
#include "support/threads.h"

TEST_MODES(TEST_FAULTS);

int __lsan_do_recoverable_leak_check(void);

enum {
	NO_FAULT = 0,
	COPED = 10, /* no status of a sanitizer */
	WRONG = 11
};

#define MUST(condition)                                                \
	do {                                                           \
		if (!(condition)) {                                    \
			faults_disarm();                               \
			printf("line %d: %s\n", __LINE__, #condition); \
			fflush(stdout);                                \
			_exit(WRONG);                                  \
		}                                                      \
	} while (0)

static int count_up(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	__atomic_fetch_add((unsigned *)data, 1, __ATOMIC_RELAXED);
	return 0;
}

static int fail_once(const struct ctx_context *ctx, void *data)
{
	count_up(ctx, data);
	return -EBADMSG;
}

static void on_threads(void)
{
	struct ctx_taskgroup *group = NULL;
	struct ctx_failure failures[8];
	unsigned ran = 0, started = 0;
	int error = ctx_taskgroup_new(ctx_background(), 2, "fault", &group);

	MUST(error == 0 || error == -ENOMEM);
	if (error) {
		MUST(!group);
		return;
	}
	for (int i = 0; i < 6; i++) {
		error = ctx_taskgroup_start(group, count_up, &ran, "task");
		MUST(error == 0 || error == -ENOMEM || error == -EAGAIN);
		started += !error;
	}
	MUST(ctx_taskgroup_wait(group) == 0);
	MUST(ran == started);
	MUST(ctx_err(ctx_taskgroup_context(group)) == 0);
	error = ctx_taskgroup_start(group, fail_once, &ran, "failing");
	MUST(error == 0 || error == -ENOMEM || error == -EAGAIN);
	MUST(ctx_taskgroup_wait(group) == (error ? 0 : -EBADMSG));
	for (int i = 0; i < 3; i++) {
		int result = ctx_taskgroup_fail(group, -EIO, "number %d", i);
		MUST(result == 0 || result == -ENOMEM);
	}
	MUST(ctx_err(ctx_taskgroup_context(group)) == -ECANCELED);
	MUST(ctx_taskgroup_failures(group, failures, 8) == (error ? 3 : 4));
	MUST(failures[0].error == (error ? -EIO : -EBADMSG));
	ctx_taskgroup_free(group);
}

static void on_a_ring(void)
{
	struct ctx_ring *ring = NULL;
	struct ctx_taskgroup *group = NULL;
	struct pair pair = pair_new();
	static struct probe probes[6];
	char sink[8];

	if (ctx_ring_open(8, NULL, &ring)) {
		pair_end(pair);
		return;
	}
	int error = ctx_taskgroup_new_on_ring(ctx_background(), ring, "fault", &group);
	MUST(error == 0 || error == -ENOMEM);
	if (!error) {
		memset(probes, 0, sizeof(probes));
		for (int i = 0; i < 6; i++) {
			ctx_op_init(&probes[i].op, probe_count, 0);
			struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(group, &probes[i].op);
			MUST(sqe);
			io_uring_prep_recv(sqe, i == 5 ? -1 : pair.near, sink, 8, 0);
		}
		error = ctx_taskgroup_wait(group);
		MUST(error == -EBADF || error == -ENOMEM);
		for (int i = 0; i < 6; i++)
			MUST(probes[i].finals == 1);
		ctx_taskgroup_free(group);
	}
	MUST(ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL) == 0);
	pair_end(pair);
}

/*
 * The first member fails, and the others succeed. Each of them runs, or fails for want of a thread when its
 * turn comes, or has no turn.
 */
static void first_on_threads(void)
{
	const struct ctx_taskgroup_options options = {.flags = CTX_TASKGROUP_FIRST, .delay_ns = MILLISECOND};
	struct ctx_taskgroup *group = NULL;
	unsigned ran[3] = {0}, started = 0;
	void *winner = NULL;
	int error = ctx_taskgroup_new_with_options(ctx_background(), &options, "fault", &group);

	MUST(error == 0 || error == -ENOMEM);
	if (error) {
		MUST(!group);
		return;
	}
	for (int i = 0; i < 3; i++) {
		error = ctx_taskgroup_start(group, i ? count_up : fail_once, &ran[i], "task");
		MUST(error == 0 || error == -ENOMEM || error == -EAGAIN || error == -ECANCELED);
		started += !error;
	}
	error = ctx_taskgroup_wait(group);
	for (int i = 0; i < 3; i++)
		MUST(ran[i] <= 1);
	if (ctx_taskgroup_first(group, &winner) == 0) {
		MUST(error == 0 && (winner == &ran[1] || winner == &ran[2]) && *(unsigned *)winner == 1);
		MUST(ctx_err(ctx_taskgroup_context(group)) == -ECANCELED);
	} else {
		/* All that were started have failed, and none waits any more. */
		MUST(!ran[1] && !ran[2] && ctx_err(ctx_taskgroup_context(group)) == 0);
		MUST(error == (!started ? 0 : ran[0] ? -EBADMSG : -EAGAIN));
		MUST(ctx_taskgroup_failures(group, NULL, 0) == (int)started);
	}
	ctx_taskgroup_free(group);
}

struct asked {
	struct probe probe;
	int fd;
	char sink[8];
};

static int ask(struct ctx_taskgroup *member, void *data)
{
	struct asked *asked = data;

	ctx_op_init(&asked->probe.op, probe_count, 0);
	struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(member, &asked->probe.op);
	MUST(sqe);
	io_uring_prep_recv(sqe, asked->fd, asked->sink, 8, 0);
	return 0;
}

/* The first member fails, and for the others there is an answer. */
static void first_on_a_ring(void)
{
	struct ctx_taskgroup_options options = {.flags = CTX_TASKGROUP_FIRST, .delay_ns = MILLISECOND};
	struct ctx_taskgroup *group = NULL;
	struct pair pairs[3] = {pair_new(), pair_new(), pair_new()};
	static struct asked asked[3];
	void *winner = NULL;
	unsigned started = 0;
	int error = ctx_ring_open(8, NULL, &options.ring);

	memset(asked, 0, sizeof(asked));
	for (int i = 0; i < 3; i++)
		asked[i].fd = i ? pairs[i].near : -1;
	for (int i = 0; i < 3; i++)
		MUST(write(pairs[i].far, "answer", 6) == 6);
	if (!error) {
		error = ctx_taskgroup_new_with_options(ctx_background(), &options, "fault", &group);
		MUST(error == 0 || error == -ENOMEM);
	}
	for (int i = 0; i < 3 && group; i++) {
		error = ctx_taskgroup_start_on_ring(group, ask, &asked[i], "member");
		MUST(error == 0 || error == -ENOMEM);
		started += !error;
	}
	if (group) {
		error = ctx_taskgroup_wait(group);
		for (int i = 0; i < 3; i++)
			MUST(asked[i].probe.finals <= 1);
		if (ctx_taskgroup_first(group, &winner) == 0)
			MUST(error == 0 && ((struct asked *)winner)->probe.last.res == 6);
		else
			MUST(error == -EBADF || error == -ENOMEM || (error == 0 && !started));
		ctx_taskgroup_free(group);
	}
	if (options.ring)
		MUST(ctx_ring_close(options.ring, CTX_FOREVER, NULL, 0, NULL) == 0);
	for (int i = 0; i < 3; i++)
		pair_end(pairs[i]);
}

static void (*const scenarios[])(void) = {on_threads, on_a_ring, first_on_threads, first_on_a_ring};

struct attempt {
	int scenario;
	uint64_t calls;
	unsigned k;
	bool for_ever;
};

static int run_attempt(void *data)
{
	const struct attempt *attempt = data;

	faults_arm(attempt->calls, attempt->k, attempt->for_ever, 0);
	scenarios[attempt->scenario]();
	unsigned failed = faults_disarm();
	/* And then it works, with the threads that there are. */
	scenarios[attempt->scenario]();
	MUST(!__lsan_do_recoverable_leak_check());
	return failed ? COPED : NO_FAULT;
}

static void fail_each(int scenario, uint64_t calls, bool for_ever)
{
	struct attempt attempt = {.scenario = scenario, .k = 1, .calls = calls, .for_ever = for_ever};

	if (scenario % 2 && test_no_uring())
		test_skip(test_no_uring());
	for (;; attempt.k++) {
		int status = test_in_child(run_attempt, &attempt);
		if (status == NO_FAULT)
			break;
		ck_assert_msg(status == COPED, "the %u. call failed%s: status %d", attempt.k,
			      for_ever ? ", and all after it" : "", status);
		ck_assert_uint_lt(attempt.k, 500);
	}
	ck_assert_uint_gt(attempt.k, 2);
}

START_TEST(any_resource_fails_once)
{
	fail_each(_i, FAULTS_RESOURCES, false);
}
END_TEST

START_TEST(any_resource_fails_from_then_on)
{
	fail_each(_i, FAULTS_RESOURCES & ~FAULT(SYS_CALL_URING_REGISTER), true);
}
END_TEST

/* Each kind of wait is interrupted now and then. */
START_TEST(waits_are_interrupted)
{
	fail_each(_i, FAULT(SYS_CALL_FUTEX_WAIT) | FAULT(SYS_CALL_URING_ENTER) | FAULT(SYS_CALL_POLL), false);
}
END_TEST

/* Goal: no thread is made in the steady state. */
START_TEST(tasks_run_on_the_threads_that_there_are)
{
	struct ctx_taskgroup *group;
	unsigned ran = 0;

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 4, NULL, &group));
	for (int i = 0; i < 20; i++)
		ck_assert_ok(ctx_taskgroup_start(group, count_up, &ran, NULL));
	ck_assert_ok(ctx_taskgroup_wait(group));
	ctx_taskgroup_free(group);
	unsigned threads = count_threads("ctx-task");
	ck_assert_uint_le(threads, 4);
	faults_arm(FAULT(SYS_CALL_THREAD_CREATE), 1, true, 0);
	for (int round = 0; round < 200; round++) {
		ck_assert_ok(ctx_taskgroup_new(ctx_background(), threads, NULL, &group));
		for (int i = 0; i < 10; i++)
			ck_assert_ok(ctx_taskgroup_start(group, count_up, &ran, NULL));
		ck_assert_ok(ctx_taskgroup_wait(group));
		ctx_taskgroup_free(group);
	}
	ck_assert_uint_eq(faults_count(SYS_CALL_THREAD_CREATE), 0);
	ck_assert_uint_eq(faults_disarm(), 0);
	ck_assert_uint_eq(ran, 2020);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_taskgroup");
	TCase *faults = test_case_cold(suite, "faults");

	tcase_add_loop_test(faults, any_resource_fails_once, 0, 4);
	tcase_add_loop_test(faults, any_resource_fails_from_then_on, 0, 4);
	tcase_add_loop_test(faults, waits_are_interrupted, 0, 4);
	tcase_add_test(faults, tasks_run_on_the_threads_that_there_are);
	return suite;
}
