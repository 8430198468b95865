/* SPDX-License-Identifier: MIT */
/*
 * Which contexts end with another one, and in how many steps that is found out: counted, for a table of
 * hundreds of thousands of contexts is cancelled by the same code.
 */
#include "support/harness.h"

#include "../tools/common/ending.c"

TEST_ALONE("holds tools/common/ending.c");

#define ROOTS 1000u
#define BELOW 3u /* a child, a detached child, and one below that */
#define CONTEXTS (ROOTS * (1 + BELOW))

static struct reader_context contexts[CONTEXTS];
static uint32_t preorder[CONTEXTS];
static struct snapshot snapshot = {.contexts = contexts, .preorder = preorder, .context_count = CONTEXTS};

static void add_context(uint32_t index, uint32_t parent, uint8_t kind)
{
	contexts[index] = (struct reader_context){.record.kind = kind,
						  .slot = index,
						  .parent = parent,
						  .first_child = READER_NONE,
						  .next_sibling = READER_NONE};
	preorder[index] = index;
}

/* Roots, each with a child, and with a detached child that has a child of its own. */
static void make_forest(void)
{
	for (uint32_t root = 0; root < CONTEXTS; root += 1 + BELOW) {
		add_context(root, READER_NONE, CTX_TABLE_CANCEL);
		add_context(root + 1, root, CTX_TABLE_DEADLINE);
		add_context(root + 2, root, CTX_TABLE_DETACHED);
		add_context(root + 3, root + 2, CTX_TABLE_CANCEL);
		contexts[root].first_child = root + 1;
		contexts[root + 1].next_sibling = root + 2;
		contexts[root + 2].first_child = root + 3;
		if (root)
			contexts[root - 1 - BELOW].next_sibling = root;
	}
}

START_TEST(detached_contexts_do_not_end_with_their_parent)
{
	make_forest();
	struct ending ending = ending_of(&snapshot, 4);
	ck_assert_uint_eq(ending_next(&ending)->slot, 4);
	ck_assert_uint_eq(ending_next(&ending)->slot, 5);
	ck_assert_ptr_null(ending_next(&ending));
	/* But the ones that are named do. */
	ending = ending_of(&snapshot, 6);
	ck_assert_uint_eq(ending_next(&ending)->slot, 6);
	ck_assert_uint_eq(ending_next(&ending)->slot, 7);
	ck_assert_ptr_null(ending_next(&ending));
}
END_TEST

START_TEST(all_roots_are_walked_in_linear_steps)
{
	uint64_t steps = 0, found = 0;

	make_forest();
	for (uint32_t root = 0; root < CONTEXTS; root += 1 + BELOW) {
		struct ending ending = ending_of(&snapshot, root);

		while (ending_next(&ending))
			found++;
		steps += ending.steps;
	}
	ck_assert_uint_eq(found, 2 * ROOTS);
	ck_assert_uint_le(steps, 2 * found + ROOTS);
}
END_TEST

START_TEST(what_ends_with_a_chosen_context_is_covered)
{
	make_forest();
	contexts[4].chosen = contexts[5].chosen = contexts[6].chosen = true;
	ending_cover(&snapshot);
	for (uint32_t i = 0; i < CONTEXTS; i++)
		ck_assert_msg(contexts[i].covered == (i == 5 || i == 7), "context %u", i);
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("ending");
	TCase *tests = test_case(suite, "ending");

	tcase_add_test(tests, detached_contexts_do_not_end_with_their_parent);
	tcase_add_test(tests, all_roots_are_walked_in_linear_steps);
	tcase_add_test(tests, what_ends_with_a_chosen_context_is_covered);
	return suite;
}
