/* SPDX-License-Identifier: MIT */
/*
 * Completions are first noted, which is accounting and touches nobody's code, and later delivered
 * (complete.c). Between the two they may wait in the kernel's queue or in the spill, so that draining one
 * context does not run the callbacks of others.
 */
#include "note.h"

#include <string.h>

#include "memory.h"
#include "park_note.h"
#include "park_queue.h"

#define SPILL_FIRST 256u

/* How long the wake-up poll rests that could not be had. */
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
 * Takes op out of its chain. Who follows it starts now, and is cancelled now if it had to wait for that: of a
 * chain that is to end all members are marked, see chain_end().
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

/* One that ended without an event is armed again by the next turn; where that would fail again at once, and
 * keep the loop turning for nothing, after a rest. */
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
	/* The kernel ended it at the deadline of its context: with that the chain is to end. */
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
 * A linked timeout that fired says -ETIME, or the positive count of some kinds of requests. One that
 * fired and did not find its operation has left it without a bound (seen on Linux 6.18).
 */
static void note_timeout(struct ctx_ring *ring, struct operation *op, int res)
{
	if (res != -ETIME && res < 0 && res != -ENOENT && res != -EALREADY)
		return;
	op_mark(op, op->marks & OP_TIMED_OWN ? OP_TIMED_OUT : OP_EXPIRED);
	if ((res == -ENOENT || res == -EALREADY) && !(op->marks & OP_CANCEL_SENT))
		ring_timer_retry(ring, op);
}

/* Each that is counted has a number, so that a completion which is shown again, or is a stranger's, counts
 * for nothing. */
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

/* False: no request of ours ever had that user_data. */
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
	default: /* late ones belong to no operation any more */
		return note_slot(value) && note_slot(value) < ring->ops.slot_count;
	}
}

/* Restrictions of the io_uring are only seen by what they refuse. */
static void note_forbidden(struct ctx_ring *ring, enum completion_kind kind)
{
	if (kind == KIND_TIMEOUT)
		ring->linked = LINKED_NONE;
	else if (ring->features.skip_success)
		ring->features.skip_success = false; /* perhaps it was the flag */
	else
		ring->requests.refused = -EACCES;
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
		ring_timer_retry(ring, op);
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
			op->res = cqe->res; /* of a zero-copy send: its notification says nothing of how it
					       went */
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
		/* Without memory they stay where they are; being noted again does no harm. */
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
		ring->done.noted = head; /* the program has taken what was before */
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
	/* Entries between head and tail are user space's: the foreign ones move up to where ours were. */
	for (unsigned i = count; i--;) {
		struct io_uring_cqe cqe = *uring_cqe(ring->uring, i);
		if (is_ours(ring, &cqe))
			continue;
		*(struct io_uring_cqe *)uring_cqe(ring->uring, count - ++kept) = cqe;
	}
	uring_cq_advance(ring->uring, count - kept);
}
