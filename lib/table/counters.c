/* SPDX-License-Identifier: MIT */
#include "counters.h"

#include <pthread.h>
#include <string.h>

#include "stem.h"

__thread struct counters_thread counters_thread;

static pthread_key_t exit_key;
static bool exit_key_made;

/* ---- records */

/* Gives the records of a thread that ends to those that come after it. */
static void give_records_back(void *state)
{
	struct counters_thread *thread = state;

	table_counters_free(thread->records);
	memset(thread->records, 0, sizeof(thread->records));
	thread->none = thread->last = NULL;
	for (unsigned i = 0; i < COUNTERS_LABELS; i++)
		thread->labels[i].counters = NULL;
}

/* The thread's record for stem; else the one that is shared, or NULL: there is no table. *ret_shared tells.
 */
static struct ctx_table_counters *take_record(unsigned stem, bool *ret_shared)
{
	struct counters_thread *thread = &counters_thread;
	uint32_t slot = thread->records[stem];

	if (!slot && table_map.counters && exit_key_made && !pthread_setspecific(exit_key, thread))
		slot = thread->records[stem] = (uint16_t)table_counters_new(stem);
	*ret_shared = !slot;
	if (!slot)
		return table_map.counters ? &table_map.counters[1] : NULL;
	struct ctx_table_counters *counters = &table_map.counters[slot];
	if (stem == CTX_TABLE_STEM_NONE) {
		thread->none = counters;
	} else {
		thread->last = counters;
		thread->last_stem = (uint16_t)stem;
	}
	return counters;
}

static void add_slow(_Atomic uint64_t *counter, uint64_t count, bool shared)
{
	if (shared)
		atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
	else
		counters_add(counter, count);
}

void counters_begin_slow(unsigned stem)
{
	bool shared;
	struct ctx_table_counters *counters = take_record(stem, &shared);

	if (counters)
		add_slow(&counters->begun, 1, shared);
}

void counters_end_slow(unsigned stem, unsigned kind, unsigned bucket, uint64_t count)
{
	bool shared;
	struct ctx_table_counters *counters = take_record(stem, &shared);

	if (!counters)
		return;
	add_slow(&counters->ended[kind % CTX_TABLE_CAUSES], count, shared);
	add_slow(&counters->ages[bucket], count, shared);
}

void counters_release_slow(unsigned stem)
{
	bool shared;
	struct ctx_table_counters *counters = take_record(stem, &shared);

	if (counters)
		add_slow(&counters->released, 1, shared);
}

/* The age with which bucket begins. */
static uint64_t beginning_of(unsigned bucket)
{
	if (!bucket)
		return 0;
	uint64_t power = 1ull << (CTX_TABLE_BUCKET_SHIFT + (bucket - 1) / 2);
	return bucket % 2 ? power : power + power / 2;
}

void counters_end_other(struct counters_run *run, uint64_t key)
{
	const uint64_t now_ns = run->now_ns & COUNTERS_TIME, created_ns = key & COUNTERS_TIME;

	counters_end_run(run);
	run->stem = (unsigned)(key >> COUNTERS_TIME_BITS);
	run->bucket = counters_age_bucket(created_ns, now_ns);
	run->count = 1;
	if (run->bucket == CTX_TABLE_BUCKETS - 1) {
		run->span = 0; /* no more than this one: its bucket has no end */
		return;
	}
	/* Bucket 0 has all that seem to be made later, too. */
	uint64_t end_ns = beginning_of(run->bucket + 1);
	uint64_t first_ns = end_ns > now_ns ? 0 : now_ns - end_ns + 1;
	uint64_t last_ns = run->bucket ? now_ns - beginning_of(run->bucket) : COUNTERS_TIME;
	run->first = counters_key(run->stem, first_ns);
	run->span = last_ns - first_ns + 1;
}

void counters_operations_slow(unsigned stem, uint64_t begun, uint64_t finished, uint64_t cancelled)
{
	bool shared;
	struct ctx_table_counters *counters = take_record(stem, &shared);

	if (!counters)
		return;
	add_slow(&counters->operations_begun, begun, shared);
	add_slow(&counters->operations_finished, finished, shared);
	add_slow(&counters->operations_cancelled, cancelled, shared);
}

void counters_batch(unsigned stem, uint64_t ns)
{
	bool shared;
	struct ctx_table_counters *counters = take_record(stem, &shared);

	if (counters)
		add_slow(&counters->cancels[counters_bucket(ns)], 1, shared);
}

/* ---- stems */

/* Whether both texts, which are filled up with NULs, are the same. */
static inline bool is_same_text(const char left[CTX_TABLE_LABEL_SIZE], const char right[CTX_TABLE_LABEL_SIZE])
{
	uint64_t words[2][CTX_TABLE_LABEL_SIZE / 8], differences = 0;

	memcpy(words[0], left, CTX_TABLE_LABEL_SIZE);
	memcpy(words[1], right, CTX_TABLE_LABEL_SIZE);
	for (unsigned i = 0; i < CTX_TABLE_LABEL_SIZE / 8; i++)
		differences |= words[0][i] ^ words[1][i];
	return !differences;
}

/* A label that is not like the one before but for its numbers. */
static __attribute__((noinline)) void change_label(struct counters_label *place,
						   const char label[CTX_TABLE_LABEL_SIZE])
{
	char stem[CTX_TABLE_LABEL_SIZE];

	memcpy(place->text, label, CTX_TABLE_LABEL_SIZE);
	table_stem_with_numbers(place->text, stem, place->numbers);
	if (place->counters && is_same_text(table_map.stems[place->stem].text, stem))
		return;
	place->stem = stem[0] ? (uint16_t)table_stem_slot(stem) : CTX_TABLE_STEM_NONE;
	place->counters = counters_of(place->stem);
}

unsigned counters_begin_label_slow(const char *label, struct counters_label *place,
				   struct ctx_table_context *record)
{
	table_copy_label(label, record->label);
	if (!place->counters || !table_label_differs_in_numbers(record->label, place->text, place->numbers))
		change_label(place, record->label);
	record->stem = place->stem;
	if (__builtin_expect(place->counters != NULL, 1)) {
		counters_add(&place->counters->begun, 1);
	} else {
		counters_begin(place->stem);
		place->counters = counters_of(place->stem);
	}
	return place->stem;
}

/* ---- fork: the child makes its own table, with stems of its own */

static void fork_child(void)
{
	memset(&counters_thread, 0, sizeof(counters_thread));
}

__attribute__((constructor)) static void prepare_counters(void)
{
	exit_key_made = pthread_key_create(&exit_key, give_records_back) == 0;
	pthread_atfork(NULL, NULL, fork_child);
}
