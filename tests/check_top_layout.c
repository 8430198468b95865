/* SPDX-License-Identifier: MIT */
/*
 * Goal: at each width ctxtool top has columns that fit, leaves out the least important ones first and never
 * the operation; its bars, panes, short numbers and themes are as their headers say. Method: its files are a
 * part of this program.
 */
#include "support/harness.h"

#include "../tools/text/terminal.c"
#include "../tools/top/layout.c"
#include "../tools/top/pane.c"
#include "../tools/top/short.c"
#include "../tools/top/spark.c"
#include "../tools/top/theme.c"

TEST_HOLDS("files of tools/top/ and tools/text/");

/* What columns need where processes have numbers of seven digits. */
static const unsigned needed[TOP_COLUMNS] = {
	[TOP_ID] = 16,	      [TOP_PID] = 7,  [TOP_PROCESS] = 15, [TOP_LABEL_STEM] = 20, [TOP_USER] = 8,
	[TOP_STATE] = 9,      [TOP_AGE] = 6,  [TOP_LEFT] = 6,	  [TOP_LIVE] = 6,	 [TOP_OPS] = 6,
	[TOP_STUCK] = 5,      [TOP_WAIT] = 6, [TOP_BEGUN] = 8,	  [TOP_ENDED] = 8,	 [TOP_CANCELLED] = 7,
	[TOP_EXPIRED] = 6,    [TOP_P50] = 6,  [TOP_P99] = 6,	  [TOP_LABEL] = 31,	 [TOP_TREE] = 40,
	[TOP_OPERATION] = 60,
};

static const struct top_slot *slot_of(const struct top_layout *layout, enum top_column column)
{
	for (size_t i = 0; i < layout->count; i++)
		if (layout->slots[i].column == column)
			return &layout->slots[i];
	return NULL;
}

START_TEST(columns_fit_the_line_and_do_not_overlap)
{
	for (int tab = 0; tab <= TOP_TREES; tab++) {
		size_t before = 0;

		for (unsigned width = 40; width <= 260; width++) {
			struct top_layout layout;
			unsigned x = 0;

			top_lay_out((enum top_tab)tab, width, needed, &layout);
			for (size_t i = 0; i < layout.count; i++) {
				ck_assert_uint_eq(layout.slots[i].x, x);
				ck_assert_uint_gt(layout.slots[i].width, 0);
				x += layout.slots[i].width + 1;
			}
			ck_assert_msg(x - 1 <= width, "tab %d: %u columns at %u", tab, x - 1, width);
			/* A wider line has no fewer columns. */
			ck_assert_uint_ge(layout.count, before);
			before = layout.count;
		}
	}
}
END_TEST

START_TEST(the_operation_shows_at_each_width)
{
	struct top_layout layout;

	for (unsigned width = 40; width <= 260; width++) {
		top_lay_out(TOP_CONTEXTS, width, needed, &layout);
		ck_assert_ptr_nonnull(slot_of(&layout, TOP_OPS));
		ck_assert_ptr_nonnull(slot_of(&layout, TOP_LABEL));
		ck_assert_ptr_nonnull(slot_of(&layout, TOP_OPERATION));
		ck_assert_uint_ge(slot_of(&layout, TOP_OPERATION)->width, width < 45 ? 20 : 25);
		top_lay_out(TOP_TREES, width, needed, &layout);
		ck_assert_ptr_nonnull(slot_of(&layout, TOP_OPERATION));
	}
}
END_TEST

START_TEST(the_least_important_columns_are_left_out_first)
{
	static const enum top_column order[] = {TOP_ID,	  TOP_WAIT,    TOP_STATE, TOP_AGE,
						TOP_LEFT, TOP_PROCESS, TOP_USER};
	struct top_layout layout;

	for (unsigned width = 40; width <= 260; width++) {
		bool was_left_out = false;

		top_lay_out(TOP_CONTEXTS, width, needed, &layout);
		for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
			bool is_there = slot_of(&layout, order[i]) != NULL;

			ck_assert(!is_there || !was_left_out);
			was_left_out |= !is_there;
		}
		/* An id is not cut: with a part of it nothing can be done. */
		if (slot_of(&layout, TOP_ID))
			ck_assert_uint_eq(slot_of(&layout, TOP_ID)->width, 16);
	}
	ck_assert_uint_eq(layout.count, 10);
	ck_assert_uint_eq(slot_of(&layout, TOP_LABEL)->width, 31);
}
END_TEST

START_TEST(sorting_goes_round_the_columns_that_can_be_sorted_by)
{
	for (int tab = 0; tab < TOP_TABS; tab++) {
		enum top_column first = top_first_order((enum top_tab)tab), at = first;
		size_t count, turns = 0;

		top_columns_of((enum top_tab)tab, &count);
		do {
			at = top_next_order((enum top_tab)tab, at);
			ck_assert(top_column_spec(at)->sortable);
			turns++;
		} while (at != first);
		ck_assert_uint_eq(turns, count - 1);
	}
}
END_TEST

START_TEST(bars_stand_for_equally_many_seconds)
{
	struct top_spark spark = {0};
	char text[TOP_SPARK_SIZE];

	ck_assert_uint_eq(top_spark_bars(200), 60);
	ck_assert_uint_eq(top_spark_bars(59), 30);
	ck_assert_uint_eq(top_spark_bars(23), 20);
	ck_assert_uint_eq(top_spark_bars(1), 1);
	ck_assert_uint_eq(top_spark_bars(0), 0);
	ck_assert_str_eq(top_spark_text(&spark, 4, false, text), "    ");
	for (uint64_t second = 100; second < 115; second++)
		top_spark_add(&spark, second * 1000000000u, second == 107 ? 8 : 0);
	ck_assert_str_eq(top_spark_text(&spark, 4, false, text), "   #");
	ck_assert_str_eq(top_spark_text(&spark, 60, false, text),
			 "                                             _______#_______");
	ck_assert_str_eq(top_spark_text(&spark, 4, true, text), "   █");
	/* A gap, and then a value that is small beside the greatest. */
	top_spark_add(&spark, 119 * 1000000000ull, 1);
	ck_assert_str_eq(top_spark_text(&spark, 12, false, text), "        _#_:");
	top_spark_add(&spark, 100000 * 1000000000ull, 0);
	ck_assert_str_eq(top_spark_text(&spark, 6, false, text), "______");
}
END_TEST

START_TEST(a_pane_folds_long_lines_and_scrolls_to_its_ends)
{
	struct top_pane pane = {0};
	struct top_pane_row rows[3];

	ck_assert_int_eq(top_pane_add(&pane, TOP_PLAIN, "one\n\ntwo three four five six seven\n"), 0);
	ck_assert_uint_eq(pane.count, 3);
	ck_assert_uint_eq(top_pane_rows(&pane, 80), 3);
	ck_assert_uint_eq(top_pane_rows(&pane, 20), 4);
	top_pane_get(&pane, 20, rows, 3);
	ck_assert_uint_eq(rows[1].bytes, 0);
	ck_assert_uint_eq(rows[2].bytes, strlen("two three four five "));
	top_pane_scroll(&pane, 20, 3, 100);
	ck_assert_uint_eq(pane.first, 1);
	top_pane_get(&pane, 20, rows, 3);
	ck_assert_int_eq(strncmp(rows[2].text, "six seven", rows[2].bytes), 0);
	top_pane_scroll(&pane, 20, 3, -100);
	ck_assert_uint_eq(pane.first, 0);
	/* Characters are not cut in two, and a width of one makes progress. */
	top_pane_clear(&pane);
	ck_assert_int_eq(top_pane_add(&pane, TOP_PLAIN, "ääää"), 0);
	top_pane_get(&pane, 3, rows, 3);
	ck_assert_uint_eq(rows[0].bytes, 6);
	ck_assert_uint_eq(rows[1].bytes, 2);
	ck_assert_ptr_null(rows[2].text);
	ck_assert_uint_eq(top_pane_rows(&pane, 1), 4);
	top_pane_free(&pane);
}
END_TEST

static void expect_time(uint64_t time_ns, const char *expected)
{
	char text[16];

	ck_assert_str_eq(top_time_text(time_ns, text), expected);
	ck_assert_uint_le(strlen(text), 6);
}

static void expect_rate(double rate, const char *expected)
{
	char text[16];

	ck_assert_str_eq(top_rate_text(rate, text), expected);
	ck_assert_uint_le(strlen(text), 5);
}

START_TEST(times_and_rates_are_short)
{
	expect_time(999, "999ns");
	expect_time(850000, "850us");
	expect_time(12000000, "12ms");
	expect_time(1250000000, "1.25s");
	expect_time(9999999999, "9.99s");
	expect_time(59990000000, "59.9s");
	expect_time(60000000000, "1m00s");
	expect_time(36000000000000, "10h00m");
	expect_rate(0, "0");
	expect_rate(0.001, "0.01");
	expect_rate(0.5, "0.5");
	expect_rate(99.9, "99.9");
	expect_rate(99.97, "100");
	expect_rate(9999.4, "9999");
	expect_rate(12345, "12k");
	expect_rate(1234567, "1.2M");
	expect_rate(1e12, ">999M");
}
END_TEST

START_TEST(the_theme_is_guessed_by_the_background)
{
	enum top_theme theme;

	ck_assert_int_eq(top_theme_guess(NULL, NULL), TOP_DARK);
	ck_assert_int_eq(top_theme_guess("", "15;0"), TOP_DARK);
	ck_assert_int_eq(top_theme_guess(NULL, "0;15"), TOP_LIGHT);
	ck_assert_int_eq(top_theme_guess(NULL, "0;default;7"), TOP_LIGHT);
	ck_assert_int_eq(top_theme_guess(NULL, "0;default"), TOP_DARK);
	ck_assert_int_eq(top_theme_guess(NULL, "15;8"), TOP_DARK);
	ck_assert_int_eq(top_theme_guess("1", "0;15"), TOP_MONO);
	ck_assert_int_eq(top_theme_parse("light", &theme), 0);
	ck_assert_int_eq(theme, TOP_LIGHT);
	ck_assert_int_eq(top_theme_parse("pink", &theme), -EINVAL);
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("top_layout");
	TCase *layout = test_case(suite, "layout");

	tcase_add_test(layout, columns_fit_the_line_and_do_not_overlap);
	tcase_add_test(layout, the_operation_shows_at_each_width);
	tcase_add_test(layout, the_least_important_columns_are_left_out_first);
	tcase_add_test(layout, sorting_goes_round_the_columns_that_can_be_sorted_by);
	tcase_add_test(layout, bars_stand_for_equally_many_seconds);
	tcase_add_test(layout, a_pane_folds_long_lines_and_scrolls_to_its_ends);
	tcase_add_test(layout, times_and_rates_are_short);
	tcase_add_test(layout, the_theme_is_guessed_by_the_background);
	return suite;
}
