/* SPDX-License-Identifier: MIT */
#include "past_operation.h"

#include <stddef.h>
#include <string.h>

#include "note.h"

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

/* The entry is a copy of the record, with the result in the place of seq. */
_Static_assert(offsetof(struct ctx_table_operation_past, end_ns) == sizeof(struct ctx_table_operation) &&
		       offsetof(struct ctx_table_operation_past, since_ns) ==
			       offsetof(struct ctx_table_operation, since_ns),
	       "what is past is copied");

/* Whether somebody records. One look at the clock for all that a turn delivers. */
static bool is_recorded(struct ctx_ring *ring)
{
	if (!ring->done.past_ns)
		ring->done.past_ns = clock_now_ns();
	return ring->record && control_confirm(ring->done.past_ns);
}

/* Marks the operation in slot as written: the time of its submission is not needed any more. */
static inline void write_operation(const struct ctx_ring *ring, struct slot *slot, int result)
{
	struct ctx_table_operation_past *entry = journal_begin(TABLE_OPERATIONS_PAST);

	if (!entry)
		return;
	memcpy(entry, (const void *)slot->record, sizeof(*slot->record));
	entry->result = result;
	entry->end_ns = ring->done.past_ns;
	slot->since_ns = 0;
	journal_end(TABLE_OPERATIONS_PAST, sizeof(*entry));
}

void past_write_operation(struct ctx_ring *ring, struct slot *slot, int result)
{
	if (slot->since_ns && is_recorded(ring) && slot->record != &ring->ops.no_record)
		write_operation(ring, slot, result);
}

void past_write_queued(struct ctx_ring *ring, unsigned head, unsigned end)
{
	const struct io_uring_cq *cq = &ring->uring->cq;

	if (!is_recorded(ring))
		return;
	for (; head != end; head++) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
		uint64_t value = cqe->user_data ^ ring->tag;
		if (note_slot(value) >= ring->ops.slot_count || cqe->flags & IORING_CQE_F_MORE)
			continue;
		struct slot *slot = &ring->ops.slots[note_slot(value)];
		/* What is not plain is written when it is delivered: its result may become another one. */
		if (slot->generation == value >> GENERATION_SHIFT && slot->op && !slot->op->marks &&
		    cqe->res != -ECANCELED && slot->since_ns && slot->record != &ring->ops.no_record)
			write_operation(ring, slot, cqe->res);
	}
}
