/* SPDX-License-Identifier: MIT */
/* Ending a context from a signal handler. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static struct ctx_context *target;
static volatile sig_atomic_t handler_result, handler_calls;

static void cancel_in_handler(int signo)
{
	int saved = errno;

	errno = 12345;
	handler_result = ctx_cancel_from_signal(target, signo);
	handler_calls = handler_calls + (errno == 12345);
	errno = saved;
}

static void handle(int signo)
{
	struct sigaction action = {.sa_handler = cancel_in_handler};

	ck_assert_ok(sigaction(signo, &action, NULL));
}

START_TEST(signal_ends_the_subtree_with_kind_and_number)
{
	target = child_of(ctx_background());
	struct ctx_context *child = child_of(target);

	handle(SIGUSR1);
	ck_assert_ok(ctx_signal_prepare(target));
	ck_assert_ok(raise(SIGUSR1));
	ck_assert_int_eq(handler_result, 0);
	ck_assert_int_eq(handler_calls, 1);
	ck_assert_ok(ctx_wait(target, CTX_FOREVER));
	ck_assert_ok(ctx_wait(child, CTX_FOREVER));
	ck_assert_cancelled(child);
	struct ctx_cause cause = cause_of(child);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_SIGNAL);
	ck_assert_int_eq(cause.code, SIGUSR1);
	ck_assert_int_eq(cause.pid, getpid());
	ck_assert(cause.inherited);
	ctx_finish(child);
	ctx_finish(target);
}
END_TEST

START_TEST(signal_on_an_unprepared_context_is_refused)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_int_eq(ctx_cancel_from_signal(ctx, SIGTERM), -EINVAL);
	ck_assert_int_eq(ctx_cancel_from_signal(NULL, SIGTERM), -EINVAL);
	ck_assert_int_eq(ctx_signal_prepare(NULL), -EINVAL);
	ck_assert_live(ctx);
	ctx_finish(ctx);
}
END_TEST

START_TEST(prepared_context_that_ends_otherwise_is_released)
{
	struct ctx_context *ctx = child_of(ctx_background()), *twice = child_of(ctx_background());

	ck_assert_ok(ctx_signal_prepare(ctx));
	ck_assert_ok(ctx_cancel(ctx));
	ctx_unref(ctx);
	ck_assert_ok(ctx_signal_prepare(twice));
	ck_assert_ok(ctx_signal_prepare(twice));
	ctx_finish(twice);
}
END_TEST

/* Goal: many signals at once are one end. Method: a storm of them at a thread that makes contexts. */
static void *storm(void *thread)
{
	for (int i = 0; i < 2000; i++)
		pthread_kill(*(pthread_t *)thread, SIGUSR2);
	return NULL;
}

START_TEST(storm_of_signals_amid_other_use_does_no_harm)
{
	pthread_t self = pthread_self(), thread;

	target = child_of(ctx_background());
	handle(SIGUSR2);
	ck_assert_ok(ctx_signal_prepare(target));
	ck_assert_ok(pthread_create(&thread, NULL, storm, &self));
	for (unsigned i = 0; i < test_scaled(20000); i++) {
		struct ctx_context *ctx = child_of(target);
		ctx_cancel(ctx);
		ctx_unref(ctx);
	}
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_gt(handler_calls, 0);
	ck_assert_ok(ctx_wait(target, CTX_FOREVER));
	ck_assert_int_eq(cause_of(target).kind, CTX_CAUSE_SIGNAL);
	ctx_finish(target);
}
END_TEST

START_TEST(several_prepared_contexts_end_each)
{
	struct ctx_context *many[20];

	handle(SIGUSR1);
	for (int i = 0; i < 20; i++) {
		many[i] = child_of(ctx_background());
		ck_assert_ok(ctx_signal_prepare(many[i]));
	}
	for (int i = 0; i < 20; i++) {
		target = many[i];
		ck_assert_ok(raise(SIGUSR1));
	}
	for (int i = 0; i < 20; i++) {
		ck_assert_ok(ctx_wait(many[i], CTX_FOREVER));
		ctx_finish(many[i]);
	}
}
END_TEST

/* Goal: whatever ends a prepared context, it is freed. Method: the library's blocks do not grow. */
START_TEST(prepared_contexts_are_freed_whatever_ends_them)
{
	unsigned most = 0;

	counting_allocator_use();
	handle(SIGUSR1);
	for (unsigned i = 0; i < 2000; i++) {
		struct ctx_context *parent = child_of(ctx_background());
		target = child_of(parent);
		ck_assert_ok(ctx_signal_prepare(target));
		if (i % 3 == 0)
			ck_assert_ok(ctx_cancel(target));
		else if (i % 3 == 1)
			ck_assert_ok(ctx_cancel(parent));
		else
			ck_assert_ok(raise(SIGUSR1));
		ck_assert_ok(ctx_wait(target, CTX_FOREVER));
		ctx_unref(target);
		ctx_unref(parent);
		if (counting_allocator_blocks() > most)
			most = counting_allocator_blocks();
	}
	ck_assert_uint_lt(most, 200);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("signal");
	TCase *signals = test_case(suite, "signal");

	tcase_add_test(signals, signal_ends_the_subtree_with_kind_and_number);
	tcase_add_test(signals, signal_on_an_unprepared_context_is_refused);
	tcase_add_test(signals, prepared_context_that_ends_otherwise_is_released);
	tcase_add_test(signals, storm_of_signals_amid_other_use_does_no_harm);
	tcase_add_test(signals, several_prepared_contexts_end_each);
	tcase_add_test(test_case_cold(suite, "memory"), prepared_contexts_are_freed_whatever_ends_them);
	return suite;
}
