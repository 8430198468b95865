/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation or system call of a scenario fails, once and then for ever, for
 * each k. Every call gives a result that its contract names, what failed has changed
 * nothing, nothing leaks, and afterwards the library works. Each try is a process of its
 * own, so that the first use of everything fails, too.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/contexts.h"
#include "support/faults.h"

TEST_MODES(TEST_FAULTS);

int __lsan_do_recoverable_leak_check(void);

static const struct ctx_key key = {"key", NULL, NULL};

enum {
	NO_FAULT = 0,
	COPED = 1,
	WRONG = 2
};

static void wrong(int line, const char *what, int result)
{
	faults_disarm();
	printf("line %d: %s: %d\n", line, what, result);
	fflush(stdout);
	_exit(WRONG);
}

#define MUST(condition)                                 \
	do {                                            \
		if (!(condition))                       \
			wrong(__LINE__, #condition, 0); \
	} while (0)

static bool is_one_of(int result, const int *errors)
{
	for (; *errors; errors++)
		if (result == -*errors)
			return true;
	return false;
}

/* The call's result, which is not negative or one of the errors that its contract names. */
#define TRY(call, ...)                                                                 \
	({                                                                             \
		int result_ = (call);                                                  \
		if (result_ < 0 && !is_one_of(result_, (const int[]){__VA_ARGS__, 0})) \
			wrong(__LINE__, #call, result_);                               \
		result_;                                                               \
	})

static void tree(void)
{
	struct ctx_context *parent = NULL, *child = NULL, *leaf = NULL;
	struct ctx_cause cause;

	if (TRY(ctx_with_cancel(ctx_background(), "parent", &parent), ENOMEM) == 0) {
		TRY(ctx_with_cancel(parent, "child", &child), ENOMEM);
		if (child)
			TRY(ctx_with_cancel(child, "leaf", &leaf), ENOMEM);
		MUST(ctx_err(parent) == 0);
		/* Without memory for the text it ends all the same. */
		MUST(ctx_cancel_cause(parent, -EPIPE, "a text of %d words", 5) == 0);
		MUST(ctx_get_cause(parent, &cause) == 0 && cause.kind == CTX_CAUSE_CALL);
		MUST(!child || ctx_err(child) == -ECANCELED);
		MUST(!leaf || ctx_err(leaf) == -ECANCELED);
	} else {
		MUST(parent == NULL);
	}
	ctx_finish(leaf);
	ctx_finish(child);
	ctx_finish(parent);
}

static void deadlines(void)
{
	struct ctx_context *ctx = NULL, *soon = NULL, *movable = NULL, *late = NULL;
	struct ctx_cause cause;
	uint64_t far_ns = clock_now_ns() + HOUR;

	if (TRY(ctx_with_timeout(ctx_background(), 2 * MILLISECOND, "soon", &soon), ENOMEM, EAGAIN) == 0) {
		TRY(ctx_set_deadline_cause(soon, -EIO, "text"), ENOMEM, EALREADY);
		MUST(ctx_wait(soon, CTX_FOREVER) == 0);
		MUST(ctx_err(soon) == -ETIME);
	}
	if (TRY(ctx_with_cancel(ctx_background(), "ctx", &ctx), ENOMEM) == 0) {
		int result = TRY(ctx_set_deadline(ctx, far_ns), ENOMEM, EAGAIN);
		MUST(ctx_deadline_ns(ctx) == (result == 0 ? far_ns : CTX_FOREVER));
		MUST(ctx_err(ctx) == 0);
	}
	if (TRY(ctx_with_movable_deadline(ctx_background(), far_ns, "movable", &movable), ENOMEM, EAGAIN) ==
	    0) {
		int result = TRY(ctx_set_deadline(movable, far_ns + HOUR), ENOMEM, EAGAIN);
		MUST(ctx_deadline_ns(movable) == (result == 0 ? far_ns + HOUR : far_ns));
	}
	if (TRY(ctx_with_timeout_cause(ctx_background(), 0, "late", &late, -EIO, "text"), ENOMEM, EAGAIN) ==
	    0)
		MUST(ctx_get_cause(late, &cause) == 0 && cause.error == -EIO);
	ctx_finish(late);
	ctx_finish(movable);
	ctx_finish(ctx);
	ctx_finish(soon);
}

static void values_and_merges(void)
{
	struct ctx_context *parents[3] = {NULL}, *merged = NULL;
	const struct ctx_context *value = NULL, *detached = NULL;
	int number;

	for (int i = 0; i < 3; i++)
		if (TRY(ctx_with_cancel(ctx_background(), NULL, &parents[i]), ENOMEM))
			goto out;
	TRY(ctx_with_value(parents[0], &key, &number, "value", &value), ENOMEM);
	TRY(ctx_without_cancel(parents[0], "detached", &detached), ENOMEM);
	TRY(ctx_merge((const struct ctx_context *const *)parents, 3, "merged", &merged), ENOMEM);
	MUST(ctx_cancel(parents[1]) == 0);
	MUST(!merged || ctx_err(merged) == -ECANCELED);
	MUST(!value || ctx_err(value) == 0);
	MUST(!detached || ctx_err(detached) == 0);
	MUST(ctx_cancel(parents[0]) == 0);
	MUST(!value || ctx_err(value) == -ECANCELED);
out:
	ctx_finish(merged);
	ctx_unref(detached);
	ctx_unref(value);
	for (int i = 0; i < 3; i++)
		ctx_finish(parents[i]);
}

static void count_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	__atomic_fetch_add((unsigned *)data, 1, __ATOMIC_RELEASE);
}

static bool was_called(void *calls)
{
	return __atomic_load_n((unsigned *)calls, __ATOMIC_ACQUIRE) > 0;
}

static void callbacks(void)
{
	struct ctx_context *ctx = NULL, *timed = NULL;
	struct ctx_callback called = {0}, stopped = {0}, late = {0};
	uint64_t stopped_id = 0, late_id = 0;
	unsigned calls = 0, late_calls = 0;

	if (TRY(ctx_with_cancel(ctx_background(), NULL, &ctx), ENOMEM) == 0) {
		int added = TRY(ctx_callback_add(ctx, &called, count_call, &calls, NULL), ENOMEM, EAGAIN);
		int other =
			TRY(ctx_callback_add(ctx, &stopped, count_call, &calls, &stopped_id), ENOMEM, EAGAIN);
		MUST(ctx_callback_stop(stopped_id) == (other == 0));
		MUST(ctx_cancel(ctx) == 0);
		MUST(calls == (added == 0));
	}
	if (TRY(ctx_with_timeout(ctx_background(), HOUR, NULL, &timed), ENOMEM, EAGAIN) == 0) {
		int added = TRY(ctx_callback_add(timed, &late, count_call, &late_calls, &late_id), ENOMEM,
				EAGAIN);
		int moved = TRY(ctx_set_deadline(timed, 1), ENOMEM, EAGAIN);
		if (added == 0 && moved == 0)
			MUST(test_until(was_called, &late_calls));
		ctx_callback_stop_wait(late_id);
	}
	ctx_finish(timed);
	ctx_finish(ctx);
}

static void waits(void)
{
	struct ctx_context *ctx = NULL;
	int pipes[2], fd = -1;

	MUST(pipe2(pipes, O_CLOEXEC) == 0);
	if (TRY(ctx_with_cancel(ctx_background(), NULL, &ctx), ENOMEM) == 0) {
		TRY(ctx_wait_fd(ctx, pipes[0], POLLIN, 0), ETIMEDOUT, EINTR, ENOMEM, EMFILE, ENFILE);
		fd = TRY(ctx_done_fd(ctx), ENOMEM, EMFILE, ENFILE);
		TRY(ctx_wait(ctx, 0), ETIMEDOUT);
		MUST(ctx_cancel(ctx) == 0);
		MUST(ctx_wait(ctx, CTX_FOREVER) == 0);
		struct pollfd entry = {.fd = fd, .events = POLLIN};
		MUST(fd < 0 || (poll(&entry, 1, 0) == 1 && entry.revents & POLLHUP));
	}
	ctx_finish(ctx);
	TRY(ctx_done_fd(ctx_background()), ENOMEM, EMFILE, ENFILE);
	close(pipes[0]);
	close(pipes[1]);
}

static void signals(void)
{
	struct ctx_context *ctx = NULL;

	if (TRY(ctx_with_cancel(ctx_background(), NULL, &ctx), ENOMEM) == 0) {
		if (TRY(ctx_signal_prepare(ctx), ENOMEM, EAGAIN) == 0) {
			MUST(ctx_cancel_from_signal(ctx, SIGTERM) == 0);
			MUST(ctx_wait(ctx, CTX_FOREVER) == 0);
		} else {
			MUST(ctx_cancel_from_signal(ctx, SIGTERM) == -EINVAL);
			MUST(ctx_err(ctx) == 0);
		}
	}
	ctx_finish(ctx);
}

/* After the faults: everything that a scenario uses works, and its leavings are gone. */
static void all_is_well(void)
{
	struct ctx_context *ctx, *timed;

	MUST(ctx_with_cancel(ctx_background(), "after", &ctx) == 0);
	MUST(ctx_with_timeout(ctx, MILLISECOND, "after", &timed) == 0);
	MUST(ctx_done_fd(timed) >= 0);
	MUST(ctx_wait(timed, 10 * NS_PER_SECOND) == 0);
	MUST(ctx_err(timed) == -ETIME);
	ctx_finish(timed);
	ctx_finish(ctx);
}

static bool nothing_is_left(void *fds)
{
	return test_count_contexts() == 0 && test_count_fds() <= *(unsigned *)fds;
}

struct attempt {
	void (*scenario)(void);
	uint64_t calls;
	unsigned k;
	bool for_ever;
};

static int attempt_run(void *data)
{
	struct attempt *attempt = data;
	unsigned fds = test_count_fds();

	faults_arm(attempt->calls, attempt->k, attempt->for_ever, 0);
	attempt->scenario();
	unsigned failed = faults_disarm();
	all_is_well();
	/* The process's own: the endless descriptor and its write end. */
	if (attempt->scenario == waits)
		fds += 2;
	MUST(test_until(nothing_is_left, &fds));
	MUST(__lsan_do_recoverable_leak_check() == 0);
	return failed ? COPED : NO_FAULT;
}

static const struct {
	const char *name;
	void (*scenario)(void);
} scenarios[] = {
	{"tree", tree},		  {"deadlines", deadlines}, {"values and merges", values_and_merges},
	{"callbacks", callbacks}, {"waits", waits},	    {"signals", signals},
};

static void each_k(int which, uint64_t calls, bool for_ever)
{
	struct attempt attempt = {scenarios[which].scenario, calls, 1, for_ever};
	int result;

	for (;; attempt.k++) {
		result = test_in_child(attempt_run, &attempt);
		if (result != COPED)
			break;
		ck_assert_uint_lt(attempt.k, 1000);
	}
	printf("%s, %s: %u calls\n", scenarios[which].name, for_ever ? "for ever" : "once", attempt.k - 1);
	ck_assert_msg(result == NO_FAULT, "%s: call %u failed %s: status %d", scenarios[which].name,
		      attempt.k, for_ever ? "for ever" : "once", result);
	ck_assert_uint_gt(attempt.k, 1);
}

START_TEST(kth_call_fails_once)
{
	each_k(_i, FAULTS_ALL, false);
}
END_TEST

START_TEST(calls_fail_for_ever_from_the_kth_on)
{
	each_k(_i, FAULTS_RESOURCES, true);
}
END_TEST

START_TEST(memory_fails_for_ever_from_the_kth_allocation_on)
{
	each_k(_i, FAULT(SYS_CALL_ALLOCATE), true);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults");
	TCase *faults = test_case_cold(suite, "core");
	int count = sizeof(scenarios) / sizeof(scenarios[0]);

	tcase_set_timeout(faults, 240);
	tcase_add_loop_test(faults, kth_call_fails_once, 0, count);
	tcase_add_loop_test(faults, calls_fail_for_ever_from_the_kth_on, 0, count);
	tcase_add_loop_test(faults, memory_fails_for_ever_from_the_kth_allocation_on, 0, count);
	return suite;
}
