/* SPDX-License-Identifier: MIT */
/*
 * Writes the record of an operation in the context table, by plain stores in an order that readers can check.
 */
#ifndef CTX_RECORD_H
#define CTX_RECORD_H

#include "ring.h"
#include "table.h"

static inline void record_operation(const struct ctx_ring *ring, const struct operation *op, uint64_t now_ns,
				    unsigned flags)
{
	struct slot *slot = &ring->ops.slots[op->slot];
	struct ctx_table_operation *record = slot->record;

	slot->since_ns = now_ns;
	if (!record)
		return;
	table_write_begin(&record->seq);
	record->context_slot = op->group->table_slot;
	record->context_generation = op->group->table_generation;
	record->fd = op->sqe.fd;
	record->opcode = op->opcode;
	record->ring = (uint16_t)ring->table_slot;
	record->since_ns = now_ns;
	atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
	table_write_end(&record->seq);
}

static inline void record_set_flags(const struct ctx_ring *ring, const struct operation *op, unsigned flags)
{
	struct ctx_table_operation *record = ring->ops.slots[op->slot].record;

	if (record)
		atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
}

static inline void record_add_flag(const struct ctx_ring *ring, const struct operation *op, unsigned flag)
{
	struct ctx_table_operation *record = ring->ops.slots[op->slot].record;

	if (!record)
		return;
	unsigned flags = atomic_load_explicit(&record->flags, memory_order_relaxed) | flag;
	atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
}

#endif
