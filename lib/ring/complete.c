/* SPDX-License-Identifier: MIT */
/*
 * Delivers completions that have been noted (note.c): the operation becomes the program's again, and its
 * callback is called.
 */
#include <string.h>

#include "counters.h"
#include "note.h"
#include "park.h"
#include "park_queue.h"
#include "past_operation.h"
#include "record.h"
#include "ring.h"
#include "usdt.h"

#define NOTIF_USAGE (1U << 31) /* IORING_NOTIF_USAGE_ZC_COPIED, Linux 6.2 */

/* The result and the flags of a completion are copied together: the kernel, the program and op have them
 * alike. */
#define RESULT_SIZE (sizeof(int32_t) + sizeof(uint32_t))
_Static_assert(offsetof(struct io_uring_cqe, flags) == offsetof(struct io_uring_cqe, res) + 4,
	       "side by side");
_Static_assert(offsetof(struct ctx_completion, flags) == offsetof(struct ctx_completion, res) + 4,
	       "side by side");
_Static_assert(offsetof(struct operation, cqe_flags) == offsetof(struct operation, res) + 4, "side by side");

/*
 * The flags of a completion as the program gets them. The notification of a zero-copy send has no result; its
 * field says whether the kernel copied the data after all. That is put among the flags, where it takes the
 * place of no other: a notification has no buffer.
 */
static unsigned flags_of(const struct io_uring_cqe *cqe)
{
	return cqe->flags & IORING_CQE_F_NOTIF ? cqe->flags | ((unsigned)cqe->res & NOTIF_USAGE) : cqe->flags;
}

static bool returns_fd(const struct operation *op)
{
	switch (op->sqe.opcode) {
	case IORING_OP_ACCEPT:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_SOCKET:
		return true;
	default:
		return false;
	}
}

/*
 * Closes the descriptor that an operation returned, if the operation was ended and nobody waits for it any
 * more. True: it was closed.
 */
static bool close_unwanted(struct ctx_ring *ring, const struct operation *op, int res)
{
	if (res < 0 || !returns_fd(op))
		return false;
	if (!(op->marks & (OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT)) && !context_error(op->group->watch.ctx))
		return false;
	if (!op->sqe.file_index) {
		sys_close(res);
		return true;
	}
	/* A fixed file: its index is the result with IORING_FILE_INDEX_ALLOC, else it is in the SQE. */
	int none = -1;
	struct io_uring_files_update update = {
		.offset = op->sqe.file_index == (uint32_t)IORING_FILE_INDEX_ALLOC ? (uint32_t)res
										  : op->sqe.file_index - 1,
		.fds = (uint64_t)(uintptr_t)&none,
	};
	/* Where restrictions of the io_uring forbid this, the file is delivered. */
	return uring_register(ring->uring, IORING_REGISTER_FILES_UPDATE, &update, 1) >= 0;
}

/* Makes op, which is in no list, the program's again, and counts that. */
static inline void end_operation(struct ctx_ring *ring, struct operation *op, struct group *group,
				 enum ctx_op_end end)
{
	op->marks = OP_COMPLETE;
	op_set_phase(op, OP_IDLE);
	op->end = (uint8_t)end;
	ring->ops.live--;
	if (group)
		group_leave(group);
}

/* Whether op ended because its context did, and not for a cancel or a timeout of its own. */
static bool ended_with_context(const struct operation *op, enum ctx_op_end end)
{
	return (end == CTX_OP_CANCELLED || end == CTX_OP_DEADLINE) && context_error(op->group->watch.ctx);
}

/* Makes op the program's again and calls its callback. After this the memory of op may be gone. */
static inline void deliver_final(struct ctx_ring *ring, struct operation *op, int res, unsigned flags,
				 enum ctx_op_end end, struct op_listener *listener,
				 struct ctx_completion *ret_completion)
{
	struct ctx_completion completion = {.res = res, .flags = flags, .end = end};

	list_unlink(&op->link);
	op->res = res;
	op->cqe_flags = flags;
	if (op->group) { /* without one it was refused when it was staged */
		counters_operations_finish(op->group->stem, 1, ended_with_context(op, end));
		usdt_operation_complete(ring, op->group->table_slot, op->group->table_generation, op->opcode,
					res, op);
	}
	end_operation(ring, op, op->group, end);
	if (ret_completion)
		*ret_completion = completion;
	void (*delivered)(struct op_listener *) = listener ? listener->delivered : NULL;
	if (listener)
		listener->ended(listener, op, &completion);
	if (op->callback)
		op->callback(ring, op_public(op), &completion);
	if (delivered && ring_is_here(ring))
		delivered(listener);
}

static struct op_listener *listener_of(const struct operation *op)
{
	if (__builtin_expect(!(op->marks & OP_TASK), 1))
		return NULL;
	return op->group ? op->group->listener : op->listener;
}

static void finish_operation(struct ctx_ring *ring, struct operation *op, int res, unsigned flags,
			     struct ctx_completion *ret_completion)
{
	enum ctx_op_end end = CTX_OP_FINISHED;

	res = op_normal_result(op, res);
	if ((op->marks & OP_PARK) && res >= 0 && returns_fd(op) && !op->sqe.file_index)
		park_returned(ring, res);
	/* The kernel ended op at the deadline of its context, so the context has reached it, too. */
	if (op->marks & OP_EXPIRED)
		context_expire(op->group->watch.ctx, clock_now_ns());
	if ((op->marks & OP_CLOSE_FD) && close_unwanted(ring, op, res))
		res = -ECANCELED;
	if (res == -ECANCELED)
		end = op->marks & OP_TIMED_OUT ? CTX_OP_TIMEOUT : group_op_end(op->group);
	if (op->timer)
		op_timer_stop(ring, op);
	past_operation_ended(ring, &ring->ops.slots[op->slot], res);
	slot_release(ring, op);
	deliver_final(ring, op, res, flags, end, listener_of(op), ret_completion);
}

/*
 * Notes and delivers in one step the completion of an operation that its batch cancelled. False: it is of
 * another kind.
 */
static bool deliver_cancelled(struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	struct operation *op;

	if (cqe->res != -ECANCELED || (cqe->flags & IORING_CQE_F_MORE) ||
	    (cqe->user_data ^ ring->tag) >> KIND_SHIFT)
		return false;
	op = note_find(ring, cqe->user_data);
	if (!op || op->marks != (OP_DOOMED | OP_CANCEL_SENT))
		return false;
	op->group->in_kernel--;
	ring->ops.in_kernel--;
	note_batch(op, true);
	past_operation_ended(ring, &ring->ops.slots[op->slot], cqe->res);
	slot_release(ring, op);
	deliver_final(ring, op, cqe->res, cqe->flags, group_op_end(op->group), NULL, NULL);
	return true;
}

/*
 * Plain completions of operations of one stem, which are counted together: from the place first in the queue
 * on. What is not plain is counted by itself, and makes first one more.
 */
struct finished_run {
	unsigned stem;
	unsigned first;
};

/* end is the place behind the last one. */
static inline void end_finished_run(const struct finished_run *run, unsigned end)
{
	if (end != run->first)
		counters_operations_finish(run->stem, end - run->first, 0);
}

static __attribute__((noinline, cold)) void begin_finished_run(struct finished_run *run, unsigned stem,
							       unsigned first)
{
	end_finished_run(run, first);
	*run = (struct finished_run){.stem = stem, .first = first};
}

/*
 * Notes and delivers in one step a plain completion: it is final, and nothing else has happened to the
 * operation. Takes it out of the queue, in which head is the place behind it. False: it is of another kind,
 * and still in the queue.
 */
static inline __attribute__((always_inline)) bool deliver_plain(struct ctx_ring *ring,
								const struct io_uring_cqe *cqe,
								unsigned *khead, unsigned head,
								struct finished_run *run, bool recorded)
{
	/*
	 * Without the tag, of an operation, this is the generation and the slot. Of anything else it is
	 * greater than any of these.
	 */
	uint64_t value = cqe->user_data ^ ring->tag;

	if (note_slot(value) >= ring->ops.slot_count)
		return false;
	struct slot *slot = &ring->ops.slots[note_slot(value)];
	struct operation *op = slot->op;
	uint32_t generation = slot->generation;
	if (generation != value >> GENERATION_SHIFT || !op || op->marks || cqe->res == -ECANCELED ||
	    (cqe->flags & IORING_CQE_F_MORE))
		return false;
	struct ctx_completion completion;
	memcpy(&completion.res, &cqe->res, RESULT_SIZE);
	completion.end = CTX_OP_FINISHED;
	completion.more = false;
	io_uring_smp_store_release(khead, head);
	struct group *group = op->group;
	group->in_kernel--;
	ring->ops.in_kernel--;
	if (__builtin_expect(group->stem != run->stem, 0))
		begin_finished_run(run, group->stem, head - 1);
	if (recorded)
		past_write_recorded(ring, slot, completion.res);
	slot_give_back(ring, note_slot(value), slot, generation);
	list_unlink(&op->link);
	memcpy(&op->res, &completion.res, RESULT_SIZE);
	usdt_operation_complete(ring, group->table_slot, group->table_generation, op->opcode, op->res, op);
	end_operation(ring, op, group, CTX_OP_FINISHED);
	if (op->callback)
		op->callback(ring, op_public(op), &completion);
	return true;
}

unsigned complete_deliver(struct ctx_ring *ring, struct operation *op, const struct io_uring_cqe *cqe,
			  struct ctx_completion *ret_completion)
{
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		finish_operation(ring, op, note_result(op, cqe), flags_of(cqe), ret_completion);
		return 1;
	}
	struct ctx_completion completion = {
		.res = op_normal_result(op, cqe->res), .flags = cqe->flags, .more = true};
	if (!(op->marks & OP_MULTISHOT)) {
		op_mark(op, OP_MULTISHOT);
		record_add_flag(ring, op, CTX_TABLE_OP_MULTISHOT);
	}
	if (ret_completion)
		*ret_completion = completion;
	if ((op->marks & OP_PARK) && cqe->res >= 0 && returns_fd(op) && !op->sqe.file_index)
		park_returned(ring, cqe->res);
	if ((op->marks & OP_CLOSE_FD) && close_unwanted(ring, op, cqe->res))
		return 0;
	if (op->callback)
		op->callback(ring, op_public(op), &completion);
	return 1;
}

void complete_deliver_ready(struct ctx_ring *ring, struct operation *op)
{
	if (op->phase == OP_PARKED)
		park_queue_leave(op);
	if (op->timer)
		op_timer_stop(ring, op);
	if (op->slot) {
		past_operation_ended(ring, &ring->ops.slots[op->slot], op->res);
		slot_release(ring, op);
	}
	deliver_final(ring, op, op->res, 0, (enum ctx_op_end)op->end, listener_of(op), NULL);
}

/* Notes and delivers a completion of any other kind. */
static __attribute__((noinline)) unsigned deliver_special(struct ctx_ring *ring,
							  const struct io_uring_cqe *cqe)
{
	struct operation *op;

	switch (note_completion(ring, cqe, &op)) {
	case CTX_FILTER_OP:
		return complete_deliver(ring, op, cqe, NULL);
	case CTX_FILTER_FOREIGN:
		if (ring->options.foreign) {
			ring->options.foreign(ring, cqe, ring->options.data);
			return 1;
		}
		return 0;
	default:
		return 0;
	}
}

/* Takes the oldest completion out of the spill or of our own io_uring's queue. */
static inline bool take_completion(struct ctx_ring *ring, struct io_uring_cqe *ret_cqe)
{
	if (ring->done.spill.head != ring->done.spill.tail) {
		*ret_cqe = ring->done.spill.cqes[ring->done.spill.head++];
		return true;
	}
	if (ring->adopted || !uring_cq_ready(ring->uring))
		return false;
	*ret_cqe = *uring_cqe(ring->uring, 0);
	uring_cq_advance(ring->uring, 1);
	return true;
}

/* Delivers a completion of any kind that is not in the queue any more. */
static unsigned deliver_any(struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	return deliver_cancelled(ring, cqe) ? 1 : deliver_special(ring, cqe);
}

/* Takes cqe, the oldest completion, out of the queue and delivers it. */
static __attribute__((noinline)) unsigned deliver_next(struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	const struct io_uring_cqe copy = {.user_data = cqe->user_data, .res = cqe->res, .flags = cqe->flags};

	uring_cq_advance(ring->uring, 1);
	return deliver_any(ring, &copy);
}

/* Delivers at most left completions, from the spill first. */
static __attribute__((noinline)) unsigned deliver_with_spill(struct ctx_ring *ring, size_t left)
{
	unsigned delivered = 0;
	struct io_uring_cqe cqe;

	while (left-- && ring_is_here(ring) && take_completion(ring, &cqe))
		delivered += deliver_any(ring, &cqe);
	return delivered;
}

/* Delivers ready completions in our own queue. recorded: and writes those of operations to the journal. */
static inline __attribute__((always_inline)) unsigned deliver_own_queue(struct ctx_ring *ring, unsigned ready,
									bool recorded)
{
	const struct io_uring_cq *const cq = &ring->uring->cq;
	unsigned *const khead = cq->khead, mask = cq->ring_mask;
	const struct io_uring_cqe *const cqes = cq->cqes;
	unsigned first = *khead, head = first, end = head + ready;
	/* Most likely the first completion is of the group that was used last. */
	struct finished_run run = {.stem = ring->groups.last->stem, .first = head};

	while (head != end) {
		const struct io_uring_cqe *cqe = &cqes[head & mask];
		if (__builtin_expect(!deliver_plain(ring, cqe, khead, head + 1, &run, recorded), 0)) {
			first += 1 - deliver_next(ring, cqe); /* so that head - first is what was delivered */
			run.first++;
		}
		head++;
		/* In a forked child it is the parent that counts. */
		if (__builtin_expect(!ring_is_still_here(ring), 0))
			return head - first;
		/* A callback drained a context, for which completions went from the queue to the spill. */
		if (__builtin_expect(*khead != head, 0)) {
			end_finished_run(&run, head);
			return head - first + deliver_with_spill(ring, end - head);
		}
	}
	end_finished_run(&run, head);
	return head - first;
}

/* A loop of its own, so that nothing is asked at each operation while nobody records. */
static __attribute__((noinline)) unsigned deliver_recorded(struct ctx_ring *ring, unsigned ready)
{
	return deliver_own_queue(ring, ready, true);
}

RING_TURN unsigned complete_deliver_queued(struct ctx_ring *ring)
{
	/* In a forked child the queue is the parent's: a function of the program's before may have forked. */
	unsigned ready = ring->adopted || !ring_is_still_here(ring) ? 0 : uring_cq_ready(ring->uring);
	size_t spilled = ring->done.spill.tail - ring->done.spill.head;

	if (__builtin_expect(spilled != 0, 0))
		return deliver_with_spill(ring, spilled + ready);
	if (control_is_on() && ready && past_confirm(ring))
		return deliver_recorded(ring, ready);
	return deliver_own_queue(ring, ready, false);
}
