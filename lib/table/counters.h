/* SPDX-License-Identifier: MIT */
/*
 * Counts what the process does, for other processes to read (struct ctx_table_counters).
 *
 * Each thread has a record for each stem that it has counted for, and writes it alone, by plain loads and
 * stores. A ring counts in the records of the thread that drives it. When a thread ends, its records are
 * kept, and the next thread that needs one for the same stem goes on with it: counters never go down while
 * the process lives. Where no record is left, all count in the one of slot 1, by atomic additions.
 *
 * Every context that has a record in the table is counted, and none without. How exact the ages are: both
 * times are read from the coarse clock, which goes in steps of 1 to 10 ms, so an age may be a step too long
 * or too short, and contexts that live shorter mostly count as 0. The time from a batch's beginning to its
 * last completion is exact.
 */
#ifndef CTX_COUNTERS_H
#define CTX_COUNTERS_H

#include <string.h>

#include "table.h"

#define COUNTERS_LABELS 4 /* a power of two */

/* A label that was used at a call site. */
struct counters_label {
	char text[CTX_TABLE_LABEL_SIZE];     /* filled up with NULs */
	char numbers[CTX_TABLE_LABEL_SIZE];  /* in text, see table_stem_with_numbers() */
	struct ctx_table_counters *counters; /* the thread's record for its stem; NULL: to be looked for */
	uint16_t stem;
};

/* What a thread keeps between two counts. */
struct counters_thread {
	/* The thread's records for no label, and for the stem that it has counted for last. NULL: none yet.
	 */
	struct ctx_table_counters *none, *last;
	uint16_t last_stem;
	uint16_t records[CTX_TABLE_STEMS]; /* the slot of its record for each stem; 0: it has none yet */
	/* The labels that were last used at call sites, which have one of these places each. */
	struct counters_label labels[COUNTERS_LABELS];
};

extern __thread struct counters_thread counters_thread __attribute__((tls_model("initial-exec")))
__attribute__((visibility("hidden")));

/* The slow way of each of the following: of another stem than the last one, and where no record is left. */
void counters_begin_slow(unsigned stem);
void counters_end_slow(unsigned stem, unsigned kind, unsigned bucket, uint64_t count);
void counters_release_slow(unsigned stem);
void counters_operations_slow(unsigned stem, uint64_t begun, uint64_t finished, uint64_t cancelled);
unsigned counters_begin_label_slow(const char *label, struct counters_label *place,
				   struct ctx_table_context *record);

/* The calling thread's record for a stem. NULL: it is to be looked for. */
static inline struct ctx_table_counters *counters_of(unsigned stem)
{
	const struct counters_thread *thread = &counters_thread;

	if (stem == CTX_TABLE_STEM_NONE)
		return thread->none;
	return stem == thread->last_stem ? thread->last : NULL;
}

/* Adds to a counter whose only writer is the calling thread. Readers load it by itself. */
static inline void counters_add(_Atomic uint64_t *counter, uint64_t count)
{
	uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, before + count, memory_order_relaxed);
}

/* The bucket of a time, see CTX_TABLE_BUCKET_SHIFT. */
static inline unsigned counters_bucket(uint64_t ns)
{
	if (ns >> CTX_TABLE_BUCKET_SHIFT == 0)
		return 0;
	unsigned power = 63u - (unsigned)__builtin_clzll(ns);
	unsigned half = (unsigned)(ns >> (power - 1)) & 1u;
	unsigned bucket = 1 + 2 * (power - CTX_TABLE_BUCKET_SHIFT) + half;
	return bucket < CTX_TABLE_BUCKETS ? bucket : CTX_TABLE_BUCKETS - 1;
}

/* The bucket of the age of a context. The two clocks that are read for a context may differ by a step, so
 * that it seems to be made after now. */
static inline unsigned counters_age_bucket(uint64_t created_ns, uint64_t now_ns)
{
	int64_t age_ns = (int64_t)(now_ns - created_ns);

	return __builtin_expect(age_ns < 1 << CTX_TABLE_BUCKET_SHIFT, 1) ? 0
									 : counters_bucket((uint64_t)age_ns);
}

/* ---- contexts with a record in the table */

static inline void counters_begin(unsigned stem)
{
	struct ctx_table_counters *counters = counters_of(stem);

	if (__builtin_expect(counters != NULL, 1))
		counters_add(&counters->begun, 1);
	else
		counters_begin_slow(stem);
}

/*
 * The same for one with a label, which is copied to its record, cut to its size. Returns the stem, which is
 * written, too. site is where the program made the context: most calls have one label each.
 */
static inline unsigned counters_begin_label(const char *label, const void *site,
					    struct ctx_table_context *record)
{
	unsigned number = ((uintptr_t)site >> 2 ^ (uintptr_t)site >> 5) % COUNTERS_LABELS;
	struct counters_label *place = &counters_thread.labels[number];

	if (__builtin_expect(strncmp(place->text, label, CTX_TABLE_LABEL_SIZE - 1) != 0 || !place->counters,
			     0))
		return counters_begin_label_slow(label, place, record);
	memcpy(record->label, place->text, CTX_TABLE_LABEL_SIZE);
	record->stem = place->stem;
	counters_add(&place->counters->begun, 1);
	return place->stem;
}

/* count contexts of one stem and age have ended by one kind of cause. */
static inline void counters_end_many(unsigned stem, unsigned kind, unsigned bucket, uint64_t count)
{
	struct ctx_table_counters *counters = counters_of(stem);

	if (__builtin_expect(!counters, 0)) {
		counters_end_slow(stem, kind, bucket, count);
		return;
	}
	counters_add(&counters->ended[kind % CTX_TABLE_CAUSES], count);
	counters_add(&counters->ages[bucket], count);
}

static inline void counters_end(const struct ctx_table_context *record, unsigned kind, uint64_t now_ns)
{
	counters_end_many(record->stem, kind, counters_age_bucket(record->created_ns, now_ns), 1);
}

/* A context is freed that was live to the last. */
static inline void counters_release(const struct ctx_table_context *record)
{
	struct ctx_table_counters *counters = counters_of(record->stem);

	if (__builtin_expect(counters != NULL, 1))
		counters_add(&counters->released, 1);
	else
		counters_release_slow(record->stem);
}

/*
 * Contexts that end at one time by one kind of cause, and are counted together as long as stem and bucket of
 * the age are the same. It begins as {.kind = kind, .now_ns = now_ns}, and counters_end_run() stands at its
 * end.
 */
struct counters_run {
	uint64_t first, span; /* the keys of those of the stem that are in the bucket */
	uint64_t count;
	unsigned stem, bucket;
	unsigned kind;
	uint64_t now_ns;
};

/*
 * What a context is counted by in a run: its stem, and below that the time at which it was made. The contexts
 * of one stem and bucket are those whose keys lie in one range. The bits of the time are enough for 4.5
 * years.
 */
#define COUNTERS_TIME_BITS 57
#define COUNTERS_TIME ((1ull << COUNTERS_TIME_BITS) - 1)
_Static_assert(CTX_TABLE_STEMS <= 1u << (64 - COUNTERS_TIME_BITS), "a stem fits a key");

static inline uint64_t counters_key(unsigned stem, uint64_t created_ns)
{
	return (uint64_t)stem << COUNTERS_TIME_BITS | (created_ns & COUNTERS_TIME);
}

static inline uint64_t counters_key_of(const struct ctx_table_context *record)
{
	return counters_key(record->stem, record->created_ns);
}

/* Counts a context of another stem or bucket than the run so far. */
void counters_end_other(struct counters_run *run, uint64_t key) __attribute__((cold));

static inline void counters_end_in_run(struct counters_run *run, uint64_t key)
{
	if (__builtin_expect(key - run->first < run->span, 1))
		run->count++;
	else
		counters_end_other(run, key);
}

static inline void counters_end_run(struct counters_run *run)
{
	if (run->count)
		counters_end_many(run->stem, run->kind, run->bucket, run->count);
	run->count = 0;
}

/* ---- operations, which have the stem of their context */

static inline void counters_operations_begin(unsigned stem, uint64_t count)
{
	struct ctx_table_counters *counters = counters_of(stem);

	if (__builtin_expect(counters != NULL, 1))
		counters_add(&counters->operations_begun, count);
	else
		counters_operations_slow(stem, count, 0, 0);
}

/* count operations have come to their final completion, cancelled of them because their context ended. */
static inline void counters_operations_finish(unsigned stem, uint64_t count, uint64_t cancelled)
{
	struct ctx_table_counters *counters = counters_of(stem);

	if (__builtin_expect(!counters, 0)) {
		counters_operations_slow(stem, 0, count, cancelled);
		return;
	}
	counters_add(&counters->operations_finished, count);
	if (cancelled)
		counters_add(&counters->operations_cancelled, cancelled);
}

/* A batch for a context of this stem took so long. */
void counters_batch(unsigned stem, uint64_t ns);

#endif
