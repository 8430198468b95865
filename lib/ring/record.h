/* SPDX-License-Identifier: MIT */
/*
 * Writes the record of an operation in the context table, by plain stores in an order that readers can check.
 */
#ifndef CTX_RECORD_H
#define CTX_RECORD_H

#include <string.h>

#include "ring.h"
#include "table.h"

/* opcode and group are those of op: the caller knows them, and the compiler does not know that it does. */
static inline void record_in_slot(const struct operation *op, const struct group *group, uint8_t opcode,
				  struct slot *slot, uint64_t now_ns, unsigned flags)
{
	struct ctx_table_operation *record = slot->record;

	slot->since_ns = now_ns;
	uint32_t before = table_write_begin(&record->seq);
	/* its slot and its generation */
	memcpy(&record->context_slot, &group->table_slot, 2 * sizeof(uint32_t));
	record->fd = op->sqe.fd;
	record->opcode = opcode;
	record->since_ns = now_ns;
	atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
	table_write_end_of(&record->seq, before);
}

static inline void record_operation(const struct ctx_ring *ring, const struct operation *op, uint64_t now_ns,
				    unsigned flags)
{
	record_in_slot(op, op->group, op->opcode, &ring->ops.slots[op->slot], now_ns, flags);
}

static inline void record_set_flags(const struct ctx_ring *ring, const struct operation *op, unsigned flags)
{
	struct ctx_table_operation *record = ring->ops.slots[op->slot].record;

	atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
}

static inline void record_add_flag(const struct ctx_ring *ring, const struct operation *op, unsigned flag)
{
	struct ctx_table_operation *record = ring->ops.slots[op->slot].record;

	unsigned flags = atomic_load_explicit(&record->flags, memory_order_relaxed) | flag;
	atomic_store_explicit(&record->flags, (uint8_t)flags, memory_order_relaxed);
}

#endif
