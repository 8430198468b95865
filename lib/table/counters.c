/* SPDX-License-Identifier: MIT */
#include "counters.h"

#include <pthread.h>
#include <string.h>

#include "stem.h"

#define STEM_CELLS 256u /* a power of two, more than twice as many as there are stems */

__thread struct counters_thread counters_thread;

/*
 * Finds the slot of a stem by its text, without a lock. A cell is 0 or a slot that is published. It is filled
 * once, by compare-and-swap; a slot that is in two cells does no harm.
 */
static _Atomic uint8_t stem_cells[STEM_CELLS];
_Static_assert(CTX_TABLE_STEMS <= 256, "a slot fits a cell");

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

static unsigned hash_of(const char text[CTX_TABLE_LABEL_SIZE])
{
	uint64_t words[CTX_TABLE_LABEL_SIZE / 8], hash = 0;

	memcpy(words, text, sizeof(words));
	for (unsigned i = 0; i < CTX_TABLE_LABEL_SIZE / 8; i++)
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
	return (unsigned)(hash >> 32);
}

/* The slot of a stem. The first to meet it gives it one, if there is one left. */
static uint16_t slot_of_stem(const char text[CTX_TABLE_LABEL_SIZE])
{
	unsigned first = hash_of(text);

	if (!text[0])
		return CTX_TABLE_STEM_NONE;
	for (unsigned i = 0; i < STEM_CELLS; i++) {
		_Atomic uint8_t *cell = &stem_cells[(first + i) % STEM_CELLS];
		uint8_t slot = atomic_load_explicit(cell, memory_order_acquire);
		if (!slot) {
			uint8_t made = (uint8_t)table_stem_new(text);
			/* One that has no slot of its own gets no cell, or none would be left. */
			if (!memcmp(table_map.stems[made].text, text, CTX_TABLE_LABEL_SIZE))
				atomic_compare_exchange_strong_explicit(
					cell, &slot, made, memory_order_release, memory_order_relaxed);
			return made;
		}
		if (!memcmp(table_map.stems[slot].text, text, CTX_TABLE_LABEL_SIZE))
			return slot;
	}
	return CTX_TABLE_STEM_OTHER;
}

unsigned counters_begin_label_slow(const char *label, struct counters_label *place,
				   struct ctx_table_context *record)
{
	char stem[CTX_TABLE_LABEL_SIZE];

	memset(place->text, 0, CTX_TABLE_LABEL_SIZE);
	memcpy(place->text, label, strnlen(label, CTX_TABLE_LABEL_SIZE - 1));
	memcpy(record->label, place->text, CTX_TABLE_LABEL_SIZE);
	table_stem_of(place->text, stem);
	record->stem = place->stem = slot_of_stem(stem);
	counters_begin(place->stem);
	place->counters = counters_of(place->stem);
	return place->stem;
}

/* ---- fork: the child makes its own table, with stems of its own */

static void fork_child(void)
{
	memset(&counters_thread, 0, sizeof(counters_thread));
	memset(stem_cells, 0, sizeof(stem_cells));
}

__attribute__((constructor)) static void prepare_counters(void)
{
	exit_key_made = pthread_key_create(&exit_key, give_records_back) == 0;
	pthread_atfork(NULL, NULL, fork_child);
}
