/* SPDX-License-Identifier: MIT */
/* The harness itself: a test that leaks must fail, one that does not must pass. */
#include "support/harness.h"

#include <fcntl.h>
#include <stdlib.h>

START_TEST(leaks_nothing)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "kept", &ctx));
	ck_assert_int_ge(ctx_done_fd(ctx), 0);
	ctx_finish(ctx);
}
END_TEST

START_TEST(leaks_a_descriptor)
{
	ck_assert_int_ge(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
}
END_TEST

START_TEST(leaks_a_context)
{
	static struct ctx_context *ctx; /* static: for the leak counter to see, not for LeakSanitizer */

	ck_assert_ok(ctx_with_cancel(ctx_background(), "leaked", &ctx));
}
END_TEST

START_TEST(leaks_an_expired_context)
{
	static struct ctx_context *ctx;

	ck_assert_ok(ctx_with_timeout(ctx_background(), 1, "leaked", &ctx));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
}
END_TEST

static void *volatile last;

static __attribute__((noinline)) void lose_memory(void)
{
	for (int i = 0; i < 16; i++)
		last = malloc(24);
	last = NULL;
}

START_TEST(leaks_memory)
{
	lose_memory();
}
END_TEST

/* Runs one test in a runner of its own; returns how many failed. */
static int run_alone(void *data)
{
	Suite *suite = suite_create("inner");

	test_leak_patience_s = 1; /* they keep it */
	tcase_add_test(test_case(suite, "inner"), *(const TTest **)data);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_FORK);
	srunner_run_all(runner, CK_SILENT);
	return srunner_ntests_run(runner) == 1 ? srunner_ntests_failed(runner) : 100;
}

START_TEST(a_leak_fails_the_test)
{
	const TTest **const leaking[] = {&leaks_a_descriptor, &leaks_a_context, &leaks_an_expired_context};

	ck_assert_int_eq(test_in_child(run_alone, leaking[_i]), 1);
}
END_TEST

/* What only LeakSanitizer sees. Its report in the log of the tests is this one's. */
START_TEST(lost_memory_fails_the_test_under_address_sanitizer)
{
	ck_assert_int_eq(test_in_child(run_alone, &leaks_memory), test_mode() == TEST_ASAN);
}
END_TEST

START_TEST(without_a_leak_it_passes)
{
	ck_assert_int_eq(test_in_child(run_alone, &leaks_nothing), 0);
}
END_TEST

START_TEST(the_table_is_found_and_counted)
{
	unsigned before = test_count_contexts();
	struct ctx_context *ctx;

	ck_assert_ptr_nonnull(test_own_table());
	ck_assert_ok(ctx_with_cancel(ctx_background(), "one", &ctx));
	ck_assert_uint_eq(test_count_contexts(), before + 1);
	ctx_finish(ctx);
	ck_assert_uint_eq(test_count_contexts(), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("harness");
	TCase *leaks = test_case(suite, "leaks");

	tcase_add_loop_test(leaks, a_leak_fails_the_test, 0, 3);
	tcase_add_test(leaks, lost_memory_fails_the_test_under_address_sanitizer);
	tcase_add_test(leaks, without_a_leak_it_passes);
	tcase_add_test(leaks, the_table_is_found_and_counted);
	return suite;
}
