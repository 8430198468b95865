/* SPDX-License-Identifier: MIT */
/*
 * The reader of context tables, fed with good tables, broken ones, and ones that
 * change under its hands. Built as a part of this program, so that the sanitizers see it.
 */
#include "support/harness.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/table_writer.h"

#include "../tools/read/read_counters.c"
#include "../tools/read/reader.c"

TEST_HOLDS("tools/read/reader.c and read_counters.c");

#define NOW_NS 1000000000u
#define SAMPLE_STEMS 4
#define SAMPLE_COUNTERS 3

/* Memory without slack behind it, so that a read past the end is seen. */
static void *exact_copy(const void *bytes, size_t size)
{
	/* The reader asks for alignment to 8. */
	void *copy = aligned_alloc(8, (size + 7) & ~(size_t)7);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, size);
	return copy;
}

static struct made_table sample(void)
{
	size_t size = made_table_size(MADE_SAMPLE_CONTEXTS, MADE_SAMPLE_OPERATIONS, MADE_SAMPLE_CAUSES,
				      MADE_SAMPLE_RINGS) +
		      made_table_counters_size(SAMPLE_STEMS, SAMPLE_COUNTERS);
	void *bytes = aligned_alloc(8, size);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 0, size);
	struct made_table table = made_table_sample(bytes, 42, NOW_NS);
	made_table_add_counters(&table, SAMPLE_STEMS, SAMPLE_COUNTERS);
	made_table_counters(&table, 2)->begun = 1;
	return table;
}

static void read_well(const struct made_table *table, struct snapshot *snapshot)
{
	char reason[READER_REASON_SIZE] = "";
	int result = snapshot_read(table->bytes, table->size, UINT64_MAX, snapshot, reason);

	ck_assert_msg(result == 0, "refused: %s", reason);
}

static void read_badly(const struct made_table *table, int expected)
{
	char reason[READER_REASON_SIZE] = "";
	struct snapshot snapshot;

	ck_assert_int_eq(snapshot_read(table->bytes, table->size, UINT64_MAX, &snapshot, reason), expected);
	ck_assert_msg(reason[0], "refused without a reason");
}

static uint32_t index_of(const struct snapshot *snapshot, uint32_t slot)
{
	for (uint32_t i = 0; i < snapshot->context_count; i++)
		if (snapshot->contexts[i].slot == slot)
			return i;
	ck_abort_msg("no context in slot %u", slot);
	return READER_NONE;
}

static const struct reader_context *at_slot(const struct snapshot *snapshot, uint32_t slot)
{
	return &snapshot->contexts[index_of(snapshot, slot)];
}

/* What must hold of each snapshot, whatever it was made of. */
static void check_sound(const struct snapshot *snapshot)
{
	unsigned char *seen = calloc(snapshot->context_count + 1u, 1);
	uint32_t operations = 0;

	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		uint32_t at = snapshot->preorder[i];
		const struct reader_context *context;

		ck_assert_uint_lt(at, snapshot->context_count);
		ck_assert_msg(!seen[at], "a context is listed twice");
		seen[at] = 1;
		context = &snapshot->contexts[at];
		ck_assert_msg(memchr(context->record.label, 0, sizeof(context->record.label)) != NULL,
			      "endless label");
		if (context->parent != READER_NONE) {
			ck_assert_uint_lt(context->parent, snapshot->context_count);
			ck_assert_msg(seen[context->parent], "a child is listed before its parent");
			ck_assert_uint_eq(context->depth, snapshot->contexts[context->parent].depth + 1);
		} else {
			ck_assert_uint_eq(context->depth, 0);
		}
		if (context->origin != READER_NONE)
			ck_assert_uint_lt(context->origin, snapshot->context_count);
		if (context->cause != READER_NONE) {
			ck_assert_uint_lt(context->cause, snapshot->cause_count);
			ck_assert(memchr(snapshot->causes[context->cause].text, 0, CTX_TABLE_TEXT_SIZE));
		}
		for (uint32_t j = context->first_operation; j != READER_NONE;
		     j = snapshot->operations[j].next) {
			ck_assert_uint_lt(j, snapshot->operation_count);
			ck_assert_uint_eq(snapshot->operations[j].context, at);
			operations++;
			ck_assert_uint_le(operations, snapshot->operation_count);
		}
	}
	ck_assert_uint_eq(operations, snapshot->operation_count);
	free(seen);
}

/* A good table comes out with its tree, causes, operations and rings. */
START_TEST(reads_a_table)
{
	struct made_table table = sample();
	struct snapshot snapshot;
	const struct reader_context *child;

	read_well(&table, &snapshot);
	check_sound(&snapshot);
	ck_assert_uint_eq(snapshot.context_count, 5);
	ck_assert_uint_eq(snapshot.live_count, 2);
	ck_assert_uint_eq(snapshot.operation_count, 2);
	ck_assert_uint_eq(snapshot.ring_count, 1);
	ck_assert_uint_eq(snapshot.rings[0].operation_count, 2);
	ck_assert_uint_eq(at_slot(&snapshot, 2)->parent, index_of(&snapshot, 1));
	child = at_slot(&snapshot, 4);
	ck_assert_uint_eq(child->depth, 2);
	ck_assert_uint_eq(child->origin, index_of(&snapshot, 3));
	ck_assert_uint_eq(child->operation_count, 1);
	ck_assert_str_eq(snapshot.causes[at_slot(&snapshot, 3)->cause].text, "client went away");
	ck_assert_uint_eq(snapshot.latest_ns, NOW_NS + 6);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* Foreign, unfinished, newer and older tables are refused, each with its own error. */
START_TEST(refuses_what_is_not_its_own)
{
	struct made_table table = sample();
	struct ctx_table_header *header = made_table_header(&table);
	struct ctx_table_header good = *header;

	header->magic = 0x1234567812345678u;
	read_badly(&table, -EINVAL);
	header->magic = 0;
	read_badly(&table, -EAGAIN);
	*header = good;
	header->version = CTX_TABLE_VERSION + 1;
	read_badly(&table, -EPROTO);
	header->version = 0;
	read_badly(&table, -EPROTO);
	*header = good;
	header->contexts.record_size -= 8;
	read_badly(&table, -EINVAL);
	*header = good;
	header->operations.offset += 4;
	read_badly(&table, -EINVAL);
	*header = good;
	header->rings.count = UINT32_MAX;
	read_badly(&table, -ENODATA);
	*header = good;
	header->causes.offset = UINT64_MAX - 7;
	read_badly(&table, -ENODATA);
	*header = good;
	header->file_size++;
	read_badly(&table, -ENODATA);
	free(table.bytes);
}
END_TEST

/* Records that grew in a later version of the format are read by their known beginning. */
START_TEST(reads_larger_records)
{
	size_t size = made_table_size(8, 8, 8, 8) + 8 * 64;
	unsigned char *bytes = aligned_alloc(8, size);
	struct made_table table;
	struct ctx_table_header *header;
	struct snapshot snapshot;

	memset(bytes, 0, size);
	table = made_table_begin(bytes, 8, 8, 8, 8, 42, NOW_NS);
	table.size = size;
	header = made_table_header(&table);
	header->contexts.offset = made_table_size(8, 8, 8, 8) - 8 * sizeof(struct ctx_table_context);
	header->contexts.record_size += 64;
	header->file_size = size;
	header->operations.count = header->causes.count = header->rings.count = 0;
	made_table_add_context(&table, 7, 0, "wide", NOW_NS);
	read_well(&table, &snapshot);
	ck_assert_uint_eq(snapshot.context_count, 1);
	ck_assert_str_eq(snapshot.contexts[0].record.label, "wide");
	snapshot_free(&snapshot);
	free(bytes);
}
END_TEST

/* A table that claims far more than it can hold is not read: that would allocate the holes of its file. */
START_TEST(refuses_to_allocate_holes)
{
	struct made_table table = sample();
	char reason[READER_REASON_SIZE] = "";
	struct snapshot snapshot;

	ck_assert_int_eq(snapshot_read(table.bytes, table.size, 1000, &snapshot, reason), -EFBIG);
	ck_assert_int_eq(snapshot_read(table.bytes, table.size, table.size, &snapshot, reason), 0);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* Cut at every 64 bytes the table is refused; the reader never looks behind the end. */
START_TEST(refuses_every_truncation)
{
	struct made_table table = sample();

	for (size_t size = 0; size < table.size; size += 64) {
		struct made_table cut = {exact_copy(table.bytes, size ? size : 1), size};

		read_badly(&cut, -ENODATA);
		free(cut.bytes);
	}
	free(table.bytes);
}
END_TEST

/* The same with a header that admits the smaller size: the areas tell. */
START_TEST(refuses_areas_behind_the_end)
{
	struct made_table table = sample();

	for (size_t size = sizeof(struct ctx_table_header); size < table.size; size += 64) {
		struct made_table cut = {exact_copy(table.bytes, size), size};

		made_table_header(&cut)->file_size = size;
		read_badly(&cut, -ENODATA);
		free(cut.bytes);
	}
	free(table.bytes);
}
END_TEST

/* The header of the first libraries ended behind the rings. What follows there is not believed. */
START_TEST(reads_tables_of_earlier_libraries)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	made_table_header(&table)->header_size = offsetof(struct ctx_table_header, stems);
	memset(&made_table_header(&table)->stems, 0xff, sizeof(struct ctx_table_area));
	read_well(&table, &snapshot);
	ck_assert_uint_eq(snapshot.context_count, 5);
	ck_assert_uint_eq(snapshot.header.stems.used, 0);
	snapshot_free(&snapshot);
	made_table_header(&table)->header_size = sizeof(struct ctx_table_header);
	read_badly(&table, -EINVAL);
	made_table_header(&table)->header_size = offsetof(struct ctx_table_header, stems) - 8;
	read_badly(&table, -EPROTO);
	free(table.bytes);
}
END_TEST

/* Parent links in a circle are cut, and everything is still listed once. */
START_TEST(survives_circles)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	made_table_context(&table, 1)->parent_slot = 4;
	made_table_context(&table, 1)->parent_generation = 1;
	made_table_context(&table, 5)->parent_slot = 5;
	read_well(&table, &snapshot);
	check_sound(&snapshot);
	ck_assert_uint_eq(snapshot.context_count, 5);
	ck_assert_uint_eq(snapshot.cycles, 2);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* Slot and generation must both match: links to what used to be in a slot lead nowhere. */
START_TEST(checks_generations)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	made_table_context(&table, 4)->parent_generation = 2;
	made_table_cause(&table, 1)->context_generation = 2;
	made_table_operation(&table, 1)->context_generation = 2;
	read_well(&table, &snapshot);
	check_sound(&snapshot);
	ck_assert(at_slot(&snapshot, 4)->orphan);
	ck_assert_uint_eq(at_slot(&snapshot, 4)->origin, READER_NONE);
	ck_assert_uint_eq(at_slot(&snapshot, 3)->cause, READER_NONE);
	ck_assert_uint_eq(snapshot.operation_count, 1);
	ck_assert_uint_eq(snapshot.stale, 1);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* The host of a cause is read; in a table of an earlier library, whose causes lack it, there is none. */
START_TEST(reads_the_host_of_a_cause_where_there_is_one)
{
	struct made_table table = sample();
	struct snapshot snapshot;
	struct ctx_table_area *causes = &made_table_header(&table)->causes;
	size_t without = offsetof(struct ctx_table_cause, host);

	memset(made_table_cause(&table, 1)->host, 'h', CTX_TABLE_HOST_SIZE);
	read_well(&table, &snapshot);
	ck_assert_uint_eq(strlen(snapshot.causes[at_slot(&snapshot, 3)->cause].host),
			  CTX_TABLE_HOST_SIZE - 1);
	snapshot_free(&snapshot);
	memmove(table.bytes + causes->offset + without, made_table_cause(&table, 1), without);
	causes->record_size = (uint32_t)without;
	read_well(&table, &snapshot);
	check_sound(&snapshot);
	ck_assert_str_eq(snapshot.causes[at_slot(&snapshot, 3)->cause].host, "");
	ck_assert_str_ne(snapshot.causes[at_slot(&snapshot, 3)->cause].text, "");
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

/* A record whose writer was stopped in the middle is left out and counted; the rest is read. */
START_TEST(leaves_out_a_record_in_writing)
{
	struct made_table table = sample();
	struct snapshot snapshot;

	made_table_context(&table, 2)->seq = 1;
	read_well(&table, &snapshot);
	check_sound(&snapshot);
	ck_assert_uint_eq(snapshot.context_count, 4);
	ck_assert_uint_eq(snapshot.torn, 1);
	ck_assert_uint_eq(snapshot.stale, 1);
	snapshot_free(&snapshot);
	free(table.bytes);
}
END_TEST

static uint32_t next_random(uint64_t *state)
{
	/* xorshift64*: the same numbers on each machine. */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)(*state * UINT64_C(0x2545f4914f6cdd1d) >> 32);
}

static void mutate(struct made_table *table, uint64_t *state)
{
	static const uint64_t nasty[] = {0,	     1,		 2,	     7,		8,
					 0x7fffffff, 0x80000000, UINT32_MAX, INT64_MAX, UINT64_MAX};
	uint32_t changes = 1 + next_random(state) % 12;
	/* One in three aims at the header, where it hurts most. */
	size_t bound = next_random(state) % 3 == 0 ? sizeof(struct ctx_table_header) : table->size;

	while (changes--) {
		size_t at = next_random(state) % bound;
		uint64_t value = nasty[next_random(state) % (sizeof(nasty) / sizeof(nasty[0]))];

		switch (next_random(state) % 3) {
		case 0:
			table->bytes[at] ^= (unsigned char)(1u << next_random(state) % 8);
			break;
		case 1:
			at &= ~(size_t)3;
			memcpy(table->bytes + at, &value, 4);
			break;
		default:
			at &= ~(size_t)7;
			memcpy(table->bytes + at, &value, 8);
		}
	}
}

/* 20,000 tables with random damage: refused with a reason, or a sound snapshot. The seed is printed. */
START_TEST(survives_random_damage)
{
	uint64_t seed = UINT64_C(0x9e3779b97f4a7c15) + (unsigned)_i, state = seed;
	struct made_table good = sample();
	unsigned read = 0, refused = 0;

	printf("seed 0x%" PRIx64 "\n", seed);
	fflush(stdout);
	for (unsigned round = 0; round < 5000; round++) {
		struct made_table table = {exact_copy(good.bytes, good.size), good.size};
		char reason[READER_REASON_SIZE] = "";
		struct snapshot snapshot;

		mutate(&table, &state);
		if (snapshot_read(table.bytes, table.size, UINT64_MAX, &snapshot, reason) == 0) {
			check_sound(&snapshot);
			snapshot_free(&snapshot);
			read++;
		} else {
			ck_assert_msg(reason[0], "seed 0x%" PRIx64 " round %u: refused without a reason",
				      seed, round);
			refused++;
		}
		free(table.bytes);
	}
	free(good.bytes);
	/* Else the damage was not of both kinds. */
	ck_assert_uint_gt(read, 500);
	ck_assert_uint_gt(refused, 500);
}
END_TEST

struct race {
	struct made_table table;
	bool stop;
};

/* Rewrites one context as its process would: label, generation and deadline belong together. */
static void *write_forever(void *data)
{
	struct race *race = data;
	struct ctx_table_context *context = made_table_context(&race->table, 2);
	uint32_t turn = 0;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		uint32_t seq = context->seq;

		turn++;
		atomic_store_explicit(&context->seq, seq + 1, memory_order_relaxed);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		__atomic_store_n(&context->created_ns, turn, __ATOMIC_RELAXED);
		__atomic_store_n(&context->creator_tid, turn, __ATOMIC_RELAXED);
		__atomic_store_n(&context->done_tid, turn, __ATOMIC_RELAXED);
		atomic_store_explicit(&context->seq, seq + 2, memory_order_release);
	}
	return NULL;
}

/*
 * A record that is written all the time is read whole or not at all. On a busy machine the writer may
 * long not be there, or stand still in the middle: then it goes on until one was read.
 */
START_TEST(never_reads_half_a_record)
{
	struct race race = {.table = sample()};
	pthread_t writer;
	unsigned whole = 0;

	ck_assert_int_eq(pthread_create(&writer, NULL, write_forever, &race), 0);
	for (unsigned round = 0; round < 20000 || (!whole && round < 2000000); round++) {
		struct snapshot snapshot;

		if (round >= 20000)
			sched_yield();
		read_well(&race.table, &snapshot);
		for (uint32_t i = 0; i < snapshot.context_count; i++) {
			const struct ctx_table_context *record = &snapshot.contexts[i].record;

			if (snapshot.contexts[i].slot != 2 || record->created_ns == NOW_NS + 1)
				continue;
			ck_assert_uint_eq(record->created_ns, record->creator_tid);
			ck_assert_uint_eq(record->created_ns, record->done_tid);
			whole++;
		}
		snapshot_free(&snapshot);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
	ck_assert_uint_gt(whole, 0);
	free(race.table.bytes);
}
END_TEST

/* 100,000 contexts, as one chain and as one family: without recursion, and not each for each. */
START_TEST(reads_a_large_table)
{
	uint32_t count = 100001;
	unsigned char *bytes = aligned_alloc(8, made_table_size(count, 1, 1, 1));
	struct made_table table;
	struct snapshot snapshot;

	memset(bytes, 0, made_table_size(count, 1, 1, 1));
	table = made_table_begin(bytes, count, 1, 1, 1, 42, NOW_NS);
	for (uint32_t slot = 1; slot < count; slot++)
		made_table_add_context(&table, slot, _i ? slot - 1 : slot > 1, "one of many", NOW_NS + slot);
	read_well(&table, &snapshot);
	ck_assert_uint_eq(snapshot.context_count, 100000);
	check_sound(&snapshot);
	ck_assert_uint_eq(snapshot.contexts[snapshot.preorder[99999]].depth, _i ? 99999 : 1);
	snapshot_free(&snapshot);
	free(bytes);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("reader");
	TCase *good = test_case(suite, "good tables");
	TCase *bad = test_case(suite, "bad tables");
	TCase *race = test_case(suite, "races");

	tcase_add_test(good, reads_a_table);
	tcase_add_test(good, reads_larger_records);
	tcase_add_loop_test(good, reads_a_large_table, 0, 2);
	tcase_add_test(bad, refuses_what_is_not_its_own);
	tcase_add_test(bad, refuses_every_truncation);
	tcase_add_test(bad, refuses_areas_behind_the_end);
	tcase_add_test(bad, refuses_to_allocate_holes);
	tcase_add_test(bad, reads_tables_of_earlier_libraries);
	tcase_add_test(bad, survives_circles);
	tcase_add_test(bad, checks_generations);
	tcase_add_test(bad, reads_the_host_of_a_cause_where_there_is_one);
	tcase_add_test(bad, leaves_out_a_record_in_writing);
	tcase_add_loop_test(bad, survives_random_damage, 0, 4);
	tcase_add_test(race, never_reads_half_a_record);
	return suite;
}
