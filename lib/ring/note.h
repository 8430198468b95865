/* SPDX-License-Identifier: MIT */
/* Notes what completions say, without calling a function of the program. To note one twice does no harm. */
#ifndef CTX_NOTE_H
#define CTX_NOTE_H

#include "ring.h"

/* ---- the parts of a user_data of ours */

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

/*
 * The result of the operation whose final completion is cqe. The final completion of a zero-copy send is its
 * notification, and its result came with the completion before that. An operation that parks may have come to
 * its result in several attempts.
 */
static inline int note_result(const struct operation *op, const struct io_uring_cqe *cqe)
{
	return (cqe->flags & IORING_CQE_F_NOTIF) || (op->marks & OP_RESULT) ? op->res : cqe->res;
}

/* Notes what a completion says, without delivering it. CTX_FILTER_OP: *ret_op is its operation. */
enum ctx_filter note_completion(struct ctx_ring *ring, const struct io_uring_cqe *cqe,
				struct operation **ret_op);

/* Notes the completions in the queue of our own io_uring, and moves them to the spill. */
void note_harvest(struct ctx_ring *ring);

/*
 * The same for our completions in an adopted ring. The program's completions stay in its queue, in their
 * order.
 */
void note_extract(struct ctx_ring *ring);

/* Notes the completions in the queue of an adopted ring, and leaves them there. */
void note_in_place(struct ctx_ring *ring);

/* All operations of batch have ended: has it reported by the end of the turn. */
void note_batch_over(struct ctx_ring *ring, struct batch *batch);

/* Counts the final completion of op, which has OP_DOOMED, for its batch. */
static inline void note_batch(const struct operation *op, bool cancelled)
{
	struct batch *batch = op->group->batch;

	if (__builtin_expect(!batch, 0))
		return;
	if (cancelled)
		batch->record.cancelled++;
	else
		batch->record.finished++;
	if (__builtin_expect(!--batch->record.held, 0)) {
		batch->record.reap_ns = clock_now_ns() - batch->start_ns;
		note_batch_over(op->group->ring, batch);
	}
}

#endif
