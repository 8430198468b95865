/* SPDX-License-Identifier: MIT */
#include "past_context.h"

#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "journal.h"
#include "table.h"

/*
 * The time at which the context is freed. To read the clock would take a tenth of the time of making and
 * ending a context, so one that ended by itself has its time. 0: nobody records. That is looked at where the
 * time is known, and whenever a chunk is full.
 */
static inline uint64_t freed_ns_of(const struct ctx_table_context *record)
{
	uint32_t state = atomic_load_explicit(&record->state, memory_order_relaxed);

	if (__builtin_expect(state & CTX_TABLE_OWN && journal_has_room(TABLE_CONTEXTS_PAST), 1))
		return record->done_ns;
	uint64_t now_ns = clock_coarse_ns();
	if (!control_confirm(now_ns))
		return 0;
	return state & CTX_TABLE_OWN ? record->done_ns : now_ns;
}

/* The entry is a copy of the record, in which the following fields are in other places. */
_Static_assert(offsetof(struct ctx_table_context_past, freed_ns) == sizeof(struct ctx_table_context) &&
		       offsetof(struct ctx_table_context_past, generation) ==
			       offsetof(struct ctx_table_context, generation) &&
		       offsetof(struct ctx_table_context_past, label) ==
			       offsetof(struct ctx_table_context, label),
	       "what is past is copied");

/* The identity that ctx_extract gave to the context, or zeroes. */
static inline void copy_identity(struct ctx_table_context_past *entry)
{
	const struct ctx_table_header *header = atomic_load_explicit(&table_map.header, memory_order_relaxed);
	const struct ctx_table_identity *identity = &table_map.identities[entry->slot];

	memset(entry->trace, 0, sizeof(entry->trace));
	memset(entry->sender, 0, sizeof(entry->sender));
	/* Reading the holes of a sparse file would allocate memory. */
	if (__builtin_expect(
		    entry->slot >= atomic_load_explicit(&header->identities.used, memory_order_relaxed), 1) ||
	    atomic_load_explicit(&identity->generation, memory_order_relaxed) != entry->generation)
		return;
	memcpy(entry->trace, identity->trace, sizeof(entry->trace));
	memcpy(entry->sender, identity->sender, sizeof(entry->sender));
}

void past_write_context(const struct ctx_table_context *record, uint32_t slot)
{
	uint64_t freed_ns = freed_ns_of(record);
	struct ctx_table_context_past *entry = freed_ns ? journal_begin(TABLE_CONTEXTS_PAST) : NULL;

	if (!entry)
		return;
	memcpy(entry, (const void *)record, sizeof(*record));
	/* Without the fence the compiler copies all but the fields that are stored below, in parts that lie
	 * across cache lines. */
	atomic_signal_fence(memory_order_seq_cst);
	entry->slot = slot;
	entry->freed_ns = freed_ns;
	copy_identity(entry);
	journal_end(TABLE_CONTEXTS_PAST, sizeof(*entry));
}
