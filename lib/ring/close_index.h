/* SPDX-License-Identifier: MIT */
/*
 * Which operations the kernel has on a descriptor, for those who close it. A ring has this index from the
 * first time on that it has many operations to look through: programs that close otherwise pay nothing for
 * it.
 */
#ifndef CTX_CLOSE_INDEX_H
#define CTX_CLOSE_INDEX_H

#include "ring.h"

/* Where an operation stands: one for each slot of the ring. */
struct close_place {
	uint32_t next, previous; /* slots of the same bucket; 0: none */
	int32_t fd;		 /* -1: in no bucket */
};

struct close_index {
	uint32_t capacity; /* of places, a power of two; as many buckets */
	uint32_t *buckets; /* by descriptor: the first slot, 0: none */
	struct close_place *places;
	uint64_t looks; /* at places, for tests */
};

/* These entries of the kernel's queue are new. Without memory the index is given up. */
void close_index_add(struct ctx_ring *ring, unsigned first, unsigned end);
void close_index_free(struct ctx_ring *ring);

/*
 * Goes through what the kernel has on fd: *cursor is 0 before the first call. NULL: there is no more. The
 * operation that it returns may be cancelled, but no new one be submitted in between. O(1) each, but for
 * rings of few operations, and without memory: then the whole takes a look at each slot.
 */
struct operation *close_index_next(struct ctx_ring *ring, int fd, uint32_t *cursor);

/* What has been put into the kernel's queue since its tail was first, if the ring has an index. */
static inline void close_index_note(struct ctx_ring *ring, unsigned first)
{
	if (__builtin_expect(ring->close_index != NULL, 0))
		close_index_add(ring, first, ring->uring->sq.sqe_tail);
}

#endif
