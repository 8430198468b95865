/* SPDX-License-Identifier: MIT */
/*
 * Slots. The user_data of an operation is its slot and a generation, which is another at each use of the
 * slot. So a late completion or cancel of an earlier operation never reaches a later one. The record of the
 * operation in the context table goes with the slot.
 */
#include <string.h>

#include "memory.h"
#include "ring.h"
#include "table.h"

#define SLOTS_FIRST 64u
#define SLOTS_MAX (SLOT_MASK + 1u)

int slots_grow(struct ctx_ring *ring)
{
	uint32_t old = ring->ops.slot_count, count = old ? old * 2 : SLOTS_FIRST, first = 0;

	if (count > SLOTS_MAX ||
	    ring->records.run_count == sizeof(ring->records.runs) / sizeof(ring->records.runs[0]))
		return -ENOMEM;
	struct slot *slots = memory_allocate(count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	if (old)
		memcpy(slots, ring->ops.slots, old * sizeof(*slots));
	else /* No operation has slot 0, but a user_data that is not ours may name it. */
		slots[0] = (struct slot){0};
	if (!ring->record || table_operations_new(count - old, &first) < 0)
		first = 0;
	else {
		ring->records.runs[ring->records.run_count].first = first;
		ring->records.runs[ring->records.run_count++].count = count - old;
	}
	/* The lowest slot is given out first. Slot 0 stands for none. */
	for (uint32_t i = count; i-- > (old ? old : 1);) {
		slots[i] = (struct slot){.generation = 1, .next_free = ring->ops.slot_free};
		slots[i].record = first ? table_operation(first + i - old) : &ring->records.none;
		slots[i].record->ring = (uint16_t)ring->table_slot;
		ring->ops.slot_free = i;
	}
	memory_release(ring->ops.slots);
	ring->ops.slots = slots;
	ring->ops.slot_count = count;
	return 0;
}

void slots_free(struct ctx_ring *ring)
{
	for (unsigned i = 0; i < ring->records.run_count; i++)
		table_operations_free(ring->records.runs[i].first, ring->records.runs[i].count);
	memory_release(ring->ops.slots);
}
