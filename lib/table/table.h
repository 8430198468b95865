/* SPDX-License-Identifier: MIT */
/*
 * The process's own side of the context table (table_format.h): making the table, giving out slots, and
 * writing records so that readers can tell a torn copy.
 *
 * Each thread keeps some free slots of contexts in a magazine of its own, so that threads which make contexts
 * share no lock. A magazine that is empty is filled from the common list of free slots, and one that is full
 * is emptied to it, under one lock. Slots of the other areas are needed seldom, and taken under that lock
 * each time. Without a table (CTXRING_TABLE=0, no memory, no descriptor) every slot is 0.
 */
#ifndef CTX_TABLE_H
#define CTX_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "table_format.h"

#define TABLE_MAGAZINE_SIZE 30

struct table_magazine {
	uint32_t count;
	uint32_t slots[TABLE_MAGAZINE_SIZE];
};

/*
 * Where the areas are mapped. All NULL without a table, and constant while there is one. Who has a context in
 * the table may read the other fields at once; whoever has none loads header first, whose store publishes
 * them.
 */
struct table_map {
	struct ctx_table_header *_Atomic header;
	struct ctx_table_context *contexts;
	struct ctx_table_operation *operations;
	struct ctx_table_cause *causes;
	struct ctx_table_ring *rings;
	struct ctx_table_stem *stems;
	struct ctx_table_counters *counters;
	struct ctx_table_identity *identities;
};

extern struct table_map table_map;
extern __thread struct table_magazine table_magazine __attribute__((tls_model("initial-exec")));

/*
 * A function that is called, without a lock held, after this process has made its table; in a forked child,
 * after the child has made its own. NULL: there is none. Stored by lib/client, loaded where the table is
 * made.
 */
extern void (*_Atomic table_made)(void);

/* Returns the table's memfd, after making the table if there is none yet. The caller does not close it.
 * -ENOENT: there is no table. */
int table_descriptor(void);

/* Fills the calling thread's magazine; the first call makes the table. False: there is no free slot. */
bool table_refill(void);
/* Makes room in the calling thread's magazine. */
void table_spill(void);
/* To be called before the first slot is put into an empty magazine: its slots are then given back when the
 * thread ends. False: they would not be, and slots go back by table_give_back(). */
bool table_keep(void);
void table_give_back(uint32_t slot);

/* Takes a slot. 0: there is none. */
static inline uint32_t table_context_new(void)
{
	struct table_magazine *magazine = &table_magazine;

	if (__builtin_expect(!magazine->count, 0) && !table_refill())
		return 0;
	return magazine->slots[--magazine->count];
}

/* The record of a slot of this process's table. */
static inline struct ctx_table_context *table_context(uint32_t slot)
{
	return &table_map.contexts[slot];
}

/* Gives back a slot; record is its record. */
static inline void table_context_free(struct ctx_table_context *record, uint32_t slot)
{
	struct table_magazine *magazine = &table_magazine;

	atomic_store_explicit(&record->state, 0, memory_order_release);
	if (__builtin_expect(magazine->count == TABLE_MAGAZINE_SIZE, 0)) {
		table_spill();
	} else if (__builtin_expect(!magazine->count, 0) && !table_keep()) {
		table_give_back(slot);
		return;
	}
	magazine->slots[magazine->count++] = slot;
}

/*
 * Notes the identity that a context got. To be called by the thread that has just made the context, before
 * another thread knows of it.
 */
void table_note_identity(uint32_t slot, uint32_t generation, const uint8_t trace[16],
			 const uint8_t sender[8]);

/*
 * Readers that check seq before and after their copy see all stores between these two calls or none. One
 * writer at a time. The partner is copy_record() in tools/read/reader.c.
 */
static inline uint32_t table_write_begin(_Atomic uint32_t *seq)
{
	uint32_t before = atomic_load_explicit(seq, memory_order_relaxed);

	atomic_store_explicit(seq, before + 1, memory_order_relaxed);
	/* The odd number must be visible before the stores that follow. x86 keeps stores in order. */
	atomic_signal_fence(memory_order_seq_cst);
#ifndef __x86_64__
	atomic_thread_fence(memory_order_seq_cst);
#endif
	return before;
}

static inline void table_write_end(_Atomic uint32_t *seq)
{
	atomic_store_explicit(seq, atomic_load_explicit(seq, memory_order_relaxed) + 1, memory_order_release);
}

/* The same for a writer that has kept what table_write_begin() returned. */
static inline void table_write_end_of(_Atomic uint32_t *seq, uint32_t before)
{
	atomic_store_explicit(seq, before + 2, memory_order_release);
}

/* Adds a part of an area, in bytes, to core dumps. */
void table_show_in_dumps(const struct ctx_table_area *area, uint64_t from, uint64_t to);

/* Takes a record for the text of a cause. 0: there is none. */
uint32_t table_cause_new(void);
void table_cause_free(uint32_t slot);

/* Takes a record for a ring. Returns 0 always; *ret_slot is 0 where there is no table or no free record. */
int table_ring_new(uint32_t *ret_slot);
void table_ring_free(uint32_t slot);
static inline struct ctx_table_ring *table_ring(uint32_t slot)
{
	return slot && table_map.rings ? &table_map.rings[slot] : NULL;
}

/*
 * Takes count operation records in a row; count is a power of two, at least 64. Returns 0; *ret_first is 0
 * where there is no table or no room. -EINVAL: count is none of these. Records that were taken before a fork
 * are the parent's, and are not given to table_operations_free().
 */
int table_operations_new(uint32_t count, uint32_t *ret_first);
void table_operations_free(uint32_t first, uint32_t count);
static inline struct ctx_table_operation *table_operation(uint32_t slot)
{
	return slot && table_map.operations ? &table_map.operations[slot] : NULL;
}

/* Returns the slot of a stem that is not empty, and gives it one at the first time; CTX_TABLE_STEM_OTHER if
 * there is none left. The caller has made a table. */
uint32_t table_stem_slot(const char text[CTX_TABLE_LABEL_SIZE]);

/* Takes a record of counters of this stem, which goes on with what it has counted. 0: there is none. */
uint32_t table_counters_new(uint32_t stem);
/* Gives back the record of each stem; 0: there is none of it. */
void table_counters_free(const uint16_t slots[CTX_TABLE_STEMS]);

#endif
