/* SPDX-License-Identifier: MIT */
#include "past_context.h"

#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "journal.h"
#include "table.h"

/* Whether somebody records is looked at where the time is known, and whenever a chunk is full: not at each
 * context that ended by itself. now_ns: 0 where it is not known. NULL: nobody does, or there is no table. */
static inline struct ctx_table_context_past *past_begin_context(uint64_t now_ns)
{
	if (now_ns || !journal_has_room(TABLE_CONTEXTS_PAST)) {
		if (!control_confirm(now_ns ? now_ns : clock_coarse_ns()))
			return NULL;
	}
	return journal_begin(TABLE_CONTEXTS_PAST);
}

/* The entry is a copy of the record, in which the following fields are in other places. */
_Static_assert(offsetof(struct ctx_table_context_past, freed_ns) == sizeof(struct ctx_table_context) &&
		       offsetof(struct ctx_table_context_past, generation) ==
			       offsetof(struct ctx_table_context, generation) &&
		       offsetof(struct ctx_table_context_past, label) ==
			       offsetof(struct ctx_table_context, label),
	       "what is past is copied");

/* The identity that ctx_extract gave to the context, or zeroes. */
static void copy_identity(const struct ctx_context *ctx, struct ctx_table_context_past *entry)
{
	const struct ctx_table_identity *identity = &table_map.identities[ctx->slot];

	memset(entry->trace, 0, sizeof(entry->trace));
	memset(entry->sender, 0, sizeof(entry->sender));
	/* Reading the holes of a sparse file would allocate memory. */
	if (ctx->slot >= atomic_load_explicit(&table_map.header->identities.used, memory_order_relaxed) ||
	    atomic_load_explicit(&identity->generation, memory_order_relaxed) != ctx->generation)
		return;
	memcpy(entry->trace, identity->trace, sizeof(entry->trace));
	memcpy(entry->sender, identity->sender, sizeof(entry->sender));
}

void past_write_context(const struct ctx_context *ctx)
{
	const struct ctx_table_context *record = table_context(ctx->slot);
	uint32_t state = atomic_load_explicit(&record->state, memory_order_relaxed);
	/* To read the clock would take a tenth of the time of making and ending a context. One that ended by
	 * itself has its time. */
	uint64_t freed_ns = state & CTX_TABLE_OWN ? record->done_ns : clock_coarse_ns();

	struct ctx_table_context_past *entry = past_begin_context(state & CTX_TABLE_OWN ? 0 : freed_ns);
	if (!entry)
		return;
	memcpy(entry, (const void *)record, sizeof(*record));
	entry->slot = ctx->slot;
	entry->freed_ns = freed_ns;
	copy_identity(ctx, entry);
	journal_end(TABLE_CONTEXTS_PAST, sizeof(*entry));
}
