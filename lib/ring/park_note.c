/* SPDX-License-Identifier: MIT */
/* What comes back of parked operations: the answers to attempts, and readiness. Only state changes here. */
#include "park_note.h"

#include "attempt.h"
#include "park_queue.h"
#include "record.h"

/*
 * So many events that said writable when it was not: so it is with datagram sockets that are not connected,
 * whose readiness is not that of the receiver. Then the kernel may wait.
 */
#define ATTEMPTS_MAX 16

/* ---- what goes the usual way after all ---- */

/* How long op may still take by its own timeout, for when it goes the usual way after all. */
static void undo_timeout(struct ctx_ring *ring, struct operation *op)
{
	uint64_t now_ns;

	if (!(op->marks & OP_HAS_TIMEOUT))
		return;
	now_ns = clock_now_ns();
	op->timeout_ns = op->timeout_ns > now_ns ? op->timeout_ns - now_ns : 0;
	op_timer_stop(ring, op);
}

/* Back to where operations wait to be given to the kernel; it is in no list. */
static void unpark(struct ctx_ring *ring, struct operation *op)
{
	undo_timeout(ring, op);
	slot_release(ring, op);
	op_unmark(op, OP_ATTEMPT);
	op_mark(op, OP_USUAL);
	op->attempts = 0;
	op->chain_prev = op->chain_next = NULL;
	op->phase = OP_STAGED;
	list_insert(&ring->ops.waiting, &op->link);
	/* Before all others, which an index may have passed already. */
	op_mark(op, OP_INDEXED);
	list_insert(&op->group->staged, &op->park);
}

/* This kernel has no such attempt as op was: nor have those of its kind. */
static void unpark_all_like(struct ctx_ring *ring, struct park_fd *p, const struct operation *op)
{
	park_fd_set(p, PARK_UNPARKABLE);
	for (enum way way = WAY_IN; way < WAYS; way++)
		for (struct list *link = p->queue[way].prev, *previous; link != &p->queue[way];
		     link = previous) {
			struct operation *other = container_of(link, struct operation, park);
			previous = link->prev;
			/* Delivered anyhow, or served. */
			if (other->group->parked_ended || other->opcode != op->opcode)
				continue;
			park_queue_remove(ring, other);
			list_remove(&other->link);
			unpark(ring, other);
		}
}

/* ---- what comes back ---- */

static void park_again(struct ctx_ring *ring, struct park_fd *p, struct operation *op, enum way way)
{
	op_unmark(op, OP_ATTEMPT);
	list_remove(&op->link);
	park_queue_add(ring, op, &p->queue[way]);
	record_set_flags(ring, op, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
}

/* Adds what an attempt has brought to what there is. */
static void add_result(struct operation *op, int res)
{
	op->res = (op->marks & OP_RESULT ? op->res : 0) + res;
	op_mark(op, OP_RESULT);
}

/* True: it was ended while the attempt was under way, and is final now, with what there is. */
static bool finish_if_ended(struct operation *op)
{
	if (!(op->marks & (OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT)) && !op->group->parked_ended)
		return false;
	if (!(op->marks & OP_RESULT))
		add_result(op, -ECANCELED);
	return true;
}

/* Each of these four: true, it goes on waiting; false, it is final. */

/* What is parked now is on another file, and so would this be: it ends with what it has come to. */
static bool answer_stale(struct operation *op, int res)
{
	if (op->marks & OP_RESULT)
		add_result(op, res > 0 ? res : 0);
	else if ((res == -EAGAIN || attempt_is_impossible(op, res)) && !finish_if_ended(op))
		add_result(op, -EBADF);
	return false;
}

/* It would have had to wait: it does so here, or is to in the kernel. */
static bool answer_again(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	park_fd_not_ready(ring->park, p, way);
	if (finish_if_ended(op))
		return false;
	if (op->attempts < UINT8_MAX)
		op->attempts++;
	/* Not to be watched, or ready for something that is not this: the kernel knows how to wait for it. */
	bool astray = park_fd_has(p, PARK_READY << way) && !park_fd_has(p, PARK_FRESH << way);
	astray |= way == WAY_OUT && op->attempts > ATTEMPTS_MAX;
	if (astray) {
		op_mark(op, OP_WAITS);
		op->attempts = 0;
		park_fd_set(p, PARK_READY << way);
	}
	park_again(ring, p, op, way);
	return true;
}

/*
 * There is no attempt that does not wait. An accept goes the usual way. Reads and writes do not: their order
 * would be lost, as the kernel serves several that wait in any order, and with it the order of the bytes.
 */
static bool answer_impossible(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if (finish_if_ended(op))
		return false;
	if (attempt_is_of_file(op->opcode)) {
		if (op->sqe.rw_flags)
			op_mark(op, OP_WAITS); /* the answer may be to those */
		else
			park_fd_set(p, PARK_ASKS);
		park_again(ring, p, op, way);
		return true;
	}
	list_remove(&op->link);
	unpark_all_like(ring, p, op);
	unpark(ring, op);
	return true;
}

static bool leaves_nothing(struct ctx_ring *ring, struct park_fd *p, const struct operation *op, int res,
			   unsigned flags)
{
	return op->opcode == IORING_OP_RECV && attempt_is_short(op, res) &&
	       !(flags & (IORING_CQE_F_SOCK_NONEMPTY | IORING_CQE_F_BUFFER)) &&
	       !(op->sqe.msg_flags & MSG_PEEK) && !(p->state & (PARK_FRESH << WAY_IN | PARK_LINGERS)) &&
	       park_fd_short_proves(ring->park, p);
}

/* It has brought res, be it an error. */
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
	park_again(ring, p, op, way);
	return true;
}

bool park_note_attempt(struct ctx_ring *ring, struct operation *op, int res, unsigned flags)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);
	enum way way = op->marks & OP_OUT ? WAY_OUT : WAY_IN;
	bool stale = park_fd_has(p, PARK_STALE << way), waits;

	park_fd_clear(p, (PARK_ISSUED | PARK_STALE) << way);
	ring->park->attempts--;
	if (stale)
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

static void apply_event(struct ctx_ring *ring, const struct epoll_event *event)
{
	struct park_fd *p = park_fd_note_event(ring->park, event);

	if (p && (park_queue_attempt_is_due(p, WAY_IN) || park_queue_attempt_is_due(p, WAY_OUT)))
		park_queue_make_due(ring, p);
}

void park_note_readiness(struct ctx_ring *ring, int res)
{
	struct park *park = ring->park;
	int count = res;

	park->armed = false;
	if (res < 0 && res != -ECANCELED) /* not known here, or not allowed */
		park->by_poll = true;
	if (res > 0 && park->by_poll)
		count = sys_epoll_wait(park->epoll_fd, park->events, PARK_EVENTS_MAX, 0);
	for (int i = 0; i < count; i++)
		apply_event(ring, &park->events[i]);
}
