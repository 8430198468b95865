/* SPDX-License-Identifier: MIT */
/* The reader of counters, fed with tables made by hand, good and hostile. Built as a part of this program, so
 * that the sanitizers see it. */
#include "support/harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "support/table_writer.h"

#include "../tools/read/read_counters.c"
#include "../tools/read/reader.c"

TEST_HOLDS("tools/read/reader.c and read_counters.c");

#define STEMS 6
#define RECORDS 8

/* The sample with room for counters, and nothing in it. */
static struct made_table sample(void)
{
	size_t size = made_table_size(MADE_SAMPLE_CONTEXTS, MADE_SAMPLE_OPERATIONS, MADE_SAMPLE_CAUSES,
				      MADE_SAMPLE_RINGS) +
		      made_table_counters_size(STEMS, RECORDS);
	void *bytes = aligned_alloc(8, size);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 0, size);
	struct made_table table = made_table_sample(bytes, 42, 1000);
	made_table_add_counters(&table, STEMS, RECORDS);
	ck_assert_uint_eq(table.size, size);
	return table;
}

static void read_well(const struct made_table *table, struct snapshot *snapshot)
{
	char reason[READER_REASON_SIZE] = "";
	int result = snapshot_read(table->bytes, table->size, UINT64_MAX, snapshot, reason);

	ck_assert_msg(result == 0, "refused: %s", reason);
}

START_TEST(adds_up_the_records_of_a_stem)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	strcpy(made_table_stem(&table, 2)->text, "/slow");
	strcpy(made_table_stem(&table, 3)->text, "conn *");
	*made_table_counters(&table, 1) = (struct ctx_table_counters){.stem = 1, .begun = 1};
	*made_table_counters(&table, 2) = (struct ctx_table_counters){.stem = 2,
								      .begun = 5,
								      .released = 1,
								      .ended[CTX_CAUSE_CALL] = 2,
								      .operations_begun = 9,
								      .operations_finished = 8,
								      .operations_cancelled = 7,
								      .ages[0] = 3,
								      .cancels[71] = 2};
	*made_table_counters(&table, 4) = (struct ctx_table_counters){.stem = 2,
								      .begun = 10,
								      .ended[CTX_CAUSE_CALL] = 1,
								      .ended[CTX_CAUSE_DEADLINE] = 4,
								      .ages[0] = 1};
	*made_table_counters(&table, 5) = (struct ctx_table_counters){.stem = 0, .begun = 7};
	read_well(&table, &snapshot);
	const struct counters *counters = &snapshot.counters;
	ck_assert(counters->present);
	ck_assert_uint_eq(counters->count, 3); /* not the stem without counts */
	ck_assert_ptr_null(counters_find(counters, "conn *"));
	const struct stem_counters *slow = counters_find(counters, "/slow");
	ck_assert_ptr_nonnull(slow);
	ck_assert_uint_eq(slow->begun, 15);
	ck_assert_uint_eq(slow->released, 1);
	ck_assert_uint_eq(slow->ended[CTX_CAUSE_CALL], 3);
	ck_assert_uint_eq(slow->ended[CTX_CAUSE_DEADLINE], 4);
	ck_assert_uint_eq(stem_counters_ended(slow), 7);
	ck_assert_uint_eq(slow->operations_begun, 9);
	ck_assert_uint_eq(slow->operations_finished, 8);
	ck_assert_uint_eq(slow->operations_cancelled, 7);
	ck_assert_uint_eq(slow->ages[0], 4);
	ck_assert_uint_eq(slow->cancels[71], 2);
	ck_assert_uint_eq(counters_find(counters, "")->begun, 7);
	ck_assert_uint_eq(counters_find(counters, "other")->begun, 1);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

START_TEST(says_where_nothing_is_counted)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	read_well(&table, &snapshot);
	ck_assert(snapshot.counters.present);
	ck_assert_uint_eq(snapshot.counters.count, 0);
	snapshot_free(&snapshot);
	made_table_header(&table)->header_size = offsetof(struct ctx_table_header, stems);
	read_well(&table, &snapshot);
	ck_assert(!snapshot.counters.present);
	ck_assert_uint_eq(snapshot.counters.count, 0);
	ck_assert_ptr_null(counters_find(&snapshot.counters, ""));
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* Texts without an end, two stems alike, stems that do not exist, sums that do not fit. */
START_TEST(believes_nothing)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	memset(made_table_stem(&table, 2)->text, 'x', CTX_TABLE_LABEL_SIZE);
	memset(made_table_stem(&table, 3)->text, 'x', CTX_TABLE_LABEL_SIZE);
	strcpy(made_table_stem(&table, 0)->text, "of none");
	for (uint32_t slot = 1; slot < RECORDS; slot++)
		made_table_counters(&table, slot)->begun = UINT64_MAX - 1;
	made_table_counters(&table, 1)->stem = 2;
	made_table_counters(&table, 2)->stem = 3;
	made_table_counters(&table, 3)->stem = STEMS;
	made_table_counters(&table, 4)->stem = UINT32_MAX;
	for (unsigned i = 0; i < CTX_TABLE_CAUSES; i++)
		made_table_counters(&table, 5)->ended[i] = UINT64_MAX;
	for (unsigned i = 0; i < CTX_TABLE_BUCKETS; i++)
		made_table_counters(&table, 5)->ages[i] = UINT64_MAX;
	read_well(&table, &snapshot);
	ck_assert_uint_eq(snapshot.counters.count, 2);
	const struct stem_counters *none = counters_find(&snapshot.counters, "");
	ck_assert_uint_eq(none->begun, UINT64_MAX);
	ck_assert_uint_eq(stem_counters_ended(none), UINT64_MAX);
	ck_assert_uint_eq(histogram_count(none->ages), UINT64_MAX);
	ck_assert_uint_gt(histogram_percentile(none->ages, 1), 0);
	ck_assert_uint_eq(strlen(snapshot.counters.stems[1].stem), CTX_TABLE_LABEL_SIZE - 1);
	ck_assert_uint_eq(snapshot.counters.stems[1].begun, UINT64_MAX);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* An area of counters or of stems that is not where it could be. Each change makes the table a broken one. */
START_TEST(refuses_areas_that_lie)
{
	static const struct {
		uint64_t offset;
		uint32_t record_size, count;
	} lies[] = {
		{0, 0, 0}, /* the field stays as it is */
		{8, 0, 0},     {UINT64_MAX - 7, 0, 0}, {(uint64_t)1 << 40, 0, 0}, {0, 8, 0},
		{0, 65544, 0}, {0, 1345, 0},	       {0, 0, UINT32_MAX},
	};

	for (unsigned i = 0; i < 2 * sizeof(lies) / sizeof(*lies); i++) {
		struct made_table table = sample();
		struct ctx_table_area *area =
			i % 2 ? &made_table_header(&table)->stems : &made_table_header(&table)->counters;
		char reason[READER_REASON_SIZE] = "";
		struct snapshot snapshot;

		area->offset = lies[i / 2].offset ? lies[i / 2].offset : area->offset;
		area->record_size = lies[i / 2].record_size ? lies[i / 2].record_size : area->record_size;
		area->count = lies[i / 2].count ? lies[i / 2].count : area->count;
		int result = snapshot_read(table.bytes, table.size, UINT64_MAX, &snapshot, reason);
		ck_assert_msg(i < 2 ? result == 0 : result < 0, "lie %u", i / 2);
		ck_assert_msg(result == 0 || reason[0], "lie %u: refused without a reason", i / 2);
		if (!result)
			snapshot_free(&snapshot);
		free(table.bytes);
	}
}
END_TEST

/* More records in use than there are, and more stems than a table may have. */
START_TEST(stays_within_the_areas)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	made_table_header(&table)->counters.used = UINT32_MAX;
	made_table_header(&table)->stems.used = UINT32_MAX;
	*made_table_counters(&table, RECORDS - 1) =
		(struct ctx_table_counters){.stem = STEMS - 1, .begun = 3};
	read_well(&table, &snapshot);
	ck_assert_uint_eq(snapshot.counters.count, 1);
	ck_assert_uint_eq(snapshot.counters.stems[0].begun, 3);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

START_TEST(takes_away_what_was_counted_before)
{
	struct stem_counters now = {.begun = 9, .ended[3] = 4, .ages[5] = 2, .operations_begun = 1};
	struct stem_counters before = {.begun = 4, .ended[3] = 4, .ages[5] = 1, .operations_begun = 2};

	stem_counters_subtract(&now, &before);
	ck_assert_uint_eq(now.begun, 5);
	ck_assert_uint_eq(now.ended[3], 0);
	ck_assert_uint_eq(now.ages[5], 1);
	ck_assert_uint_eq(now.operations_begun, 0);
}
END_TEST

START_TEST(bounds_are_two_for_each_power_of_two)
{
	ck_assert_uint_eq(histogram_bound(0), 1024);
	ck_assert_uint_eq(histogram_bound(1), 1536);
	ck_assert_uint_eq(histogram_bound(2), 2048);
	ck_assert_uint_eq(histogram_bound(3), 3072);
	ck_assert_uint_eq(histogram_bound(70), UINT64_C(1) << 45);
	ck_assert_uint_eq(histogram_bound(71), UINT64_MAX);
	ck_assert_uint_eq(histogram_bound(1000), UINT64_MAX);
	for (unsigned i = 1; i < CTX_TABLE_BUCKETS; i++)
		ck_assert_uint_gt(histogram_bound(i), histogram_bound(i - 1));
}
END_TEST

START_TEST(percentiles_lie_in_their_bucket)
{
	uint64_t buckets[CTX_TABLE_BUCKETS] = {0};

	ck_assert_uint_eq(histogram_percentile(buckets, 0.5), 0);
	buckets[10] = 98; /* from 24,576 to 32,768 ns */
	buckets[30] = 2;
	ck_assert_uint_eq(histogram_percentile(buckets, 0.49), 28672);
	ck_assert_uint_ge(histogram_percentile(buckets, 0.99), histogram_bound(29));
	ck_assert_uint_le(histogram_percentile(buckets, 0.99), histogram_bound(30));
	ck_assert_uint_eq(histogram_percentile(buckets, 1), histogram_bound(30));
	ck_assert_uint_eq(histogram_percentile(buckets, 0), histogram_bound(9));
	memset(buckets, 0, sizeof(buckets));
	buckets[71] = 1;
	ck_assert_uint_eq(histogram_percentile(buckets, 0.5), histogram_bound(70));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("reader_counters");
	TCase *counters = test_case(suite, "counters");

	tcase_add_test(counters, adds_up_the_records_of_a_stem);
	tcase_add_test(counters, says_where_nothing_is_counted);
	tcase_add_test(counters, believes_nothing);
	tcase_add_test(counters, refuses_areas_that_lie);
	tcase_add_test(counters, stays_within_the_areas);
	tcase_add_test(counters, takes_away_what_was_counted_before);
	TCase *histogram = test_case(suite, "histogram");
	tcase_add_test(histogram, bounds_are_two_for_each_power_of_two);
	tcase_add_test(histogram, percentiles_lie_in_their_bucket);
	return suite;
}
