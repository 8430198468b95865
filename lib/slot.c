/* SPDX-License-Identifier: MIT */
/*
 * user_data of an operation is a slot and the generation of its use, so that a late
 * completion or cancel of an earlier operation never reaches a later one. The
 * record of the operation in the context table goes with the slot.
 */
#include <string.h>

#include "memory.h"
#include "ring.h"
#include "table.h"

#define SLOTS_FIRST 64u
#define SLOTS_MAX (SLOT_MASK + 1u)

/* Doubles the slots. On failure the ring is as it was. */
static int grow(struct ctx_ring *ring)
{
	uint32_t old = ring->slot_count, count = old ? old * 2 : SLOTS_FIRST, first = 0;

	if (count > SLOTS_MAX || ring->run_count == sizeof(ring->runs) / sizeof(ring->runs[0]))
		return -ENOMEM;
	struct slot *slots = memory_allocate(count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	if (old)
		memcpy(slots, ring->slots, old * sizeof(*slots));
	if (!ring->record || table_operations_new(count - old, &first) < 0)
		first = 0;
	else {
		ring->runs[ring->run_count].first = first;
		ring->runs[ring->run_count++].count = count - old;
	}
	/* The lowest is given out first. Slot 0 stands for none. */
	for (uint32_t i = count; i-- > (old ? old : 1);) {
		slots[i] = (struct slot){.generation = 1, .next_free = ring->slot_free};
		slots[i].record = first ? table_operation(first + i - old) : NULL;
		ring->slot_free = i;
	}
	memory_release(ring->slots);
	ring->slots = slots;
	ring->slot_count = count;
	return 0;
}

int slot_take(struct ctx_ring *ring, struct operation *op)
{
	if (!ring->slot_free) {
		int error = grow(ring);
		if (error)
			return error;
	}
	struct slot *slot = &ring->slots[ring->slot_free];
	op->slot = ring->slot_free;
	op->generation = slot->generation;
	ring->slot_free = slot->next_free;
	slot->op = op;
	return 0;
}

void slot_release(struct ctx_ring *ring, struct operation *op)
{
	struct slot *slot = &ring->slots[op->slot];

	if (slot->record)
		__atomic_store_n(&slot->record->flags, 0, __ATOMIC_RELEASE);
	slot->op = NULL;
	slot->generation = slot->generation == GENERATION_MASK ? 1 : slot->generation + 1;
	slot->next_free = ring->slot_free;
	ring->slot_free = op->slot;
	op->slot = 0;
}

struct operation *slot_find(const struct ctx_ring *ring, uint32_t slot, uint32_t generation)
{
	if (slot >= ring->slot_count || ring->slots[slot].generation != generation)
		return NULL;
	return ring->slots[slot].op;
}

void slots_free(struct ctx_ring *ring)
{
	for (unsigned i = 0; i < ring->run_count; i++)
		table_operations_free(ring->runs[i].first, ring->runs[i].count);
	memory_release(ring->slots);
}
