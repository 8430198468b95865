/* SPDX-License-Identifier: MIT */
/*
 * What a thread takes of the table for itself goes back when the thread ends. Where the C library has no
 * memory for the thread's value of a key, nobody is told of that end: such a thread takes nothing.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "support/contexts.h"
#include "table_format.h"

TEST_ALONE("defines pthread_setspecific");
TEST_MODES(TEST_NORMAL | TEST_PLAIN);

#define THREADS 200u

static _Atomic bool has_no_memory;

int pthread_setspecific(pthread_key_t key, const void *value)
{
	int (*real)(pthread_key_t, const void *) =
		(int (*)(pthread_key_t, const void *))dlsym(RTLD_NEXT, "pthread_setspecific");

	return atomic_load(&has_no_memory) ? ENOMEM : real(key, value);
}

static void *end_a_context(void *data)
{
	struct ctx_context *ctx;

	(void)data;
	ck_assert_ok(ctx_with_cancel(ctx_background(), "thread", &ctx));
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "over"));
	ctx_unref(ctx);
	return NULL;
}

static void run_threads(unsigned count)
{
	pthread_t thread;

	for (unsigned i = 0; i < count; i++) {
		ck_assert_ok(pthread_create(&thread, NULL, end_a_context, NULL));
		ck_assert_ok(pthread_join(thread, NULL));
	}
}

static void expect_little_growth(bool no_memory)
{
	struct ctx_table_header *header = test_own_table();

	atomic_store(&has_no_memory, no_memory);
	run_threads(1);
	uint32_t contexts = atomic_load(&header->contexts.used),
		 counters = atomic_load(&header->counters.used);
	uint64_t uses = atomic_load(&header->ends.serial);
	run_threads(THREADS);
	atomic_store(&has_no_memory, false);
	ck_assert_uint_le(atomic_load(&header->contexts.used), contexts + 1);
	ck_assert_uint_eq(atomic_load(&header->counters.used), counters);
	/* A use of a chunk holds 17 ends. */
	ck_assert_uint_le(atomic_load(&header->ends.serial), uses + THREADS / 17 + 1);
}

START_TEST(what_a_thread_took_goes_back_when_it_ends)
{
	expect_little_growth(false);
}
END_TEST

START_TEST(a_thread_whose_end_nobody_hears_of_takes_nothing)
{
	expect_little_growth(true);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("table_threads");
	TCase *threads = test_case(suite, "threads");

	tcase_add_test(threads, what_a_thread_took_goes_back_when_it_ends);
	tcase_add_test(threads, a_thread_whose_end_nobody_hears_of_takes_nothing);
	return suite;
}
