/* SPDX-License-Identifier: MIT */
/*
 * Goal: ctxtool top sorts as its header says, and reversing an order does not move rows that are equal in it.
 * Method: the file that sorts is a part of this program, and gets rows made by hand.
 */
#include "support/harness.h"

#include "../tools/top_sort.c"

TEST_ALONE("holds tools/top_sort.c");

#define ROWS 6

static struct process process = {.pid = 7};
static struct reader_context contexts[ROWS];
static struct top_row rows[ROWS];

/* Of tools/common/format.c: top_collect() needs it. */
uint64_t age_ns(const struct process *of, uint64_t since_ns)
{
	return of->now_ns - since_ns;
}

/* Context I has slot I, is the I-th oldest, and has no operation, no label and no deadline. */
static void make_rows(void)
{
	for (uint32_t i = 0; i < ROWS; i++) {
		contexts[i] = (struct reader_context){.slot = i,
						      .record = {.state = CTX_TABLE_LIVE,
								 .created_ns = 100 + i,
								 .deadline_ns = UINT64_MAX}};
		rows[i] = (struct top_row){.process = &process, .context = &contexts[i]};
	}
}

static void expect_order(enum top_order order, bool reverse, const uint32_t slots[ROWS])
{
	top_sort(rows, ROWS, order, reverse);
	for (size_t i = 0; i < ROWS; i++)
		ck_assert_msg(rows[i].context->slot == slots[i], "by %s%s: row %zu is slot %u instead of %u",
			      top_order_name(order), reverse ? ", reversed" : "", i, rows[i].context->slot,
			      slots[i]);
}

START_TEST(rows_are_sorted_by_the_order_and_then_by_what_keeps_them_in_place)
{
	make_rows();
	contexts[3].operation_count = 9;
	contexts[1].operation_count = contexts[4].operation_count = 2;
	rows[4].waiting_ns = 50;
	contexts[0].record.state = 1; /* done */
	expect_order(TOP_BY_OPERATIONS, false, (uint32_t[]){3, 4, 1, 2, 5, 0});
	expect_order(TOP_BY_AGE, false, (uint32_t[]){0, 1, 2, 3, 4, 5});
	contexts[5].record.deadline_ns = 1000;
	contexts[0].record.deadline_ns = 10; /* which counts no more */
	expect_order(TOP_BY_TIME_LEFT, false, (uint32_t[]){5, 1, 2, 3, 4, 0});
	contexts[2].record.label[0] = 'a';
	expect_order(TOP_BY_LABEL, false, (uint32_t[]){1, 3, 4, 5, 0, 2});
}
END_TEST

START_TEST(reversing_moves_no_rows_that_are_equal)
{
	make_rows();
	contexts[3].operation_count = 9;
	contexts[1].operation_count = contexts[4].operation_count = 2;
	rows[4].waiting_ns = 50;
	contexts[0].record.state = 1;
	contexts[5].record.deadline_ns = 1000;
	contexts[2].record.label[0] = 'a';
	expect_order(TOP_BY_OPERATIONS, true, (uint32_t[]){2, 5, 0, 4, 1, 3});
	expect_order(TOP_BY_AGE, true, (uint32_t[]){5, 4, 3, 2, 1, 0});
	expect_order(TOP_BY_TIME_LEFT, true, (uint32_t[]){1, 2, 3, 4, 0, 5});
	expect_order(TOP_BY_LABEL, true, (uint32_t[]){2, 1, 3, 4, 5, 0});
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("top");
	TCase *sorting = test_case(suite, "sorting");

	tcase_add_test(sorting, rows_are_sorted_by_the_order_and_then_by_what_keeps_them_in_place);
	tcase_add_test(sorting, reversing_moves_no_rows_that_are_equal);
	return suite;
}
