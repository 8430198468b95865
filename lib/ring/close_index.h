/* SPDX-License-Identifier: MIT */
/*
 * An index of the operations that the kernel has, by descriptor, for ctx_ring_close_fd. A ring gets it when a
 * descriptor is closed that way while there are many operations. Programs that close otherwise pay nothing
 * for it.
 */
#ifndef CTX_CLOSE_INDEX_H
#define CTX_CLOSE_INDEX_H

#include "ring.h"

/* The place of an operation in the index. There is one for each slot of the ring. */
struct close_place {
	uint32_t next, previous; /* slots of the same bucket; 0: none */
	int32_t fd;		 /* -1: in no bucket */
};

struct close_index {
	uint32_t capacity; /* the number of places and of buckets, a power of two */
	uint32_t *buckets; /* by descriptor: the first slot, 0: none */
	struct close_place *places;
	uint64_t looks; /* how many places were looked at, for tests */
};

/* Adds the operations of the queue's entries from first to end. Without memory the ring loses its index. */
void close_index_add(struct ctx_ring *ring, unsigned first, unsigned end);
void close_index_free(struct ctx_ring *ring);

/*
 * Goes through the operations that the kernel has on fd: returns the next one, NULL at the end. *cursor is 0
 * before the first call. The operation that it returns may be cancelled, but none may be submitted between
 * two calls. Each call is O(1). A ring with few slots, or without memory for the index, looks at all its
 * slots instead, once in all the calls.
 */
struct operation *close_index_next(struct ctx_ring *ring, int fd, uint32_t *cursor);

/*
 * Adds the operations that have been put into the queue since its tail was first, if the ring has an index.
 */
static inline void close_index_note(struct ctx_ring *ring, unsigned first)
{
	if (__builtin_expect(ring->close_index != NULL, 0))
		close_index_add(ring, first, ring->uring->sq.sqe_tail);
}

#endif
