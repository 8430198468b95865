/* SPDX-License-Identifier: MIT */
/*
 * Goal: ctxtool top sorts as its header says, a page of many rows is what a sort of all has there, trees fold
 * with sums and are filtered with the ancestors of what is left. Method: the file is a part of this program,
 * and gets processes made by hand.
 */
#include "support/harness.h"

#include "../tools/top/rows.c"

TEST_HOLDS("tools/top/rows.c");

#define ROWS 6
#define MANY 5000

static struct reader_context contexts[MANY];
static struct reader_operation operations[ROWS];
static uint32_t preorder[MANY];
static struct process process = {.pid = 7, .inode = 77, .now_ns = 10000};
static struct survey survey = {.processes = &process, .process_count = 1};
static struct top_rows rows;
static const struct top_filter no_filter;

/* Context I has slot I, is the I-th oldest root, and has no operation, no label and no deadline. */
static void make_contexts(uint32_t count)
{
	memset(operations, 0, sizeof(operations));
	for (uint32_t i = 0; i < count; i++) {
		contexts[i] = (struct reader_context){.slot = i,
						      .parent = READER_NONE,
						      .first_child = READER_NONE,
						      .first_operation = READER_NONE,
						      .record = {.state = CTX_TABLE_LIVE,
								 .created_ns = 100 + i,
								 .deadline_ns = UINT64_MAX}};
		preorder[i] = i;
	}
	process.snapshot.contexts = contexts;
	process.snapshot.operations = operations;
	process.snapshot.preorder = preorder;
	process.snapshot.context_count = count;
}

/* Says that the context has so many operations, the oldest of which, record I, began then. */
static void give_operations(uint32_t i, uint32_t count, uint64_t since_ns)
{
	contexts[i].operation_count = count;
	contexts[i].first_operation = i;
	operations[i] =
		(struct reader_operation){.context = i, .next = READER_NONE, .record.since_ns = since_ns};
}

static void put_below(uint32_t child, uint32_t parent)
{
	contexts[child].parent = parent;
	contexts[child].depth = contexts[parent].depth + 1;
	contexts[parent].first_child = child;
}

static void expect_order(enum top_column column, bool reverse, const uint32_t slots[ROWS])
{
	struct top_order order = {column, reverse};

	ck_assert_int_eq(top_list(&survey, &no_filter, &rows), 0);
	ck_assert_uint_eq(rows.count, ROWS);
	top_set_keys(&rows, order);
	top_sort(&rows, order, 0, ROWS);
	for (size_t i = 0; i < ROWS; i++) {
		const struct top_row row = rows.rows[i];

		ck_assert_msg(row.context->slot == slots[i],
			      "by column %d%s: row %zu is slot %u instead of %u", (int)column,
			      reverse ? ", reversed" : "", i, row.context->slot, slots[i]);
		ck_assert_uint_eq(top_rank(&rows, order, &row), i);
	}
}

static void make_differences(void)
{
	make_contexts(ROWS);
	give_operations(3, 9, 9900);
	give_operations(1, 2, 9900);
	give_operations(4, 2, 9800);
	contexts[0].record.state = 1; /* done */
	contexts[5].record.deadline_ns = 20000;
	contexts[0].record.deadline_ns = 10; /* which counts no more */
	strcpy(contexts[2].record.label, "a long label 1");
	strcpy(contexts[4].record.label, "a long label 0");
}

START_TEST(rows_are_sorted_by_the_column_and_then_by_what_keeps_them_in_place)
{
	make_differences();
	expect_order(TOP_OPS, false, (uint32_t[]){3, 4, 1, 2, 5, 0});
	expect_order(TOP_AGE, false, (uint32_t[]){0, 1, 2, 3, 4, 5});
	expect_order(TOP_LEFT, false, (uint32_t[]){5, 1, 2, 3, 4, 0});
	expect_order(TOP_LABEL, false, (uint32_t[]){1, 3, 5, 0, 4, 2});
	expect_order(TOP_WAIT, false, (uint32_t[]){4, 1, 3, 2, 5, 0});
	expect_order(TOP_STATE, false, (uint32_t[]){1, 2, 3, 4, 5, 0});
	expect_order(TOP_ID, false, (uint32_t[]){0, 1, 2, 3, 4, 5});
	expect_order(TOP_USER, false, (uint32_t[]){1, 2, 3, 4, 5, 0});
	expect_order(TOP_PROCESS, false, (uint32_t[]){1, 2, 3, 4, 5, 0});
}
END_TEST

START_TEST(reversing_moves_no_rows_that_are_equal)
{
	make_differences();
	expect_order(TOP_OPS, true, (uint32_t[]){2, 5, 0, 4, 1, 3});
	expect_order(TOP_AGE, true, (uint32_t[]){5, 4, 3, 2, 1, 0});
	expect_order(TOP_LEFT, true, (uint32_t[]){1, 2, 3, 4, 0, 5});
	expect_order(TOP_LABEL, true, (uint32_t[]){2, 4, 1, 3, 5, 0});
	expect_order(TOP_WAIT, true, (uint32_t[]){2, 5, 0, 1, 3, 4});
	expect_order(TOP_USER, true, (uint32_t[]){1, 2, 3, 4, 5, 0});
}
END_TEST

START_TEST(a_page_is_what_a_sort_of_all_rows_has_there)
{
	static uint32_t expected[MANY];
	struct top_order order = {TOP_OPS, false};
	uint32_t state = 1;

	make_contexts(MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		state = state * 1664525 + 1013904223;
		contexts[i].operation_count = state >> 22;
	}
	ck_assert_int_eq(top_list(&survey, &no_filter, &rows), 0);
	top_set_keys(&rows, order);
	top_sort(&rows, order, 0, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		expected[i] = rows.rows[i].context->slot;
	for (uint32_t i = 1; i < MANY; i++)
		ck_assert_uint_ge(rows.rows[i - 1].operations, rows.rows[i].operations);
	for (uint32_t first = 0; first < MANY + 100; first += 313) {
		ck_assert_int_eq(top_list(&survey, &no_filter, &rows), 0);
		top_set_keys(&rows, order);
		top_sort(&rows, order, first, 40);
		for (uint32_t i = first; i < first + 40 && i < MANY; i++)
			ck_assert_uint_eq(rows.rows[i].context->slot, expected[i]);
	}
}
END_TEST

/* 0 has 1 and 4 below it, 1 has 2 and 3, and 5 is a root. */
static void make_tree(void)
{
	make_contexts(ROWS);
	put_below(1, 0);
	put_below(2, 1);
	put_below(3, 1);
	put_below(4, 0);
	give_operations(1, 1, 9000);
	give_operations(2, 5, 5000);
	give_operations(3, 4, 6000);
	give_operations(4, 100, 1000);
}

static void expect_rows(const uint32_t *slots, size_t count)
{
	ck_assert_uint_eq(rows.count, count);
	for (size_t i = 0; i < count; i++)
		ck_assert_uint_eq(rows.rows[i].context->slot, slots[i]);
}

START_TEST(a_folded_row_has_the_sums_of_what_it_hides)
{
	struct top_folds folds = {0};

	make_tree();
	ck_assert_int_eq(top_tree(&survey, &no_filter, &folds, &rows), 0);
	expect_rows((uint32_t[]){0, 1, 2, 3, 4, 5}, 6);
	ck_assert_uint_eq(rows.rows[1].operations, 1);
	ck_assert_int_eq(top_fold(&folds, top_place_of(&process, &contexts[1])), 0);
	ck_assert_int_eq(top_tree(&survey, &no_filter, &folds, &rows), 0);
	expect_rows((uint32_t[]){0, 1, 4, 5}, 4);
	ck_assert_uint_eq(rows.rows[1].operations, 10);
	ck_assert_uint_eq(rows.rows[1].hidden, 2);
	ck_assert_ptr_eq(rows.rows[1].oldest, &operations[2]);
	ck_assert_uint_eq(rows.rows[1].waiting_ns, 5000);
	ck_assert_int_eq(top_fold(&folds, top_place_of(&process, &contexts[0])), 0);
	ck_assert_int_eq(top_tree(&survey, &no_filter, &folds, &rows), 0);
	expect_rows((uint32_t[]){0, 5}, 2);
	ck_assert_uint_eq(rows.rows[0].operations, 110);
	ck_assert_uint_eq(rows.rows[0].hidden, 4);
	ck_assert_ptr_eq(rows.rows[0].oldest, &operations[4]);
	ck_assert_int_eq(top_fold(&folds, top_place_of(&process, &contexts[0])), 0);
	ck_assert_int_eq(top_fold(&folds, top_place_of(&process, &contexts[1])), 0);
	ck_assert_int_eq(top_tree(&survey, &no_filter, &folds, &rows), 0);
	ck_assert_uint_eq(rows.count, 6);
	free(folds.places);
}
END_TEST

static bool is_slot(struct process *of, const struct reader_context *context, void *data)
{
	(void)of;
	return context->slot == *(uint32_t *)data;
}

START_TEST(a_filtered_tree_has_the_ancestors_of_what_is_left)
{
	struct top_folds folds = {0};
	uint32_t slot = 3;
	struct top_filter filter = {is_slot, &slot};

	make_tree();
	ck_assert_int_eq(top_tree(&survey, &filter, &folds, &rows), 0);
	expect_rows((uint32_t[]){0, 1, 3}, 3);
	/* What the filter takes away is not counted. */
	ck_assert_int_eq(top_fold(&folds, top_place_of(&process, &contexts[0])), 0);
	ck_assert_int_eq(top_tree(&survey, &filter, &folds, &rows), 0);
	expect_rows((uint32_t[]){0}, 1);
	ck_assert_uint_eq(rows.rows[0].hidden, 2);
	ck_assert_uint_eq(rows.rows[0].operations, 5);
	ck_assert_int_eq(top_list(&survey, &filter, &rows), 0);
	expect_rows((uint32_t[]){3}, 1);
	ck_assert_uint_eq(top_find_context(&rows, top_place_of(&process, &contexts[3])), 0);
	ck_assert_uint_eq(top_find_context(&rows, top_place_of(&process, &contexts[1])), SIZE_MAX);
	free(folds.places);
}
END_TEST

static void free_rows(void)
{
	free(rows.rows);
	rows = (struct top_rows){0};
}

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("top_rows");
	TCase *sorting = test_case(suite, "rows");

	tcase_add_checked_fixture(sorting, NULL, free_rows);
	tcase_add_test(sorting, rows_are_sorted_by_the_column_and_then_by_what_keeps_them_in_place);
	tcase_add_test(sorting, reversing_moves_no_rows_that_are_equal);
	tcase_add_test(sorting, a_page_is_what_a_sort_of_all_rows_has_there);
	tcase_add_test(sorting, a_folded_row_has_the_sums_of_what_it_hides);
	tcase_add_test(sorting, a_filtered_tree_has_the_ancestors_of_what_is_left);
	return suite;
}
