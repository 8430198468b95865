/* SPDX-License-Identifier: MIT */
#include "past_operation.h"

#include <string.h>

void past_write_batch(const struct ctx_ring *ring, const struct batch *batch)
{
	const struct ctx_batch *record = &batch->record;
	struct ctx_table_end *entry = ring->record ? journal_begin(TABLE_ENDS) : NULL;

	if (!entry)
		return;
	entry->type = CTX_TABLE_END_BATCH;
	entry->context_slot = (uint32_t)record->ctx_id;
	entry->context_generation = (uint32_t)(record->ctx_id >> 32);
	entry->tid = ring->owner.tid;
	entry->time_ns = batch->start_ns;
	entry->batch.submit_ns = record->submit_ns;
	entry->batch.reap_ns = record->reap_ns;
	entry->batch.ring = ring->table_slot;
	entry->batch.operations = record->operations;
	entry->batch.unsent = record->unsent;
	entry->batch.timed = record->timed;
	entry->batch.sqes = record->sqes;
	entry->batch.enters = record->enters;
	entry->batch.cancelled = record->cancelled;
	entry->batch.finished = record->finished;
	entry->batch.origin_slot = (uint32_t)batch->origin_id;
	entry->batch.origin_generation = (uint32_t)(batch->origin_id >> 32);
	journal_end(TABLE_ENDS, sizeof(*entry));
}

void past_write_operation(struct ctx_ring *ring, const struct slot *slot, int result)
{
	const struct ctx_table_operation *record = slot->record;

	/* One look at the clock for all that a turn delivers. */
	if (!ring->done.past_ns)
		ring->done.past_ns = clock_now_ns();
	if (!control_confirm(ring->done.past_ns) || record == &ring->ops.no_record)
		return;
	struct ctx_table_operation_past *entry = journal_begin(TABLE_OPERATIONS_PAST);
	if (!entry)
		return;
	entry->context_slot = record->context_slot;
	entry->context_generation = record->context_generation;
	entry->since_ns = slot->since_ns;
	entry->end_ns = ring->done.past_ns;
	entry->result = result;
	entry->fd = record->fd;
	entry->opcode = record->opcode;
	entry->flags = atomic_load_explicit(&record->flags, memory_order_relaxed);
	entry->ring = record->ring;
	entry->reserved = 0;
	journal_end(TABLE_OPERATIONS_PAST, sizeof(*entry));
}
