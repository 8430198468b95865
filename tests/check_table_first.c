/* SPDX-License-Identifier: MIT */
/* The table is made with the first context, while other threads already use the library. */
#include <pthread.h>
#include <stdatomic.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_TSAN);

static _Atomic bool is_asking, is_over;

/* Asks for an identity that is computed without a context in the table, and that a table shows. */
static void *ask_for_identities(void *data)
{
	struct ctx_identity identity;

	(void)data;
	do {
		ck_assert_ok(ctx_get_identity(ctx_background(), &identity));
		atomic_store_explicit(&is_asking, true, memory_order_relaxed);
	} while (!atomic_load_explicit(&is_over, memory_order_relaxed));
	return NULL;
}

/* ThreadSanitizer finds what is not ordered. */
START_TEST(a_table_is_made_while_a_thread_asks_for_identities)
{
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, ask_for_identities, NULL));
	while (!atomic_load_explicit(&is_asking, memory_order_relaxed))
		;
	ctx_finish(child_of(ctx_background()));
	atomic_store_explicit(&is_over, true, memory_order_relaxed);
	ck_assert_ok(pthread_join(thread, NULL));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("table_first");
	TCase *cold = test_case_cold(suite, "cold");

	tcase_add_test(cold, a_table_is_made_while_a_thread_asks_for_identities);
	return suite;
}
