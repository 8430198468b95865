/* SPDX-License-Identifier: MIT */
#include "close_index.h"

#include <string.h>

#include "memory.h"

/* A ring with no more slots than this has no index: all slots are looked at. */
#define FEW 256u

static uint32_t *bucket_of(struct close_index *index, int fd)
{
	return &index->buckets[(uint32_t)fd & (index->capacity - 1)];
}

static void index_remove(struct close_index *index, uint32_t slot)
{
	struct close_place *place = &index->places[slot];

	if (place->fd < 0)
		return;
	if (place->previous)
		index->places[place->previous].next = place->next;
	else
		*bucket_of(index, place->fd) = place->next;
	if (place->next)
		index->places[place->next].previous = place->previous;
	place->fd = -1;
}

static void index_insert(struct close_index *index, uint32_t slot, int fd)
{
	uint32_t *first = bucket_of(index, fd);

	index_remove(index, slot);
	index->places[slot] = (struct close_place){.next = *first, .fd = fd};
	if (*first)
		index->places[*first].previous = slot;
	*first = slot;
}

static bool is_held(const struct operation *op, int fd)
{
	return op && op->phase == OP_KERNEL && !(op->marks & OP_SEEN) && op_is_on(op, fd);
}

void close_index_free(struct ctx_ring *ring)
{
	struct close_index *index = ring->close_index;

	if (!index)
		return;
	ring->close_index = NULL;
	memory_release(index->buckets);
	memory_release(index->places);
	memory_release(index);
}

/*
 * Builds the index of all operations that the kernel has now, also in place of one that has become too small.
 * False: there is no memory, and no index.
 */
static bool index_build(struct ctx_ring *ring)
{
	struct close_index *index = memory_allocate(sizeof(*index));
	uint32_t capacity = ring->ops.slot_count;

	close_index_free(ring);
	if (!index)
		return false;
	*index = (struct close_index){
		.capacity = capacity,
		.buckets = memory_allocate(capacity * sizeof(uint32_t)),
		.places = memory_allocate(capacity * sizeof(struct close_place)),
	};
	ring->close_index = index;
	if (!index->buckets || !index->places) {
		close_index_free(ring);
		return false;
	}
	memset(index->buckets, 0, capacity * sizeof(uint32_t));
	for (uint32_t slot = 0; slot < capacity; slot++)
		index->places[slot].fd = -1;
	for (uint32_t slot = 1; slot < capacity; slot++) {
		const struct operation *op = ring->ops.slots[slot].op;
		if (op && op->sqe.fd >= 0 && is_held(op, op->sqe.fd))
			index_insert(index, slot, op->sqe.fd);
	}
	return true;
}

void close_index_add(struct ctx_ring *ring, unsigned first, unsigned end)
{
	const struct io_uring_sq *sq = &ring->uring->sq;

	for (unsigned i = first; i != end; i++) {
		uint64_t value = sq->sqes[i & sq->ring_mask].user_data;
		uint32_t slot = (uint32_t)value & SLOT_MASK;
		if ((value ^ ring->tag) >> KIND_SHIFT) /* not the request of an operation */
			continue;
		if (slot >= ring->close_index->capacity) {
			index_build(ring);
			return;
		}
		const struct operation *op = ring->ops.slots[slot].op;
		if (op->sqe.fd >= 0 && op_is_on(op, op->sqe.fd))
			index_insert(ring->close_index, slot, op->sqe.fd);
	}
}

static struct operation *next_in_slots(struct ctx_ring *ring, int fd, uint32_t *cursor)
{
	while (++*cursor < ring->ops.slot_count)
		if (is_held(ring->ops.slots[*cursor].op, fd))
			return ring->ops.slots[*cursor].op;
	return NULL;
}

/* Returns the next operation on fd. Operations on the way to it that have left the kernel are removed. */
static struct operation *next_indexed(struct ctx_ring *ring, int fd, uint32_t *cursor)
{
	struct close_index *index = ring->close_index;
	uint32_t slot = *cursor ? index->places[*cursor].next : *bucket_of(index, fd);

	while (slot) {
		const struct close_place place = index->places[slot];
		struct operation *op = ring->ops.slots[slot].op;
		index->looks++;
		if (!is_held(op, place.fd)) {
			index_remove(index, slot);
		} else if (place.fd == fd) {
			*cursor = slot;
			return op;
		}
		slot = place.next;
	}
	return NULL;
}

struct operation *close_index_next(struct ctx_ring *ring, int fd, uint32_t *cursor)
{
	if (!*cursor && !ring->close_index && ring->ops.slot_count > FEW)
		index_build(ring);
	return ring->close_index ? next_indexed(ring, fd, cursor) : next_in_slots(ring, fd, cursor);
}
