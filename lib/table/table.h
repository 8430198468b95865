/* SPDX-License-Identifier: MIT */
/*
 * The process's own side of the context table (table_format.h): making it, handing
 * out slots, and writing records so that readers can tell a torn copy.
 *
 * Free slots of contexts lie in a small magazine of each thread, so that threads
 * which make contexts do not meet; magazines are filled from and emptied to a pool
 * under one lock. The other areas are used seldom and by that lock alone. Without a
 * table (CTXRING_TABLE=0, no memory, no descriptor) every slot is 0.
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

/* Where the areas are mapped, all NULL without a table. Constant while there is one. */
struct table_map {
	struct ctx_table_header *header;
	struct ctx_table_context *contexts;
	struct ctx_table_operation *operations;
	struct ctx_table_cause *causes;
	struct ctx_table_ring *rings;
};

extern struct table_map table_map;
extern __thread struct table_magazine table_magazine __attribute__((tls_model("initial-exec")));

/*
 * Called, without locks, after this process's table was made: also after a fork, when the child makes its
 * own. NULL: by nobody.
 */
extern void (*_Atomic table_made)(void);

/* The table's memfd, which is made if need be; it stays the table's. -ENOENT: there is no table. */
int table_descriptor(void);

/* Fills the calling thread's magazine, making the table at the first call. Returns false if there is nothing.
 */
bool table_refill(void);
/* Makes room in it. */
void table_spill(void);
/* Before the first slot comes into an empty one: what is in it goes back when the thread ends. */
void table_keep(void);

/* 0: no room. */
static inline uint32_t table_context_new(void)
{
	struct table_magazine *magazine = &table_magazine;

	if (__builtin_expect(!magazine->count, 0) && !table_refill())
		return 0;
	return magazine->slots[--magazine->count];
}

/* Of a slot of this process's table. */
static inline struct ctx_table_context *table_context(uint32_t slot)
{
	return &table_map.contexts[slot];
}

static inline void table_context_free(uint32_t slot)
{
	struct table_magazine *magazine = &table_magazine;

	atomic_store_explicit(&table_context(slot)->state, 0, memory_order_release);
	if (__builtin_expect(magazine->count == TABLE_MAGAZINE_SIZE, 0))
		table_spill();
	else if (__builtin_expect(!magazine->count, 0))
		table_keep();
	magazine->slots[magazine->count++] = slot;
}

/*
 * What is stored between these two is seen whole or not at all by readers that
 * check seq before and after. One writer at a time.
 */
static inline void table_write_begin(_Atomic uint32_t *seq)
{
	atomic_store_explicit(seq, atomic_load_explicit(seq, memory_order_relaxed) + 1, memory_order_relaxed);
	/* The odd number must be visible before anything that follows. */
	atomic_signal_fence(memory_order_seq_cst);
#ifndef __x86_64__
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void table_write_end(_Atomic uint32_t *seq)
{
	atomic_store_explicit(seq, atomic_load_explicit(seq, memory_order_relaxed) + 1, memory_order_release);
}

/* A record for the text of a cause; 0: none. */
uint32_t table_cause_new(void);
void table_cause_free(uint32_t slot);

/* The number of a ring's record: 0 and *ret_slot, which is 0 without a table or room. */
int table_ring_new(uint32_t *ret_slot);
void table_ring_free(uint32_t slot);
static inline struct ctx_table_ring *table_ring(uint32_t slot)
{
	return slot && table_map.rings ? &table_map.rings[slot] : NULL;
}

/*
 * A run of count operation records in a row; count is a power of two from 64 on.
 * 0 and *ret_first, which is 0 without a table or room. Not for slots of before a fork.
 */
int table_operations_new(uint32_t count, uint32_t *ret_first);
void table_operations_free(uint32_t first, uint32_t count);
static inline struct ctx_table_operation *table_operation(uint32_t slot)
{
	return slot && table_map.operations ? &table_map.operations[slot] : NULL;
}

#endif
