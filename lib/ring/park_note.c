/* SPDX-License-Identifier: MIT */
/*
 * Notes what comes back of parked operations: the answers to attempts, and readiness. Calls no function of
 * the program.
 */
#include "park_note.h"

#include "attempt.h"
#include "park_queue.h"
#include "record.h"

/*
 * After so many attempts in vain to write the next attempt waits in the kernel. A datagram socket that is not
 * connected says writable while the receiver is full.
 */
#define ATTEMPTS_MAX 16

_Atomic uint64_t park_late_after_ns = 200000000u;

/* ---- what goes the usual way after all ---- */

/*
 * Stops the timer of op's own timeout, and sets the timeout to the time that is left. For an operation that
 * goes the usual way after all.
 */
static void undo_timeout(struct ctx_ring *ring, struct operation *op)
{
	uint64_t now_ns;

	if (!(op->marks & OP_HAS_TIMEOUT))
		return;
	now_ns = clock_now_ns();
	op->timeout_ns = op->timeout_ns > now_ns ? op->timeout_ns - now_ns : 0;
	op_timer_stop(ring, op);
}

/* Moves op, which is in no list, to the head of the operations that wait to be given to the kernel. */
static void unpark_operation(struct ctx_ring *ring, struct operation *op)
{
	undo_timeout(ring, op);
	slot_release(ring, op);
	op_unmark(op, OP_ATTEMPT);
	op_mark(op, OP_USUAL | OP_BEGUN);
	op->attempts = 0;
	op->chain_prev = op->chain_next = NULL;
	op->phase = OP_STAGED;
	list_insert(&ring->ops.waiting, &op->link);
	/* Indexed here, since op is before all others, and stage_index() may have passed those already. */
	op_mark(op, OP_INDEXED);
	list_insert(&op->group->staged, &op->park);
}

/*
 * The kernel has no attempt for the opcode of op on this file. All parked operations with this opcode go the
 * usual way.
 */
static void unpark_all_like(struct ctx_ring *ring, struct park_fd *p, const struct operation *op)
{
	park_fd_set(p, PARK_UNPARKABLE);
	for (enum way way = WAY_IN; way < WAYS; way++)
		for (struct list *link = p->queue[way].prev, *previous; link != &p->queue[way];
		     link = previous) {
			struct operation *other = container_of(link, struct operation, park);
			previous = link->prev;
			/*
			 * Skip what has already ended (it is in ring->ops.ready) and what is of another kind
			 * (it can still be parked).
			 */
			if (other->group->parked_ended || other->opcode != op->opcode)
				continue;
			park_queue_remove(ring, other);
			list_remove(&other->link);
			unpark_operation(ring, other);
		}
}

/* ---- what comes back ---- */

static void park_operation_again(struct ctx_ring *ring, struct park_fd *p, struct operation *op, enum way way)
{
	op_unmark(op, OP_ATTEMPT);
	list_remove(&op->link);
	park_queue_add(ring, op, &p->queue[way]);
	record_set_flags(ring, op, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
}

/* Adds the result of an attempt to what the operation has come to so far. */
static void add_result(struct operation *op, int res)
{
	op->res = (op->marks & OP_RESULT ? op->res : 0) + res;
	op_mark(op, OP_RESULT);
}

/*
 * If op was ended while the attempt was under way, it is final now, with what it has come to, and true is
 * returned.
 */
static bool finish_if_ended(struct operation *op)
{
	if (!(op->marks & (OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT)) && !op->group->parked_ended)
		return false;
	if (!(op->marks & OP_RESULT))
		add_result(op, -ECANCELED);
	return true;
}

/* The next four handle the answer to an attempt. True: op goes on waiting. False: op is final. */

/*
 * The descriptor's number belongs to another file now. op does not park again, but ends with what it has come
 * to.
 */
static bool answer_stale(struct operation *op, int res)
{
	if (op->marks & OP_RESULT)
		add_result(op, res > 0 ? res : 0);
	else if ((res == -EAGAIN || attempt_is_impossible(op, res)) && !finish_if_ended(op))
		add_result(op, -EBADF);
	return false;
}

/* The attempt would have had to wait. op parks again, or its next attempt waits in the kernel. */
static bool answer_again(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	park_fd_not_ready(ring->park, p, way);
	if (finish_if_ended(op))
		return false;
	if (op->attempts < UINT8_MAX)
		op->attempts++;
	/*
	 * If the file cannot be watched, or is ready for something else only, the next attempt waits in the
	 * kernel, which knows how to wait for it.
	 */
	bool astray = park_fd_has(p, PARK_READY << way) && !park_fd_has(p, PARK_FRESH << way);
	astray |= way == WAY_OUT && op->attempts > ATTEMPTS_MAX;
	if (astray) {
		op_mark(op, OP_WAITS);
		op->attempts = 0;
		park_fd_set(p, PARK_READY << way);
	}
	park_operation_again(ring, p, op, way);
	return true;
}

/*
 * The kernel has no attempt on this file that does not wait. An accept goes the usual way. Reads and writes
 * do not: the kernel serves several that wait in any order, and the order of the bytes would be lost.
 */
static bool answer_impossible(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if (finish_if_ended(op))
		return false;
	if (attempt_is_of_file(op->opcode)) {
		if (op->sqe.rw_flags)
			op_mark(op, OP_WAITS); /* the kernel may not know these flags */
		else
			park_fd_set(p, PARK_ASKS);
		park_operation_again(ring, p, op, way);
		return true;
	}
	list_remove(&op->link);
	unpark_all_like(ring, p, op);
	unpark_operation(ring, op);
	return true;
}

static bool leaves_nothing(struct ctx_ring *ring, struct park_fd *p, const struct operation *op, int res,
			   unsigned flags)
{
	return op->opcode == IORING_OP_RECV && !(op->marks & OP_LATE) && attempt_is_short(op, res) &&
	       !(flags & (IORING_CQE_F_SOCK_NONEMPTY | IORING_CQE_F_BUFFER)) &&
	       !(op->sqe.msg_flags & MSG_PEEK) && !(p->state & (PARK_FRESH << WAY_IN | PARK_LINGERS)) &&
	       park_fd_short_proves(ring->park, p);
}

/*
 * op was taken out of the kernel, because it has waited for long: it parks. From here on it has another
 * generation, so that no cancel of that request finds a later one.
 */
static bool answer_parking(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if (finish_if_ended(op))
		return false;
	park_queue_uncount(ring, op);
	slot_renew(ring, op);
	op_unmark(op, OP_LATE | OP_WAITS | OP_PARKING);
	if (way == WAY_IN) {
		park_fd_set(p, PARK_LONG);
		p->since_ms = 0; /* it has waited for long already */
	}
	park_operation_again(ring, p, op, way);
	return true;
}

/* The attempt has the result res, which may be an error. */
static bool answer_result(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op,
			  int res, unsigned flags)
{
	if (leaves_nothing(ring, p, op, res, flags))
		park_fd_not_ready(ring->park, p, way);
	bool part = attempt_wants_all(op) && !(op->marks & OP_WAITS) && attempt_is_short(op, res) &&
		    (p->state & PARK_CONNECTED);
	if (part || (op->marks & OP_RESULT))
		add_result(op, res > 0 ? res : 0);
	if (!part || finish_if_ended(op))
		return false;
	park_operation_again(ring, p, op, way);
	return true;
}

bool park_note_attempt(struct ctx_ring *ring, struct operation *op, int res, unsigned flags)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);
	enum way way = op->marks & OP_OUT ? WAY_OUT : WAY_IN;
	bool stale = park_fd_has(p, PARK_STALE << way), waits;

	park_fd_clear(p, (PARK_ISSUED | PARK_STALE) << way);
	if (op->marks & OP_LATE)
		ring->park->late--;
	else
		ring->park->attempts--;
	if ((op->marks & (OP_LATE | OP_PARKING)) == OP_LATE && !stale)
		waits = false; /* the usual case: the kernel had it as any other operation */
	else if ((op->marks & OP_PARKING) && op_ended_early(res))
		waits = !stale ? answer_parking(ring, p, way, op) : answer_stale(op, -EAGAIN);
	else if (stale)
		waits = answer_stale(op, res);
	else if (res == -EAGAIN && !(op->marks & OP_WAITS))
		waits = answer_again(ring, p, way, op);
	else if (attempt_is_impossible(op, res))
		waits = answer_impossible(ring, p, way, op);
	else
		waits = answer_result(ring, p, way, op, res, flags);
	if (waits) {
		op->group->in_kernel--;
		ring->ops.in_kernel--;
	}
	if (park_queue_attempt_is_due(p, way))
		park_queue_make_due(ring, p);
	return waits;
}

/* After a short wait for input the next operation on p waits in the kernel first. */
static void forget_long_wait(struct park_fd *p, uint32_t now_ms)
{
	uint32_t after_ms =
		(uint32_t)(atomic_load_explicit(&park_late_after_ns, memory_order_relaxed) / 1000000);

	if (!list_empty(&p->queue[WAY_IN]) && now_ms - p->since_ms < after_ms)
		park_fd_clear(p, PARK_LONG);
}

static void apply_event(struct ctx_ring *ring, const struct epoll_event *event, uint32_t now_ms)
{
	struct park_fd *p = park_fd_note_event(ring->park, event);

	if (p && (p->state & PARK_LONG))
		forget_long_wait(p, now_ms);
	if (p && (park_queue_attempt_is_due(p, WAY_IN) || park_queue_attempt_is_due(p, WAY_OUT)))
		park_queue_make_due(ring, p);
}

void park_note_readiness(struct ctx_ring *ring, int res)
{
	struct park *park = ring->park;
	int count = res;

	park->armed = false;
	if (res < 0 && res != -ECANCELED) /* the kernel does not know the request, or does not allow it */
		park->by_poll = true;
	if (res > 0 && park->by_poll)
		count = sys_epoll_wait(park->epoll_fd, park->events, PARK_EVENTS_MAX, 0);
	uint32_t now_ms = (uint32_t)(clock_coarse_ns() / 1000000);
	for (int i = 0; i < count; i++)
		apply_event(ring, &park->events[i], now_ms);
}
