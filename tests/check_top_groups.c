/* SPDX-License-Identifier: MIT */
/*
 * Goal: ctxtool top sums up contexts by process, label and user, makes rates of two readings, and takes ages
 * of the last minute before those of all time. Method: its files are a part of this program, and get
 * processes and readings made by hand.
 */
#include "support/harness.h"

#include "../tools/read/read_counters.c"
#include "../tools/top/groups.c"
#include "../tools/top/rates.c"

TEST_HOLDS("files of tools/top/ and tools/read/");

#define SECOND 1000000000ull

static struct reader_context contexts[] = {
	{.first_operation = 0, .operation_count = 2, .record = {.state = CTX_TABLE_LIVE}},
	{.first_operation = READER_NONE, .record = {.state = 1}},
	{.first_operation = 2, .operation_count = 1, .record = {.state = CTX_TABLE_LIVE}},
};
static struct reader_operation operations[] = {
	{.next = 1, .record = {.since_ns = 500}},
	{.next = READER_NONE, .record = {.since_ns = 700, .flags = CTX_TABLE_OP_STUCK}},
	{.next = READER_NONE, .record = {.since_ns = 9500}},
};
/* The second one has a clock of its own: its operation is the younger one. */
static struct process processes[] = {
	{.pid = 1, .uid = 10, .inode = 101, .now_ns = 1000},
	{.pid = 2, .uid = 20, .inode = 102, .now_ns = 9600},
};
static struct survey survey = {.processes = processes, .process_count = 2};
static struct top_groups groups;
static struct top_rates rates;

static void begin(enum top_group_by by)
{
	for (int i = 0; i < 2; i++)
		processes[i].snapshot.operations = operations;
	ck_assert_int_eq(top_groups_begin(&groups, &survey, by), 0);
	ck_assert_int_eq(top_groups_add(&groups, by, &processes[0], &contexts[0], "GET *", &operations[0]),
			 0);
	ck_assert_int_eq(top_groups_add(&groups, by, &processes[0], &contexts[1], "GET *", NULL), 0);
	ck_assert_int_eq(top_groups_add(&groups, by, &processes[1], &contexts[2], "GET *", &operations[2]),
			 0);
}

static void expect_group(const char *name, uint64_t live, uint64_t of_operations, uint64_t stuck,
			 uint64_t waiting_ns)
{
	const struct top_group *group = find_group(&groups, name);

	ck_assert_ptr_nonnull(group);
	ck_assert_uint_eq(group->live, live);
	ck_assert_uint_eq(group->operations, of_operations);
	ck_assert_uint_eq(group->stuck, stuck);
	ck_assert_uint_eq(group->waiting_ns, waiting_ns);
}

START_TEST(contexts_are_summed_up_by_process_label_and_user)
{
	begin(TOP_BY_PROCESS);
	ck_assert_uint_eq(groups.count, 2);
	expect_group("101", 1, 2, 1, 500);
	expect_group("102", 1, 1, 0, 100);
	begin(TOP_BY_LABEL);
	ck_assert_uint_eq(groups.count, 1);
	expect_group("GET *", 2, 3, 1, 500);
	ck_assert_ptr_eq(groups.groups[0].oldest_process, &processes[0]);
	begin(TOP_BY_USER);
	ck_assert_uint_eq(groups.count, 2);
	expect_group("10", 1, 2, 1, 500);
	expect_group("20", 1, 1, 0, 100);
}
END_TEST

START_TEST(thousands_of_labels_each_have_a_group)
{
	char name[32];

	ck_assert_int_eq(top_groups_begin(&groups, &survey, TOP_BY_LABEL), 0);
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < 3000; i++) {
			snprintf(name, sizeof(name), "label %d", i);
			ck_assert_int_eq(top_groups_add(&groups, TOP_BY_LABEL, &processes[0], &contexts[1],
							name, NULL),
					 0);
		}
	ck_assert_uint_eq(groups.count, 3000);
	ck_assert_str_eq(find_group(&groups, "label 2999")->name, "label 2999");
	ck_assert_ptr_null(find_group(&groups, "label 3000"));
}
END_TEST

/* Reads at that second what a process has counted; bucket is where all ended have their age. */
static void take(uint64_t second, uint64_t table, uint64_t begun, uint64_t ended, uint64_t expired,
		 unsigned bucket)
{
	struct top_total total = {.table = table,
				  .uid = 10,
				  .stem = "GET *",
				  .table_created_ns = SECOND,
				  .begun = begun,
				  .ended = ended,
				  .expired = expired,
				  .cancelled = ended - expired};

	if (rates.count && rates.series[0].total.table == table)
		memcpy(total.ages, rates.series[0].total.ages, sizeof(total.ages));
	total.ages[bucket] += ended - (rates.count ? rates.series[0].total.ended : 0);
	ck_assert_int_eq(top_rates_take(&rates, &total, 1, second * SECOND), 0);
}

START_TEST(two_readings_make_a_rate)
{
	take(10, 101, 100, 50, 10, 20);
	ck_assert(!rates.series[0].has_rates);
	take(12, 101, 300, 60, 11, 20);
	ck_assert(rates.series[0].has_rates);
	ck_assert_double_eq_tol(rates.series[0].begun, 100, 1e-9);
	ck_assert_double_eq_tol(rates.series[0].ended, 5, 1e-9);
	ck_assert_double_eq_tol(rates.series[0].expired, 0.5, 1e-9);
	ck_assert_double_eq_tol(rates.series[0].cancelled, 4.5, 1e-9);
	/* A table that counts backwards, and another that was not there, but is older than the last reading.
	 */
	take(13, 101, 0, 60, 11, 20);
	ck_assert_double_eq_tol(rates.series[0].begun, 0, 1e-9);
	take(14, 102, 1000, 60, 11, 20);
	ck_assert(!rates.series[0].has_rates);
}
END_TEST

START_TEST(what_began_since_the_last_reading_has_a_rate_at_once)
{
	struct top_total total = {.table = 5, .stem = "a", .table_created_ns = 11 * SECOND, .begun = 8};

	ck_assert_int_eq(top_rates_take(&rates, NULL, 0, 10 * SECOND), 0);
	ck_assert_int_eq(top_rates_take(&rates, &total, 1, 12 * SECOND), 0);
	ck_assert(rates.series[0].has_rates);
	ck_assert_double_eq_tol(rates.series[0].begun, 4, 1e-9);
}
END_TEST

static uint64_t p50_of_group(void)
{
	ck_assert_int_eq(top_groups_begin(&groups, &survey, TOP_BY_LABEL), 0);
	ck_assert_int_eq(top_groups_add_rates(&groups, TOP_BY_LABEL, &rates, true), 0);
	ck_assert_uint_eq(groups.count, 1);
	return groups.groups[0].p50_ns;
}

static bool is_in_bucket(uint64_t time_ns, unsigned bucket)
{
	return time_ns >= histogram_bound(bucket - 1) && time_ns <= histogram_bound(bucket);
}

START_TEST(ages_are_those_of_the_last_minute_or_of_all_time)
{
	take(10, 101, 1000, 1000, 0, 30);
	ck_assert(is_in_bucket(p50_of_group(), 30));
	take(11, 101, 1010, 1010, 0, 20);
	ck_assert(is_in_bucket(p50_of_group(), 20));
	take(50, 101, 1010, 1010, 0, 20);
	ck_assert(is_in_bucket(p50_of_group(), 20));
	/* More than a minute later nothing is recent. */
	take(80, 101, 1010, 1010, 0, 20);
	ck_assert(is_in_bucket(p50_of_group(), 30));
	take(100000, 101, 1011, 1011, 0, 10);
	ck_assert(is_in_bucket(p50_of_group(), 10));
}
END_TEST

START_TEST(a_filter_makes_no_groups_of_what_has_no_context)
{
	take(10, 101, 1, 0, 0, 0);
	ck_assert_int_eq(top_groups_begin(&groups, &survey, TOP_BY_LABEL), 0);
	ck_assert_int_eq(top_groups_add_rates(&groups, TOP_BY_LABEL, &rates, false), 0);
	ck_assert_uint_eq(groups.count, 0);
	begin(TOP_BY_PROCESS);
	ck_assert_int_eq(top_groups_add_rates(&groups, TOP_BY_PROCESS, &rates, true), 0);
	ck_assert(find_group(&groups, "101")->is_counted);
	ck_assert(!find_group(&groups, "102")->is_counted);
}
END_TEST

START_TEST(a_label_without_a_stem_is_cut_at_what_counts)
{
	char stem[CTX_TABLE_LABEL_SIZE];

	top_stem_of("accept", stem);
	ck_assert_str_eq(stem, "accept");
	top_stem_of("GET /a", stem);
	ck_assert_str_eq(stem, "GET *");
	top_stem_of("conn17", stem);
	ck_assert_str_eq(stem, "conn*");
	top_stem_of("a-label-as-long-as-labels-can-be", stem);
	ck_assert_uint_lt(strlen(stem), sizeof(stem));
}
END_TEST

static void free_all(void)
{
	top_groups_free(&groups);
	top_rates_free(&rates);
}

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("top_groups");
	TCase *sums = test_case(suite, "sums");

	tcase_add_checked_fixture(sums, NULL, free_all);
	tcase_add_test(sums, contexts_are_summed_up_by_process_label_and_user);
	tcase_add_test(sums, thousands_of_labels_each_have_a_group);
	tcase_add_test(sums, two_readings_make_a_rate);
	tcase_add_test(sums, what_began_since_the_last_reading_has_a_rate_at_once);
	tcase_add_test(sums, ages_are_those_of_the_last_minute_or_of_all_time);
	tcase_add_test(sums, a_filter_makes_no_groups_of_what_has_no_context);
	tcase_add_test(sums, a_label_without_a_stem_is_cut_at_what_counts);
	return suite;
}
