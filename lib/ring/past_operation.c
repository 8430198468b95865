/* SPDX-License-Identifier: MIT */
#include "past_operation.h"

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

bool past_confirm(struct ctx_ring *ring)
{
	if (!ring->done.past_ns)
		ring->done.past_ns = clock_now_ns();
	return ring->record && control_confirm(ring->done.past_ns);
}

void past_write_operation(struct ctx_ring *ring, const struct slot *slot, int result)
{
	if (past_confirm(ring))
		past_write_recorded(ring, slot, result);
}
