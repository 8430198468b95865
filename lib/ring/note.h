/* SPDX-License-Identifier: MIT */
/* Taking in what completions say, without calling anybody. Again does no harm. */
#ifndef CTX_NOTE_H
#define CTX_NOTE_H

#include "ring.h"

/* ---- what a user_data of ours says */

static inline uint32_t note_slot(uint64_t value)
{
	return (uint32_t)value & SLOT_MASK;
}

static inline uint32_t note_generation(uint64_t value)
{
	return (uint32_t)(value >> GENERATION_SHIFT) & GENERATION_MASK;
}

static inline struct operation *note_find(const struct ctx_ring *ring, uint64_t value)
{
	return slot_find(ring, note_slot(value), note_generation(value));
}

static inline enum completion_kind note_kind(uint64_t value)
{
	return (enum completion_kind)(value >> KIND_SHIFT & 3);
}

#ifndef IORING_CQE_F_NOTIF
#define IORING_CQE_F_NOTIF (1U << 3)
#endif

/* The notification of a zero-copy send is its final completion, with the result of the one before it. What
 * parked may have come to its result in several attempts. */
static inline int note_result(const struct operation *op, const struct io_uring_cqe *cqe)
{
	return (cqe->flags & IORING_CQE_F_NOTIF) || (op->marks & OP_RESULT) ? op->res : cqe->res;
}

/* Takes in what a CQE says, without delivering it. */
enum ctx_filter note_completion(struct ctx_ring *ring, const struct io_uring_cqe *cqe,
				struct operation **ret_op);

/* Moves the kernel's completions of a ring that we own to the spill, noted. */
void note_harvest(struct ctx_ring *ring);

/* The same for our completions in an adopted ring; the program's stay in its queue, in order. */
void note_extract(struct ctx_ring *ring);

/* Notes what is in an adopted ring's queue and leaves it there. */
void note_in_place(struct ctx_ring *ring);

/* Counts a final completion for the batch that op is in. */
void note_batch(struct operation *op, bool cancelled);

/* All operations of a batch have ended: it is to be reported. */
void note_batch_over(struct ctx_ring *ring, struct batch *batch);

#endif
