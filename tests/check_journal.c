/* SPDX-License-Identifier: MIT */
/*
 * The journals of the table, written by the library and read as ctxtool reads them: through a mapping that
 * cannot be written, while threads go on writing. Without rings: those are in check_journal_ring.c.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/contexts.h"
#include "support/journals.h"
#include "support/threads.h"

TEST_HOLDS("tools/read/reader.c and tools/read/read_journal.c");
TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_PLAIN);

#include "../tools/read/read_counters.c"
#include "../tools/read/reader.c"
/* Both files have functions that only they know. */
#include "../tools/read/read_journal.c"

static void cancel_with_text(unsigned number)
{
	char text[32];
	struct ctx_context *ctx = child_of(ctx_background());

	snprintf(text, sizeof(text), "end %u", number);
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "%s", text));
	ctx_unref(ctx);
}

/* The number in the text of an end that cancel_with_text() made, which must be whole. */
static unsigned number_of_end(const struct ctx_table_end *end)
{
	unsigned number;
	char again[32];

	ck_assert_int_eq(sscanf(end->end.text, "end %u", &number), 1);
	snprintf(again, sizeof(again), "end %u", number);
	ck_assert_str_eq(end->end.text, again);
	ck_assert_int_eq(end->end.cause_error, -EPIPE);
	ck_assert_int_eq(end->end.error, -ECANCELED);
	return number;
}

START_TEST(an_end_says_what_when_why_and_by_whom)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	struct ctx_context *parent = NULL, *ctx = NULL, *below = NULL;

	ck_assert_ok(journal_read(&journal));
	ck_assert_ok(ctx_with_cancel(ctx_background(), "server", &parent));
	ck_assert_ok(ctx_with_cancel(parent, "request", &ctx));
	ck_assert_ok(ctx_with_cancel(ctx, "upstream", &below));
	uint64_t id = ctx_id(ctx), parent_id = ctx_id(parent);
	ck_assert_ok(ctx_cancel_cause(ctx, -ECONNRESET, "client went away"));
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 1);
	const struct ctx_table_end *end = journal.entries;
	ck_assert_uint_eq(end->type, CTX_TABLE_END_CONTEXT);
	ck_assert_uint_eq((uint64_t)end->context_generation << 32 | end->context_slot, id);
	ck_assert_uint_eq((uint64_t)end->end.parent_generation << 32 | end->end.parent_slot, parent_id);
	ck_assert_int_eq((pid_t)end->tid, gettid());
	ck_assert_str_eq(end->end.label, "request");
	ck_assert_str_eq(end->end.text, "client went away");
	ck_assert_uint_eq(end->end.cause_kind, CTX_CAUSE_CALL);
	ck_assert_int_eq(end->end.cause_error, -ECONNRESET);
	ck_assert_int_eq(end->end.error, -ECANCELED);
	ck_assert_uint_eq(end->end.below, 1);
	ck_assert_int_eq(end->end.cause_pid, 0);
	ck_assert_uint_ne(end->end.done_site, 0);
	ck_assert_uint_ge(end->time_ns, end->end.created_ns);
	ctx_finish(below);
	ctx_finish(ctx);
	ctx_finish(parent);
	close_view(&view, &journal);
}
END_TEST

START_TEST(quiet_ends_are_left_out_and_others_are_not)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	struct ctx_context *ctx, *timed;

	ck_assert_ok(journal_read(&journal));
	for (int i = 0; i < 100; i++) {
		ctx_finish(child_of(ctx_background()));
		ctx_finish(timed_child_of(ctx_background(), HOUR));
		/* One whose children are gone has nobody to tell. */
		ctx = child_of(ctx_background());
		ctx_finish(child_of(ctx));
		ctx_finish(ctx);
	}
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 0);
	timed = timed_child_of(ctx_background(), 1);
	ctx_wait(timed, CTX_FOREVER);
	ctx_finish(timed);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 1);
	const struct ctx_table_end *end = journal.entries;
	ck_assert_uint_eq(end->end.cause_kind, CTX_CAUSE_DEADLINE);
	ck_assert_int_eq(end->end.error, -ETIME);
	close_view(&view, &journal);
}
END_TEST

/* A reader that comes often sees every end once; one that comes late is told how many it has missed. */
START_TEST(what_is_overwritten_unread_is_counted)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	unsigned number = 0, read = 0;
	static bool seen[400 * 17];

	ck_assert_ok(journal_read(&journal));
	for (int round = 0; round < 400; round++) {
		for (int i = 0; i < 17; i++)
			cancel_with_text(number++);
		ck_assert_ok(journal_read(&journal));
		/* They are not sorted: several chunks may have been written meanwhile. */
		for (size_t i = 0; i < journal.entry_count; i++) {
			unsigned found = number_of_end((struct ctx_table_end *)journal.entries + i);
			ck_assert_uint_lt(found, number);
			ck_assert(!seen[found]);
			seen[found] = true;
			read++;
		}
	}
	ck_assert_uint_eq(read, number);
	ck_assert_uint_eq(journal.lost, 0);
	for (int i = 0; i < 10000; i++)
		cancel_with_text(number++);
	for (int i = 0; i < 3; i++) { /* what is lost is decided two readings later */
		ck_assert_ok(journal_read(&journal));
		read += (unsigned)journal.entry_count;
	}
	ck_assert_uint_gt(journal.lost, 0);
	ck_assert_uint_eq(read + journal.lost, number);
	ck_assert_uint_ne(journal.overwritten_ns, 0);
	close_view(&view, &journal);
}
END_TEST

#define WRITERS 6
#define ENDS_EACH 1500u

static void *write_ends(void *data)
{
	unsigned first = *(unsigned *)data * ENDS_EACH;

	for (unsigned i = 0; i < ENDS_EACH; i++)
		cancel_with_text(first + i);
	return NULL;
}

START_TEST(threads_write_while_a_reader_reads)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	pthread_t threads[WRITERS];
	unsigned numbers[WRITERS], *seen = calloc(WRITERS * ENDS_EACH, sizeof(*seen));
	uint64_t count = 0;

	ck_assert_ptr_nonnull(seen);
	ck_assert_ok(journal_read(&journal));
	for (unsigned i = 0; i < WRITERS; i++) {
		numbers[i] = i;
		ck_assert_ok(pthread_create(&threads[i], NULL, write_ends, &numbers[i]));
	}
	for (unsigned joined = 0; joined < WRITERS + 3;) {
		ck_assert_ok(journal_read(&journal));
		for (size_t i = 0; i < journal.entry_count; i++)
			ck_assert_uint_eq(seen[number_of_end((struct ctx_table_end *)journal.entries + i)]++,
					  0);
		count += journal.entry_count;
		if (joined >= WRITERS || !pthread_tryjoin_np(threads[joined], NULL))
			joined++;
	}
	ck_assert_uint_eq(count + journal.lost, WRITERS * ENDS_EACH);
	free(seen);
	close_view(&view, &journal);
}
END_TEST

#define CROWD 150

static pthread_barrier_t crowd;

static void *write_one_and_stay(void *data)
{
	cancel_with_text(*(unsigned *)data);
	pthread_barrier_wait(&crowd);
	pthread_barrier_wait(&crowd);
	return NULL;
}

/* More threads than there are chunks for: those that have none share one, and nothing is lost. */
START_TEST(threads_without_a_chunk_share_one)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	pthread_t threads[CROWD];
	unsigned numbers[CROWD], seen[CROWD] = {0};

	ck_assert_ok(journal_read(&journal));
	ck_assert_ok(pthread_barrier_init(&crowd, NULL, CROWD + 1));
	for (unsigned i = 0; i < CROWD; i++) {
		numbers[i] = i;
		ck_assert_ok(pthread_create(&threads[i], NULL, write_one_and_stay, &numbers[i]));
	}
	pthread_barrier_wait(&crowd);
	ck_assert_uint_le(view.header->ends.area.used, view.header->ends.area.count);
	ck_assert_ok(journal_read(&journal));
	for (size_t i = 0; i < journal.entry_count; i++)
		seen[number_of_end((struct ctx_table_end *)journal.entries + i)]++;
	for (unsigned i = 0; i < CROWD; i++)
		ck_assert_uint_eq(seen[i], 1);
	pthread_barrier_wait(&crowd);
	for (unsigned i = 0; i < CROWD; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	pthread_barrier_destroy(&crowd);
	close_view(&view, &journal);
}
END_TEST

/* Threads come and go, each with one end: they continue each other's chunks. */
START_TEST(chunks_of_ended_threads_are_filled_up)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	pthread_t thread;
	unsigned number = 0;

	ck_assert_ok(pthread_barrier_init(&crowd, NULL, 1));
	for (; number < 100; number++) {
		ck_assert_ok(pthread_create(&thread, NULL, write_one_and_stay, &number));
		ck_assert_ok(pthread_join(thread, NULL));
	}
	pthread_barrier_destroy(&crowd);
	ck_assert_uint_le(view.header->ends.serial, 8);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_ge(journal.entry_count, 100);
	close_view(&view, &journal);
}
END_TEST

START_TEST(child_has_journals_of_its_own)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	int status;

	cancel_with_text(1);
	ck_assert_ok(journal_read(&journal));
	test_settle();
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		cancel_with_text(2);
		struct view own = view_own_table();
		struct journal mine = open_journal(&own, JOURNAL_ENDS);
		bool good = !journal_read(&mine) && mine.entry_count == 1 && number_of_end(mine.entries) == 2;
		_exit(good ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 0);
	cancel_with_text(3);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 1);
	close_view(&view, &journal);
}
END_TEST

/* ---- while somebody records */

START_TEST(nothing_is_kept_unless_somebody_records)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_CONTEXTS);
	struct ctx_control *control = open_control();
	struct ctx_context *parent, *ctx;

	ctx_finish(child_of(ctx_background()));
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 0);
	ck_assert_uint_eq(view.header->contexts_past.area.used, 0);
	atomic_store(&control->record_until_ns, clock_now_ns() + CTX_CONTROL_AHEAD_NS / 2);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "recorded", &parent));
	ck_assert_ok(ctx_with_cancel(parent, "below", &ctx));
	uint64_t id = ctx_id(parent);
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "over"));
	ctx_unref(ctx);
	ctx_unref(parent);
	ctx_unref(child_of(ctx_background())); /* never ends */
	atomic_store(&control->record_until_ns, 0);
	ctx_finish(child_of(ctx_background()));
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 3);
	const struct ctx_table_context_past *past = journal.entries;
	ck_assert_str_eq(past[0].label, "below");
	ck_assert_uint_eq(past[0].state, ECANCELED);
	ck_assert_uint_eq((uint64_t)past[0].parent_generation << 32 | past[0].parent_slot, id);
	ck_assert_uint_eq(past[0].done_ns, 0);
	ck_assert_uint_eq(past[0].done_site, 0);
	ck_assert_uint_eq((uint64_t)past[1].generation << 32 | past[1].slot, id);
	ck_assert_uint_eq(past[1].state, CTX_TABLE_OWN | ECANCELED);
	ck_assert_uint_eq(past[1].cause_kind, CTX_CAUSE_CALL);
	ck_assert_int_eq((pid_t)past[1].done_tid, gettid());
	ck_assert_uint_ge(past[1].done_ns, past[1].created_ns);
	ck_assert_uint_ge(past[1].freed_ns, past[1].done_ns);
	ck_assert_uint_eq(past[2].state, CTX_TABLE_LIVE);
	ck_assert_uint_eq(past[2].done_site, 0);
	ck_assert_uint_ge(past[2].freed_ns, past[2].created_ns);
	munmap(control, CTX_CONTROL_SIZE);
	close_view(&view, &journal);
}
END_TEST

/* Whoever can write the control memfd can have the process record for a while, and do nothing else. */
START_TEST(hostile_times_are_put_right)
{
	const uint64_t times[] = {UINT64_MAX, UINT64_MAX - 1, clock_now_ns() + CTX_CONTROL_AHEAD_NS * 100,
				  (uint64_t)INT64_MAX};
	struct ctx_control *control = open_control();

	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		atomic_store(&control->record_until_ns, times[i]);
		ctx_unref(child_of(ctx_background()));
		ck_assert_uint_le(atomic_load(&control->record_until_ns),
				  clock_now_ns() + CTX_CONTROL_AHEAD_NS);
	}
	atomic_store(&control->record_until_ns, 1);
	ctx_unref(child_of(ctx_background()));
	ck_assert_uint_eq(atomic_load(&control->record_until_ns), 0);
	/* The rest of the page is nobody's. */
	memset((char *)control + 16, 0xff, CTX_CONTROL_SIZE - 16);
	control->magic = 0;
	ctx_finish(child_of(ctx_background()));
	munmap(control, CTX_CONTROL_SIZE);
}
END_TEST

START_TEST(child_is_not_recorded_with_its_parent)
{
	struct ctx_control *control = open_control();
	int status;

	atomic_store(&control->record_until_ns, clock_now_ns() + CTX_CONTROL_AHEAD_NS / 2);
	test_settle();
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		ctx_unref(child_of(ctx_background()));
		struct view own = view_own_table();
		struct journal mine = open_journal(&own, JOURNAL_CONTEXTS);
		_exit(journal_read(&mine) || mine.entry_count ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_ne(atomic_load(&control->record_until_ns), 0);
	atomic_store(&control->record_until_ns, 0);
	munmap(control, CTX_CONTROL_SIZE);
}
END_TEST

/* ---- hostile tables */

START_TEST(broken_journals_are_refused_or_harmless)
{
	struct view view = view_own_table();
	char *copy = mmap(NULL, view.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, table_descriptor(), 0);
	struct ctx_table_header *header = (struct ctx_table_header *)copy;
	struct journal journal;
	char reason[READER_REASON_SIZE];

	ck_assert_ptr_ne(copy, MAP_FAILED);
	cancel_with_text(1);
	const struct ctx_table_journal good = header->ends;
	header->ends.entry_size = 8;
	ck_assert_int_eq(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason), -EINVAL);
	header->ends.entry_size = CTX_TABLE_CHUNK_SIZE;
	ck_assert_int_eq(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason), -EINVAL);
	header->ends = good;
	header->ends.area.offset = view.size - 8;
	ck_assert_int_lt(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason), 0);
	header->ends = good;
	header->header_size = offsetof(struct ctx_table_header, stems);
	ck_assert_int_eq(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason), -ENOTSUP);
	header->header_size = sizeof(*header);
	header->ends.area.used = UINT32_MAX;
	header->ends.serial = UINT64_MAX;
	struct ctx_table_chunk *chunk = (struct ctx_table_chunk *)(copy + header->ends.area.offset);
	chunk->serial = UINT64_MAX;
	chunk->count = UINT32_MAX;
	memset(chunk + 1, 0xff, CTX_TABLE_CHUNK_SIZE - sizeof(*chunk));
	((struct ctx_table_end *)(chunk + 1))->type = CTX_TABLE_END_CONTEXT;
	ck_assert_ok(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason));
	for (int i = 0; i < 4; i++) {
		ck_assert_ok(journal_read(&journal));
		for (size_t j = 0; j < journal.entry_count; j++)
			ck_assert_uint_lt(strlen(((struct ctx_table_end *)journal.entries)[j].end.text), 64);
		chunk->serial--;
	}
	journal_close(&journal);
	/* Uses that were never given are not remembered. */
	header->ends.serial = 1;
	chunk->serial = 1u << 30;
	ck_assert_ok(journal_open(&journal, copy, view.size, JOURNAL_ENDS, reason));
	for (int i = 0; i < 200; i++) {
		ck_assert_ok(journal_read(&journal));
		ck_assert_uint_eq(journal.recent_count, 0);
		chunk->serial++;
	}
	journal_close(&journal);
	munmap(copy, view.size);
	close_view(&view, NULL);
}
END_TEST

/* A table whose pages are not there is read as zeros, and takes no memory for them all. */
START_TEST(journal_that_claims_much_is_read_in_parts)
{
	enum {
		CHUNK = 1 << 16,
		CHUNKS = 600
	};
	struct view view = view_own_table();
	struct ctx_table_header *header;
	size_t size = view.size + (size_t)CHUNK * CHUNKS;
	char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct journal journal;
	char reason[READER_REASON_SIZE];
	size_t before = 0;

	ck_assert_ptr_ne(copy, MAP_FAILED);
	memcpy(copy, view.header, view.size);
	header = (struct ctx_table_header *)copy;
	header->operations_past.area.offset = (view.size + 7) / 8 * 8;
	header->operations_past.area.record_size = CHUNK;
	header->operations_past.area.used = CHUNKS - 1;
	header->operations_past.area.count = CHUNKS - 1;
	header->operations_past.serial = CHUNKS;
	for (unsigned i = 0; i < CHUNKS - 1; i++) {
		struct ctx_table_chunk *chunk =
			(struct ctx_table_chunk *)(copy + header->operations_past.area.offset +
						   (size_t)i * CHUNK);
		chunk->serial = i + 1;
		chunk->count = UINT32_MAX;
	}
	ck_assert_msg(!journal_open(&journal, copy, size, JOURNAL_OPERATIONS, reason), "%s", reason);
	for (size_t all = (size_t)(CHUNKS - 1) * journal.chunk_entries; before < all;) {
		ck_assert_ok(journal_read(&journal));
		ck_assert_uint_gt(journal.entry_count, 0);
		ck_assert_uint_le(journal.entry_count * sizeof(struct ctx_table_operation_past), 17u << 20);
		before += journal.entry_count;
	}
	journal_close(&journal);
	munmap(copy, size);
	close_view(&view, NULL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("journal");
	TCase *ends = test_case(suite, "ends");
	TCase *past = test_case(suite, "recorded");

	tcase_add_test(ends, an_end_says_what_when_why_and_by_whom);
	tcase_add_test(ends, quiet_ends_are_left_out_and_others_are_not);
	tcase_add_test(ends, what_is_overwritten_unread_is_counted);
	tcase_add_test(ends, threads_write_while_a_reader_reads);
	tcase_add_test(ends, threads_without_a_chunk_share_one);
	tcase_add_test(ends, chunks_of_ended_threads_are_filled_up);
	tcase_add_test(ends, child_has_journals_of_its_own);
	tcase_add_test(ends, broken_journals_are_refused_or_harmless);
	tcase_add_test(ends, journal_that_claims_much_is_read_in_parts);
	tcase_add_test(past, nothing_is_kept_unless_somebody_records);
	tcase_add_test(past, hostile_times_are_put_right);
	tcase_add_test(past, child_is_not_recorded_with_its_parent);
	return suite;
}
