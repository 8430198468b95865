/* SPDX-License-Identifier: MIT */
/*
 * Completions: first noted, which is accounting and touches nobody's code, then
 * delivered. Between the two they may wait in the kernel's queue or in the spill, so that
 * draining one context does not run the callbacks of others.
 */
#include <string.h>

#include "memory.h"
#include "park.h"
#include "record.h"
#include "ring.h"

#define SPILL_FIRST 256u

#ifndef IORING_CQE_F_NOTIF
#define IORING_CQE_F_NOTIF (1U << 3)
#endif
#define NOTIF_USAGE (1U << 31) /* IORING_NOTIF_USAGE_ZC_COPIED, Linux 6.2 */

/*
 * Takes op out of its chain. Who follows it starts now, and is cancelled now if it had to wait for that: of a
 * chain that is to end all members are marked, see end_chain().
 */
static void leave_chain(struct ctx_ring *ring, struct operation *op)
{
	struct operation *previous = op->chain_prev, *next = op->chain_next;

	if (previous)
		previous->chain_next = next;
	if (next) {
		next->chain_prev = previous;
		if (!previous && (next->marks & (OP_ENDING | OP_TIMED_OUT)) &&
		    !(next->marks & OP_CANCEL_SENT)) {
			list_remove(&next->link);
			list_append(&ring->singles, &next->link);
		}
	}
	op->chain_prev = op->chain_next = NULL;
}

/*
 * Where completions of success are skipped a linked timeout that ended its operation says
 * nothing (Linux 6.18), so it is told from the time.
 */
static void infer_timeout(struct operation *op, int res)
{
	const unsigned known = OP_DOOMED | OP_EXPLICIT | OP_CANCEL_SENT | OP_TIMED_OUT | OP_EXPIRED;

	if (!(op->marks & OP_TIMED) || (op->marks & known) || !op_ended_early(res))
		return;
	if (clock_now_ns() >= op->timeout_ns)
		op_mark(op, op->marks & OP_TIMED_OWN ? OP_TIMED_OUT : OP_EXPIRED);
}

/* The notification of a zero-copy send is its final completion, with the result of the one before it. What
 * parked may have come to its result in several attempts. */
static int result_of(const struct operation *op, const struct io_uring_cqe *cqe)
{
	return (cqe->flags & IORING_CQE_F_NOTIF) || (op->marks & OP_RESULT) ? op->res : cqe->res;
}

/* What a notification says in place of a result, whether the kernel copied after all, goes with its flags,
 * where it meets nothing: a notification has no buffer. */
static unsigned flags_of(const struct io_uring_cqe *cqe)
{
	return cqe->flags & IORING_CQE_F_NOTIF ? cqe->flags | ((unsigned)cqe->res & NOTIF_USAGE) : cqe->flags;
}

static void note_final(struct ctx_ring *ring, struct operation *op, int res)
{
	infer_timeout(op, res);
	op_mark(op, OP_SEEN);
	op->group->in_kernel--;
	ring->in_kernel--;
	if (op == ring->barrier)
		ring->barrier = NULL;
	/* The kernel ended it at the deadline of its context: with that the chain is to end. */
	if ((op->marks & (OP_EXPIRED | OP_ENDING)) == OP_EXPIRED)
		for (struct operation *next = op->chain_next; next; next = next->chain_next)
			op_mark(next, OP_EXPLICIT);
	if (op->chain_prev || op->chain_next)
		leave_chain(ring, op);
	if (op->marks & OP_COUNTED)
		park_uncount(ring, op);
	if (op->batch)
		batch_account(op, op_normal_result(op, res) == -ECANCELED);
}

/*
 * A linked timeout that fired says -ETIME, or the positive count of some kinds of requests. One that
 * fired and did not find its operation has left it without a bound (seen on Linux 6.18).
 */
static void note_timeout(struct ctx_ring *ring, struct operation *op, int res)
{
	if (res != -ETIME && res < 0 && res != -ENOENT && res != -EALREADY)
		return;
	op_mark(op, op->marks & OP_TIMED_OWN ? OP_TIMED_OUT : OP_EXPIRED);
	if ((res == -ENOENT || res == -EALREADY) && !(op->marks & OP_CANCEL_SENT))
		ring_retry(ring, op);
}

/* Each that is counted has a number, so that a completion which is shown again, or is a stranger's, counts
 * for nothing. */
static void note_internal(struct ctx_ring *ring, uint32_t which, uint32_t number,
			  const struct io_uring_cqe *cqe)
{
	switch (which) {
	case INTERNAL_WAKE:
		ring_note_wake(ring, number, cqe);
		break;
	case INTERNAL_TIMER:
		ring_note_kernel_timer(ring, number, cqe->res);
		break;
	case INTERNAL_QUESTION:
		ring_note_answer(ring, number, cqe->res);
		break;
	case INTERNAL_CLOSE:
		break;
	case INTERNAL_PARK:
		if (ticket_return(&ring->park_waits, number))
			park_note_readiness(ring, cqe->res);
		break;
	default:
		ring_poll_note(ring, which - INTERNAL_POLLS, number, cqe);
		break;
	}
}

/* False: no request of ours ever had that user_data. */
static bool internal_is_ours(const struct ctx_ring *ring, uint32_t which, uint32_t number)
{
	switch (which) {
	case INTERNAL_WAKE:
		return ticket_was_given(&ring->wakes, number);
	case INTERNAL_TIMER:
		return ticket_was_given(&ring->kernel_timers, number);
	case INTERNAL_QUESTION:
		return ticket_was_given(&ring->questions, number);
	case INTERNAL_CLOSE:
		return !number;
	case INTERNAL_PARK:
		return ticket_was_given(&ring->park_waits, number);
	default:
		return which >= INTERNAL_POLLS && ring_poll_was_put(ring, which - INTERNAL_POLLS, number);
	}
}

static uint32_t slot_of(uint64_t value)
{
	return (uint32_t)value & SLOT_MASK;
}

static uint32_t generation_of(uint64_t value)
{
	return (uint32_t)(value >> GENERATION_SHIFT) & GENERATION_MASK;
}

static struct operation *find(const struct ctx_ring *ring, uint64_t value)
{
	return slot_find(ring, slot_of(value), generation_of(value));
}

static enum completion_kind kind_of(uint64_t value)
{
	return (enum completion_kind)(value >> KIND_SHIFT & 3);
}

static bool is_ours(const struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	uint64_t value = cqe->user_data;

	if ((value ^ ring->tag) >> TAG_SHIFT)
		return false;
	switch (kind_of(value)) {
	case KIND_OP:
		return find(ring, value);
	case KIND_INTERNAL:
		return internal_is_ours(ring, slot_of(value), generation_of(value));
	default: /* late ones belong to no operation any more */
		return slot_of(value) && slot_of(value) < ring->slot_count;
	}
}

/* Restrictions of the io_uring are only seen by what they refuse. */
static void note_forbidden(struct ctx_ring *ring, enum completion_kind kind)
{
	if (kind == KIND_TIMEOUT)
		ring->unlinked = true;
	else if (ring->features.skip_success)
		ring->features.skip_success = false; /* perhaps it was the flag */
	else
		ring->refused = -EACCES;
}

/* What went with an operation: its linked timeout, or a cancel of it. */
static void note_companion(struct ctx_ring *ring, struct operation *op, enum completion_kind kind, int res)
{
	if (res == -EACCES)
		note_forbidden(ring, kind);
	if (!op || (op->marks & OP_SEEN))
		return;
	if (kind == KIND_TIMEOUT)
		note_timeout(ring, op, res);
	else if (res < 0 && (op->marks & OP_CANCEL_SENT))
		ring_retry(ring, op);
}

enum ctx_filter complete_note(struct ctx_ring *ring, const struct io_uring_cqe *cqe,
			      struct operation **ret_op)
{
	uint64_t value = cqe->user_data;
	enum completion_kind kind = kind_of(value);

	*ret_op = NULL;
	if (!is_ours(ring, cqe))
		return CTX_FILTER_FOREIGN;
	if (kind == KIND_INTERNAL) {
		note_internal(ring, slot_of(value), generation_of(value), cqe);
		return CTX_FILTER_INTERNAL;
	}
	struct operation *op = find(ring, value);
	if (kind == KIND_OP) {
		if (cqe->flags & IORING_CQE_F_MORE)
			op->res = cqe->res; /* of a zero-copy send: its notification says nothing of how it
					       went */
		else if (!(op->marks & OP_SEEN)) {
			if ((op->marks & OP_ATTEMPT) && park_note(ring, op, cqe->res, cqe->flags))
				return CTX_FILTER_INTERNAL;
			note_final(ring, op, result_of(op, cqe));
		}
		*ret_op = op;
		return CTX_FILTER_OP;
	}
	note_companion(ring, op, kind, cqe->res);
	return CTX_FILTER_INTERNAL;
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

/* Closes what an operation brought that nobody waits for any more. True: it did. */
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
	/* A fixed file: with IORING_FILE_INDEX_ALLOC the result is its index, else 0. */
	int none = -1;
	struct io_uring_files_update update = {
		.offset = op->sqe.file_index == (uint32_t)IORING_FILE_INDEX_ALLOC ? (uint32_t)res
										  : op->sqe.file_index - 1,
		.fds = (uint64_t)(uintptr_t)&none,
	};
	/* Where restrictions forbid that it is delivered. */
	return uring_register(ring->uring, IORING_REGISTER_FILES_UPDATE, &update, 1) >= 0;
}

enum ctx_op_end complete_end(const struct group *group)
{
	return context_error(group->watch.ctx) == ETIME ? CTX_OP_DEADLINE : CTX_OP_CANCELLED;
}

/* Makes op the caller's again and calls it. Afterwards its memory may be gone. */
static inline void deliver_final(struct ctx_ring *ring, struct operation *op, int res, unsigned flags,
				 enum ctx_op_end end, struct op_listener *listener,
				 struct ctx_completion *ret_completion)
{
	struct ctx_completion completion = {.res = res, .flags = flags, .end = end};
	struct group *group = op->group;

	list_unlink(&op->link);
	op->phase = OP_IDLE;
	op_mark(op, OP_COMPLETE);
	op->res = res;
	op->cqe_flags = flags;
	op->end = (uint8_t)end;
	ring->live--;
	if (group)
		group_leave(group);
	if (ret_completion)
		*ret_completion = completion;
	if (listener)
		listener->ended(listener, op, &completion);
	if (op->callback)
		op->callback(ring, op_public(op), &completion);
}

static struct op_listener *listener_of(const struct operation *op)
{
	if (__builtin_expect(!(op->marks & OP_TASK), 1))
		return NULL;
	return op->group ? op->group->listener : op->listener;
}

static void finish(struct ctx_ring *ring, struct operation *op, int res, unsigned flags,
		   struct ctx_completion *ret_completion)
{
	enum ctx_op_end end = CTX_OP_FINISHED;

	res = op_normal_result(op, res);
	if ((op->marks & OP_PARK) && res >= 0 && returns_fd(op) && !op->sqe.file_index)
		park_returned(ring, res);
	/* The kernel ended it at the deadline of its context: then the context is done, too. */
	if (op->marks & OP_EXPIRED)
		context_expire(op->group->watch.ctx, clock_now_ns());
	if ((op->marks & OP_CLOSE_FD) && close_unwanted(ring, op, res))
		res = -ECANCELED;
	if (res == -ECANCELED)
		end = op->marks & OP_TIMED_OUT ? CTX_OP_TIMEOUT : complete_end(op->group);
	if (op->timer)
		op_timer_stop(ring, op);
	slot_release(ring, op);
	deliver_final(ring, op, res, flags, end, listener_of(op), ret_completion);
}

/*
 * Notes and delivers the two usual completions at once: of an operation to which nothing
 * happened, and of one that its batch cancelled. Both final. False: it is another.
 */
static inline bool deliver_plain(struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	const unsigned cancelled = OP_DOOMED | OP_CANCEL_SENT;
	uint64_t value = cqe->user_data;
	enum ctx_op_end end = CTX_OP_FINISHED;

	if ((value ^ ring->tag) >> KIND_SHIFT)
		return false;
	struct operation *op = find(ring, value);
	if (!op || op->marks != (cqe->res == -ECANCELED ? cancelled : 0) || (cqe->flags & IORING_CQE_F_MORE))
		return false;
	op->group->in_kernel--;
	ring->in_kernel--;
	if (op->marks) {
		end = complete_end(op->group);
		if (op->batch)
			batch_account(op, true);
	}
	slot_release(ring, op);
	deliver_final(ring, op, cqe->res, cqe->flags, end, NULL, NULL);
	return true;
}

unsigned complete_deliver(struct ctx_ring *ring, struct operation *op, const struct io_uring_cqe *cqe,
			  struct ctx_completion *ret_completion)
{
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		finish(ring, op, result_of(op, cqe), flags_of(cqe), ret_completion);
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

void complete_ready(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	stage_leave(op);
	list_remove(&op->link);
	op->phase = OP_READY;
	op->res = res;
	op->end = (uint8_t)end;
	list_append(&ring->ready, &op->link);
}

void complete_deliver_ready(struct ctx_ring *ring, struct operation *op)
{
	if (op->phase == OP_PARKED)
		park_leave(op);
	if (op->timer)
		op_timer_stop(ring, op);
	if (op->slot)
		slot_release(ring, op);
	deliver_final(ring, op, op->res, 0, (enum ctx_op_end)op->end, listener_of(op), NULL);
}

static bool spill_push(struct spill *spill, const struct io_uring_cqe *cqe)
{
	size_t used = spill->tail - spill->head;

	if (spill->tail == spill->capacity && used <= spill->capacity / 2) {
		if (used)
			memmove(spill->cqes, spill->cqes + spill->head, used * sizeof(*cqe));
		spill->head = 0;
		spill->tail = used;
	}
	if (spill->tail == spill->capacity) {
		size_t capacity = spill->capacity ? spill->capacity * 2 : SPILL_FIRST;
		struct io_uring_cqe *cqes = memory_allocate(capacity * sizeof(*cqes));
		if (!cqes)
			return false;
		if (used)
			memcpy(cqes, spill->cqes + spill->head, used * sizeof(*cqes));
		memory_release(spill->cqes);
		*spill = (struct spill){.cqes = cqes, .tail = used, .capacity = capacity};
	}
	spill->cqes[spill->tail++] = *cqe;
	return true;
}

void complete_harvest(struct ctx_ring *ring)
{
	while (uring_cq_ready(ring->uring)) {
		const struct io_uring_cqe *cqe = uring_cqe(ring->uring, 0);
		struct operation *op;
		/* Without memory they stay where they are; being noted again does no harm. */
		if (complete_note(ring, cqe, &op) != CTX_FILTER_INTERNAL && !spill_push(&ring->spill, cqe))
			return;
		uring_cq_advance(ring->uring, 1);
	}
}

void complete_note_in_place(struct ctx_ring *ring)
{
	unsigned head = *ring->uring->cq.khead, ready = uring_cq_ready(ring->uring);
	struct operation *op;

	if ((int)(ring->noted - head) < 0)
		ring->noted = head; /* the program has taken what was before */
	for (; ring->noted != head + ready; ring->noted++)
		complete_note(ring, uring_cqe(ring->uring, ring->noted - head), &op);
}

void complete_extract(struct ctx_ring *ring)
{
	unsigned head = *ring->uring->cq.khead, count = uring_cq_ready(ring->uring), kept = 0;
	struct operation *op;

	for (unsigned i = 0; i < count; i++)
		if (complete_note(ring, uring_cqe(ring->uring, i), &op) == CTX_FILTER_OP &&
		    !spill_push(&ring->spill, uring_cqe(ring->uring, i)))
			count = i;
	ring->noted = head + count;
	/* Entries between head and tail are user space's: the foreign ones move up to where ours were. */
	for (unsigned i = count; i--;) {
		struct io_uring_cqe cqe = *uring_cqe(ring->uring, i);
		if (is_ours(ring, &cqe))
			continue;
		*(struct io_uring_cqe *)uring_cqe(ring->uring, count - ++kept) = cqe;
	}
	uring_cq_advance(ring->uring, count - kept);
}

/* Any other completion. */
static __attribute__((noinline)) unsigned deliver_special(struct ctx_ring *ring,
							  const struct io_uring_cqe *cqe)
{
	struct operation *op;

	switch (complete_note(ring, cqe, &op)) {
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

/* The oldest completion of our own ring, taken out. */
static inline bool take(struct ctx_ring *ring, struct io_uring_cqe *ret_cqe)
{
	if (ring->spill.head != ring->spill.tail) {
		*ret_cqe = ring->spill.cqes[ring->spill.head++];
		return true;
	}
	if (ring->adopted || !uring_cq_ready(ring->uring))
		return false;
	*ret_cqe = *uring_cqe(ring->uring, 0);
	uring_cq_advance(ring->uring, 1);
	return true;
}

unsigned complete_deliver_queued(struct ctx_ring *ring)
{
	size_t left = ring->spill.tail - ring->spill.head + (ring->adopted ? 0 : uring_cq_ready(ring->uring));
	unsigned delivered = 0;
	struct io_uring_cqe cqe;

	while (left-- && ring_is_here(ring) && take(ring, &cqe))
		delivered += __builtin_expect(deliver_plain(ring, &cqe), 1) ? 1 : deliver_special(ring, &cqe);
	return delivered;
}
