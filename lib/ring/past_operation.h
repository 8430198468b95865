/* SPDX-License-Identifier: MIT */
/* Writes to the journals of the table which batches are over, and, while somebody records, which operations.
 */
#ifndef CTX_PAST_OPERATION_H
#define CTX_PAST_OPERATION_H

#include <stddef.h>
#include <string.h>

#include "journal.h"
#include "ring.h"

/* Writes a batch whose operations have all ended. */
void past_write_batch(const struct ctx_ring *ring, const struct batch *batch);

/* Whether somebody records, after control_is_on() has said so. One look at the clock for all that a turn
 * delivers. */
bool past_confirm(struct ctx_ring *ring);

/* The entry is a copy of the record, with the result in the place of seq. */
_Static_assert(offsetof(struct ctx_table_operation_past, end_ns) == sizeof(struct ctx_table_operation) &&
		       offsetof(struct ctx_table_operation_past, since_ns) ==
			       offsetof(struct ctx_table_operation, since_ns),
	       "what is past is copied");

/* Writes the operation in slot, which is about to be freed, after past_confirm() has said that somebody
 * records. */
static inline void past_write_recorded(const struct ctx_ring *ring, const struct slot *slot, int result)
{
	if (slot->record == &ring->records.none)
		return;
	struct ctx_table_operation_past *entry = journal_begin(TABLE_OPERATIONS_PAST);
	if (!entry)
		return;
	memcpy(entry, (const void *)slot->record, sizeof(*slot->record));
	/* Without the fence the compiler copies all but the fields that are stored below, in more parts. */
	atomic_signal_fence(memory_order_seq_cst);
	entry->result = result;
	entry->end_ns = ring->done.past_ns;
	journal_end(TABLE_OPERATIONS_PAST, sizeof(*entry));
}

/* Writes the operation in slot, which is about to be freed, if somebody records. */
void past_write_operation(struct ctx_ring *ring, const struct slot *slot, int result);

static inline void past_operation_ended(struct ctx_ring *ring, const struct slot *slot, int result)
{
	if (control_is_on())
		past_write_operation(ring, slot, result);
}

/* The time for the records of operations that are submitted. Exact only while somebody records. */
static inline uint64_t past_submit_ns(struct ctx_ring *ring)
{
	return control_is_on() ? clock_now_ns() : clock_recent_ns(&ring->times.recent);
}

#endif
