/* SPDX-License-Identifier: MIT */
/*
 * Completions are first noted, which is accounting and calls no function of the program, and later delivered
 * (complete.c). In between they may wait in the kernel's queue or in the spill, so that draining one context
 * does not run the callbacks of others.
 */
#include "note.h"

#include <string.h>

#include "memory.h"
#include "park_note.h"
#include "park_queue.h"

#define SPILL_FIRST 256u

/* How long to wait before the poll on the mailbox is tried again after it failed. */
#define WAKE_REST_NS 50000000ull

void note_batch_over(struct ctx_ring *ring, struct batch *batch)
{
	list_remove(&batch->link);
	list_append(&ring->done.batches_over, &batch->link);
}

void note_batch(struct operation *op, bool cancelled)
{
	struct ctx_batch *record = &op->batch->record;

	record->held--;
	if (cancelled)
		record->cancelled++;
	else
		record->finished++;
	if (record->held)
		return;
	record->reap_ns = clock_now_ns() - op->batch->start_ns;
	note_batch_over(op->group->ring, op->batch);
}

/*
 * Takes op out of its chain. If op was the head, its successor starts in the kernel now. If the chain is to
 * end, the successor is cancelled now, since only now can the kernel find it; chain_end() has marked it for
 * that.
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
			list_append(&ring->ops.singles, &next->link);
		}
	}
	op->chain_prev = op->chain_next = NULL;
}

/*
 * Tells from the time whether the linked timeout of op ended it. Where completions of success are skipped, a
 * linked timeout that ended its operation has no completion of its own (Linux 6.18).
 */
static void infer_timeout(struct operation *op, int res)
{
	const unsigned known = OP_DOOMED | OP_EXPLICIT | OP_CANCEL_SENT | OP_TIMED_OUT | OP_EXPIRED;

	if (!(op->marks & OP_TIMED) || (op->marks & known) || !op_ended_early(res))
		return;
	if (clock_now_ns() >= op->timeout_ns)
		op_mark(op, op->marks & OP_TIMED_OWN ? OP_TIMED_OUT : OP_EXPIRED);
}

/*
 * Notes the end of the poll on the mailbox. Usually the next turn arms it again. After an error that would
 * come again at once, and keep the loop turning for nothing, it is armed again after a rest.
 */
static void note_wake(struct ctx_ring *ring, uint32_t number, const struct io_uring_cqe *cqe)
{
	if ((cqe->flags & IORING_CQE_F_MORE) || !ticket_return(&ring->requests.wakes, number))
		return;
	if (cqe->res >= 0 || cqe->res == -ECANCELED)
		return;
	if (cqe->res == -EACCES) {
		ring->requests.refused = -EACCES;
	} else if (cqe->res == -EINVAL && !ring->requests.wake_once) {
		ring->requests.wake_once = true;
	} else {
		ring_timer_set(ring, &ring->requests.wake_rest, clock_now_ns() + WAKE_REST_NS);
	}
}

static void note_answer(struct ctx_ring *ring, uint32_t number, int res)
{
	if (!ticket_return(&ring->requests.questions, number))
		return;
	ring->requests.answer = res;
	if (number == ring->requests.greeting)
		ring->requests.greeting = 0;
}

static void note_final(struct ctx_ring *ring, struct operation *op, int res)
{
	infer_timeout(op, res);
	op_mark(op, OP_SEEN);
	op->group->in_kernel--;
	ring->ops.in_kernel--;
	if (op == ring->ops.barrier)
		ring->ops.barrier = NULL;
	/* The kernel ended op at the deadline of its context, and with op its whole chain is to end. */
	if ((op->marks & (OP_EXPIRED | OP_ENDING)) == OP_EXPIRED)
		for (struct operation *next = op->chain_next; next; next = next->chain_next)
			op_mark(next, OP_EXPLICIT);
	if (op->chain_prev || op->chain_next)
		leave_chain(ring, op);
	if (op->marks & OP_COUNTED)
		park_queue_uncount(ring, op);
	if (op->batch)
		note_batch(op, op_normal_result(op, res) == -ECANCELED);
}

/*
 * Notes the completion of a linked timeout. One that fired has the result -ETIME, or the positive count of
 * some kinds of requests. One that fired and did not find its operation has left that without a bound (seen
 * on Linux 6.18).
 */
static void note_timeout(struct ctx_ring *ring, struct operation *op, int res)
{
	if (res != -ETIME && res < 0 && res != -ENOENT && res != -EALREADY)
		return;
	op_mark(op, op->marks & OP_TIMED_OWN ? OP_TIMED_OUT : OP_EXPIRED);
	if ((res == -ENOENT || res == -EALREADY) && !(op->marks & OP_CANCEL_SENT))
		ring_timer_retry(ring, op);
}

/*
 * Notes the completion of a request of the library's own. The requests that are counted have numbers, so that
 * a completion which is shown twice, or which is the program's and looks like ours, has no effect.
 */
static void note_internal(struct ctx_ring *ring, uint32_t which, uint32_t number,
			  const struct io_uring_cqe *cqe)
{
	switch (which) {
	case INTERNAL_WAKE:
		note_wake(ring, number, cqe);
		break;
	case INTERNAL_TIMER:
		ring_timer_note(ring, number, cqe->res);
		break;
	case INTERNAL_QUESTION:
		note_answer(ring, number, cqe->res);
		break;
	case INTERNAL_CLOSE:
		break;
	case INTERNAL_PARK:
		if (ticket_return(&ring->requests.park_waits, number))
			park_note_readiness(ring, cqe->res);
		break;
	default:
		poll_note_completion(ring, which - INTERNAL_POLLS, number, cqe);
		break;
	}
}

/* Whether a request of the library's ever had this number. which is an enum internal_slot. */
static bool internal_is_ours(const struct ctx_ring *ring, uint32_t which, uint32_t number)
{
	switch (which) {
	case INTERNAL_WAKE:
		return ticket_was_given(&ring->requests.wakes, number);
	case INTERNAL_TIMER:
		return ticket_was_given(&ring->times.kernel_timers, number);
	case INTERNAL_QUESTION:
		return ticket_was_given(&ring->requests.questions, number);
	case INTERNAL_CLOSE:
		return !number;
	case INTERNAL_PARK:
		return ticket_was_given(&ring->requests.park_waits, number);
	default:
		return which >= INTERNAL_POLLS && poll_note_was_put(ring, which - INTERNAL_POLLS, number);
	}
}

static bool is_ours(const struct ctx_ring *ring, const struct io_uring_cqe *cqe)
{
	uint64_t value = cqe->user_data;

	if ((value ^ ring->tag) >> TAG_SHIFT)
		return false;
	switch (note_kind(value)) {
	case KIND_OP:
		return note_find(ring, value);
	case KIND_INTERNAL:
		return internal_is_ours(ring, note_slot(value), note_generation(value));
	default: /* the operation may be over, and its slot used by another */
		return note_slot(value) && note_slot(value) < ring->ops.slot_count;
	}
}

/* A request was refused because of the io_uring's restrictions, which show in no other way. */
static void note_forbidden(struct ctx_ring *ring, enum completion_kind kind)
{
	if (kind == KIND_TIMEOUT)
		ring->linked = LINKED_NONE;
	else if (ring->features.skip_success)
		ring->features.skip_success = false; /* perhaps only the flag is forbidden */
	else
		ring->requests.refused = -EACCES;
}

/* Notes the completion of a linked timeout or of a cancel. op is NULL if the operation is over. */
static void note_companion(struct ctx_ring *ring, struct operation *op, enum completion_kind kind, int res)
{
	if (res == -EACCES)
		note_forbidden(ring, kind);
	if (!op || (op->marks & OP_SEEN))
		return;
	if (kind == KIND_TIMEOUT)
		note_timeout(ring, op, res);
	else if (res < 0 && (op->marks & OP_CANCEL_SENT))
		ring_timer_retry(ring, op);
	else if (res == -ENOENT) /* the next sweep takes op out of the kernel */
		op_unmark(op, OP_PARKING);
}

enum ctx_filter note_completion(struct ctx_ring *ring, const struct io_uring_cqe *cqe,
				struct operation **ret_op)
{
	uint64_t value = cqe->user_data;
	enum completion_kind kind = note_kind(value);

	*ret_op = NULL;
	if (!is_ours(ring, cqe))
		return CTX_FILTER_FOREIGN;
	if (kind == KIND_INTERNAL) {
		note_internal(ring, note_slot(value), note_generation(value), cqe);
		return CTX_FILTER_INTERNAL;
	}
	struct operation *op = note_find(ring, value);
	if (kind == KIND_OP) {
		if (cqe->flags & IORING_CQE_F_MORE)
			op->res = cqe->res; /* of a zero-copy send: its last completion has no result */
		else if (!(op->marks & OP_SEEN)) {
			if ((op->marks & OP_ATTEMPT) && park_note_attempt(ring, op, cqe->res, cqe->flags))
				return CTX_FILTER_INTERNAL;
			note_final(ring, op, note_result(op, cqe));
		}
		*ret_op = op;
		return CTX_FILTER_OP;
	}
	note_companion(ring, op, kind, cqe->res);
	return CTX_FILTER_INTERNAL;
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

void note_harvest(struct ctx_ring *ring)
{
	while (uring_cq_ready(ring->uring)) {
		const struct io_uring_cqe *cqe = uring_cqe(ring->uring, 0);
		struct operation *op;
		/* Without memory the completion stays in the queue. To note it again does no harm. */
		if (note_completion(ring, cqe, &op) != CTX_FILTER_INTERNAL &&
		    !spill_push(&ring->done.spill, cqe))
			return;
		uring_cq_advance(ring->uring, 1);
	}
}

void note_in_place(struct ctx_ring *ring)
{
	unsigned head = *ring->uring->cq.khead, ready = uring_cq_ready(ring->uring);
	struct operation *op;

	if ((int)(ring->done.noted - head) < 0)
		ring->done.noted = head; /* the program has taken the completions up to head */
	for (; ring->done.noted != head + ready; ring->done.noted++)
		note_completion(ring, uring_cqe(ring->uring, ring->done.noted - head), &op);
}

void note_extract(struct ctx_ring *ring)
{
	unsigned head = *ring->uring->cq.khead, count = uring_cq_ready(ring->uring), kept = 0;
	struct operation *op;

	for (unsigned i = 0; i < count; i++)
		if (note_completion(ring, uring_cqe(ring->uring, i), &op) == CTX_FILTER_OP &&
		    !spill_push(&ring->done.spill, uring_cqe(ring->uring, i)))
			count = i;
	ring->done.noted = head + count;
	/*
	 * The entries between head and tail belong to user space. The program's completions move up to where
	 * ours were.
	 */
	for (unsigned i = count; i--;) {
		struct io_uring_cqe cqe = *uring_cqe(ring->uring, i);
		if (is_ours(ring, &cqe))
			continue;
		*(struct io_uring_cqe *)uring_cqe(ring->uring, count - ++kept) = cqe;
	}
	uring_cq_advance(ring->uring, count - kept);
}
