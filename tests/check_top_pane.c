/* SPDX-License-Identifier: MIT */
/* The pane of ctxtool top: what of a long text it keeps, and what it says of the rest. */
#include "support/harness.h"

#include <stdlib.h>

#include "../tools/top/pane.c"

TEST_ALONE("holds tools/top/pane.c");

/* Returns count lines. The caller frees them. */
static char *make_lines(size_t count)
{
	char *text = malloc(2 * count + 1);

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < count; i++)
		memcpy(text + 2 * i, "x\n", 2);
	text[2 * count] = '\0';
	return text;
}

static void check_last_line(size_t count, const char *last)
{
	struct top_pane pane = {0};
	char *text = make_lines(count);

	ck_assert_int_eq(top_pane_add(&pane, TOP_PLAIN, text), 0);
	ck_assert_str_eq(pane.lines[pane.count - 1].text, last);
	top_pane_free(&pane);
	free(text);
}

START_TEST(the_last_line_says_what_is_left_out)
{
	check_last_line(TOP_PANE_LINES - 1, "x");
	check_last_line(TOP_PANE_LINES, "  and 1 more line: ctxtool show prints all");
	check_last_line(TOP_PANE_LINES + 1234, "  and 1235 more lines: ctxtool show prints all");
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("top_pane");
	TCase *tests = test_case(suite, "pane");

	tcase_add_test(tests, the_last_line_says_what_is_left_out);
	return suite;
}
