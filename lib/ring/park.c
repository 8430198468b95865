/* SPDX-License-Identifier: MIT */
/*
 * Parked operations. An operation that only waits in the kernel costs it 860 bytes, costs a microsecond to
 * cancel, and its buffer is the kernel's until that is done. A parked operation waits in a queue of its
 * descriptor, in the ring's memory. The kernel gets it when there may be something to do: as an attempt that
 * does not wait (attempt.h). If the attempt answers -EAGAIN, the operation parks again. When there may be
 * something to do is known from epoll: park_fd.c. Most operations are not parked before they have waited in
 * the kernel for long: park_late.h.
 *
 * Operations on one descriptor and direction are served in order, one attempt at a time, since the kernel
 * itself serves several that wait on one file in any order. Some attempts wait in the kernel, and the
 * operations behind them wait for their end:
 *   - Where nothing reliable says when to try: epoll has no room for one more descriptor, or a datagram
 *     socket says writable all the time.
 *   - Where there is no attempt that does not wait (PARK_ASKS): pipes know RWF_NOWAIT since Linux 6.4,
 *     sockets and timerfds since a few releases later, FIFOs and terminals do not know it.
 *   - Where an attempt in vain would use up a provided buffer (OP_ASKS).
 *
 * In the last two cases a read waits here until poll(2) says that there is something. Only then is it made,
 * and it waits in the kernel only if somebody else was quicker. A write is made at once.
 *
 * Readiness is asked for by IORING_OP_EPOLL_WAIT (Linux 6.15), before that by a poll of the epoll set, in the
 * same io_uring_enter(2) that carries the attempts. A single connection needs a second turn for that.
 */
#include "park.h"

#include <string.h>

#include "attempt.h"
#include "chain.h"
#include "close_index.h"
#include "counters.h"
#include "memory.h"
#include "note.h"
#include "park_buffers.h"
#include "park_late.h"
#include "park_queue.h"
#include "queue.h"
#include "record.h"
#include "usdt.h"

#define OP_EPOLL_WAIT 59 /* IORING_OP_EPOLL_WAIT, Linux 6.15 */

int park_open(struct ctx_ring *ring)
{
	struct park *park;

	if (ring->park)
		return 0;
	park = memory_allocate(sizeof(*park));
	if (!park)
		return -ENOMEM;
	memset(park, 0, sizeof(*park));
	park->epoll_fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (park->epoll_fd < 0) {
		int error = park->epoll_fd;
		memory_release(park);
		return error;
	}
	park->by_poll = !feature_has_epoll_wait(ring->uring->ring_fd);
	park->check = features_park_check();
	list_init(&park->due);
	ring->park = park;
	return 0;
}

/* Ends the wait for readiness: the kernel writes to park->events until that has ended. */
void park_close(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (park && park->armed) {
		struct io_uring_sqe *sqe = queue_internal_sqe(ring);
		if (!sqe)
			return;
		io_uring_prep_cancel64(sqe,
				       ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK,
						      ticket_last(&ring->requests.park_waits)),
				       0);
		sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
		int error = queue_wait(ring, CTX_FOREVER);
		note_harvest(ring);
		if (error < 0 && error != -EINTR && error != -EBUSY)
			return;
	}
}

void park_close_fd(struct ctx_ring *ring)
{
	sys_close(ring->park->epoll_fd);
	ring->park->epoll_fd = -1;
}

void park_free(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	if (!park)
		return;
	ring->park = NULL;
	sys_close(park->epoll_fd);
	park_fds_free(park);
	/*
	 * If the wait for readiness was not seen to end, the kernel may still write to this memory, so it is
	 * kept.
	 */
	if (!park->armed || ring->owner.ended || ring->fork_count != thread_fork_count)
		memory_release(park);
}

/* ---- ends ---- */

void park_finish_attempts(struct ctx_ring *ring)
{
	if (!ring->park || !ring->park->attempts || ring->adopted)
		return;
	/*
	 * Attempts that are still in the queue would be made after their operations have ended, with buffers
	 * that are the program's again. So they are submitted.
	 */
	if (uring_publish(ring->uring))
		queue_flush(ring);
	if (!uring_cq_ready(ring->uring))
		return;
	note_harvest(ring);
	queue_notify(ring); /* the completions that were taken out do not show on ctx_ring_fd any more */
}

void park_end_fd(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end)
{
	for (enum way way = WAY_IN; way < WAYS; way++)
		for (struct list *link = p->queue[way].next, *next; link != &p->queue[way]; link = next) {
			struct operation *op = container_of(link, struct operation, park);
			next = link->next;
			if (!op->group->parked_ended) /* otherwise it is in ring->ops.ready */
				park_queue_end(ring, op, res, end);
		}
}

/*
 * Cancels the operation of an attempt that waits in the kernel. If the attempt has just been answered, ends
 * the operation where it is now.
 */
static void cancel_attempt(struct ctx_ring *ring, struct operation *op)
{
	if (op->phase == OP_KERNEL && (op->marks & OP_ATTEMPT))
		park_finish_attempts(ring);
	if (op->phase == OP_IDLE || op->phase == OP_READY ||
	    (op->marks & (OP_SEEN | OP_CANCEL_SENT | OP_EXPLICIT | OP_DOOMED)) ||
	    (op->phase == OP_PARKED && op->group->parked_ended))
		return;
	if (op->phase == OP_KERNEL) {
		chain_cancel(ring, op);
		return;
	}
	op_mark(op, OP_EXPLICIT);
	if (op->phase == OP_PARKED)
		park_queue_end(ring, op, -ECANCELED, CTX_OP_CANCELLED);
	else /* it was about to go the usual way, alone, and waits to be given to the kernel */
		ready_add(ring, op, -ECANCELED, group_op_end(op->group));
}

static void cancel_waiting(struct ctx_ring *ring, int fd)
{
	struct operation *op;

	for (uint32_t cursor = 0; (op = close_index_next(ring, fd, &cursor));)
		if (op->marks & OP_WAITS)
			cancel_attempt(ring, op);
	queue_notify(ring);
}

/*
 * The number p->fd belongs to another file now than the one on which operations are parked. No readiness will
 * come for those any more. Nor will it come for an attempt that waits in the kernel, and operations on the
 * new file would wait behind that.
 */
static void file_was_replaced(struct ctx_ring *ring, struct park_fd *p)
{
	/* This comes first, since it may see answers, whose operations park again. */
	if (p->pending && park_fd_is_issued(p))
		cancel_waiting(ring, p->fd);
	if (debug_is_wanted())
		park_queue_explain_replaced(p);
	park_end_fd(ring, p, -EBADF, CTX_OP_FINISHED);
	park_fd_reset(p);
}

void park_returned(struct ctx_ring *ring, int fd)
{
	struct park_fd *p = park_fd_find(ring->park, fd);

	if (p)
		file_was_replaced(ring, p);
}

/* ---- what is to park ---- */

/* Takes a slot for op, and starts the timers of its timeout and of its context's deadline. */
static int reserve_slot(struct ctx_ring *ring, struct operation *op)
{
	struct group *group = op->group;
	int error = slot_take(ring, op);

	if (error)
		return error;
	if (op->marks & OP_HAS_TIMEOUT) {
		op->timeout_ns = clock_after_ns(clock_now_ns(), op->timeout_ns);
		error = op_timer_start(ring, op, op->timeout_ns);
		if (error) {
			slot_release(ring, op);
			return error;
		}
	}
	if (context_deadline(group->watch.ctx) != CTX_FOREVER && !heap_contains(&group->deadline.node))
		ring_timer_set(ring, &group->deadline, context_deadline(group->watch.ctx));
	return 0;
}

/*
 * How the attempts of op are to be made, whose buffer the kernel picks from a group of buffers. An attempt in
 * vain must leave the buffer in its group.
 *   - Attempts to receive may do so, see park_buffers.c. But one that takes several buffers may end with some
 *     of them.
 *   - Attempts to read do not leave it in a group of IORING_OP_PROVIDE_BUFFERS, nor in any group if the
 *     answer is that there is no such attempt.
 *   - Attempts to send never do.
 *
 * The kernel refuses all other operations with such a buffer.
 */
static unsigned marks_with_group(const struct operation *op)
{
	switch (op->sqe.opcode) {
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
		return (op->sqe.ioprio & IORING_RECVSEND_BUNDLE) || !park_buffers_stay() ? OP_ASKS : 0;
	case IORING_OP_READ:
	case IORING_OP_READV:
		return OP_ASKS;
	default:
		return OP_WAITS;
	}
}

static bool asks_first(const struct park_fd *p, const struct operation *op)
{
	return (op->marks & OP_ASKS) || ((p->state & PARK_ASKS) && attempt_is_of_file(op->opcode));
}

/*
 * Whether op may wait in the kernel until it has waited for long (park_late.h). Not if it could have a part
 * of its result, or a provided buffer, when it is taken out of the kernel again.
 */
static bool may_be_late(const struct ctx_ring *ring, const struct operation *op)
{
	return (op->marks & (OP_PARK_RING | OP_PARK_NOW)) == OP_PARK_RING && !ring->park->check &&
	       !attempt_wants_all(op) && !(op->sqe.flags & IOSQE_BUFFER_SELECT) &&
	       atomic_load_explicit(&park_late_after_ns, memory_order_relaxed);
}

/*
 * Decides about op, which has OP_LATE and is to be given to the kernel next on p. True: as one that waits.
 * False: as any other, and OP_LATE is gone.
 */
static bool settle_late(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if ((way == WAY_IN && (p->state & PARK_LONG)) || asks_first(p, op)) {
		op_unmark(op, OP_LATE);
		return false;
	}
	if (way == WAY_IN && (p->state & PARK_WATCHED)) /* or each message would be an event, too */
		park_fd_unwatch(ring->park, p);
	op_mark(op, OP_WAITS);
	return true;
}

/* Puts an attempt of op, which is in no list, into the kernel's queue. */
static void give_attempt(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	struct io_uring_sqe *sqe = uring_next_sqe(ring->uring);
	struct group *group = op->group;

	attempt_prepare(op, &ring->features, sqe);
	sqe->user_data = ring_user_data(ring, KIND_OP, op->slot, op->generation);
	op->phase = OP_KERNEL;
	op->order = ++ring->ops.order;
	op_mark(op, OP_ATTEMPT);
	if (op->marks & OP_WAITS) {
		p->pending++;
		op_mark(op, OP_COUNTED);
	}
	list_insert(&group->pending, &op->link);
	group->in_kernel++;
	ring->ops.in_kernel++;
	if (op->marks & OP_LATE)
		park_late_begin(ring);
	else
		ring->park->attempts++;
	park_fd_clear(p, PARK_FRESH << way);
	park_fd_set(p, PARK_ISSUED << way);
	close_index_note(ring, ring->uring->sq.sqe_tail - 1);
}

static inline void tell_submit(const struct ctx_ring *ring, const struct operation *op)
{
	const struct group *group = op->group;

	(void)ring;
	(void)group;
	usdt_operation_submit(ring, group->table_slot, group->table_generation, op->opcode, op->sqe.fd, op);
}

int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns)
{
	enum way way = attempt_way(op);

	if ((op->marks & OP_HAS_TIMEOUT) && !op->timeout_ns)
		return 0; /* its timeout is zero, so it does not wait */
	if (ring->adopted || (op->marks & OP_USUAL) || (op->sqe.flags & (IOSQE_FIXED_FILE | IOSQE_ASYNC)))
		return 0;
	if (op->sqe.opcode == IORING_OP_RECV && (op->sqe.msg_flags & MSG_OOB)) {
		struct park_fd *urgent = park_fd_find(ring->park, op->sqe.fd);
		if (urgent)
			park_fd_set(urgent, PARK_LINGERS);
	}
	if (way == WAY_NONE || park_open(ring))
		return 0;
	struct park_fd *p = park_fd_make(ring->park, op->sqe.fd);
	/* Without memory op does not go the usual way: operations that park later could overtake it there. */
	if (!p)
		return op->sqe.fd < 0 || (unsigned)op->sqe.fd >= PARK_FDS_MAX ? 0 : -ENOMEM;
	if (ring->park->check && park_fd_differs(ring->park, p))
		file_was_replaced(ring, p);
	/* If others are parked on this descriptor, op parks behind them, to keep the order. */
	if ((p->state & PARK_UNPARKABLE) && list_empty(&p->queue[way]))
		return 0;
	op->opcode = op->sqe.opcode;
	bool first = list_empty(&p->queue[way]) && !park_fd_has(p, PARK_ISSUED << way), waits = false;
	if (may_be_late(ring, op)) {
		op_mark(op, OP_LATE);
		waits = first && settle_late(ring, p, way, op);
	}
	if (attempt_wants_all(op) && !park_fd_learn_type(p))
		op_mark(op, OP_WAITS);
	if (!waits && attempt_is_of_file(op->sqe.opcode)) {
		/*
		 * An attempt on a regular file may bring less than there is. epoll cannot watch those, so
		 * they are found by that.
		 */
		int error = park_fd_watch(ring->park, p, way);
		if (error == -EPERM) {
			park_fd_set(p, PARK_UNPARKABLE);
			op_unmark(op, OP_LATE);
			return 0;
		}
		op_mark(op, error ? OP_WAITS : 0);
	}
	if (op->sqe.flags & IOSQE_BUFFER_SELECT)
		op_mark(op, marks_with_group(op));
	/* A write is tried at once. epoll does not report little room that came since the last -EAGAIN. */
	if (way == WAY_OUT && list_empty(&p->queue[way]))
		park_fd_set(p, PARK_READY << way);
	int error = reserve_slot(ring, op);
	if (error)
		return error;
	op_mark(op, way == WAY_OUT ? OP_OUT : 0);
	op_unmark(op, OP_TIMED | OP_DEADLINE); /* no linked timeout goes with an attempt */
	stage_leave(op);
	list_unlink(&op->link);
	counters_operations_begin(op->group->stem, 1);
	if (waits && uring_space(ring->uring)) {
		give_attempt(ring, p, way, op);
		record_operation(ring, op, now_ns, CTX_TABLE_OP_IN_FLIGHT);
		tell_submit(ring, op);
		return 1;
	}
	if (way == WAY_IN && list_empty(&p->queue[way]))
		p->since_ms = (uint32_t)(now_ns / 1000000);
	park_queue_add(ring, op, p->queue[way].prev);
	record_operation(ring, op, now_ns, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
	tell_submit(ring, op);
	if (park_queue_attempt_is_due(p, way))
		park_queue_make_due(ring, p);
	return 1;
}

/* ---- attempts ---- */

static void issue_attempt(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	park_queue_remove(ring, op);
	list_unlink(&op->link);
	give_attempt(ring, p, way, op);
	record_set_flags(ring, op, CTX_TABLE_OP_IN_FLIGHT);
}

static bool make_room(struct ctx_ring *ring)
{
	return uring_space(ring->uring) || (queue_flush(ring) >= 0 && uring_space(ring->uring));
}

static int arm_readiness(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	if (park->armed || !park->watches)
		return 0;
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);
	if (!sqe)
		return -EAGAIN;
	if (park->by_poll) {
		io_uring_prep_poll_add(sqe, park->epoll_fd, POLLIN);
	} else {
		sqe->opcode = OP_EPOLL_WAIT;
		sqe->fd = park->epoll_fd;
		sqe->addr = (uint64_t)(uintptr_t)park->events;
		sqe->len = PARK_EVENTS_MAX;
	}
	sqe->user_data =
		ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK, ticket_take(&ring->requests.park_waits));
	park->armed = true;
	return 0;
}

/*
 * Whether to make an attempt for op now. False: the attempt would have to be one that waits in the kernel,
 * and there is nothing for it yet.
 */
static bool may_attempt(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if ((op->marks & OP_LATE) && settle_late(ring, p, way, op))
		return true;
	if ((op->marks & OP_WAITS) || !asks_first(p, op))
		return true;
	if (way == WAY_IN && !park_fd_ask(ring->park, p, attempt_is_of_file(op->opcode)))
		return false;
	op_mark(op, OP_WAITS);
	return true;
}

/* Makes an attempt on p if one is due. True: it did. */
static bool attempt_first(struct ctx_ring *ring, struct park_fd *p)
{
	for (enum way way = WAY_IN; way < WAYS; way++) {
		struct operation *op = park_queue_attempt_is_due(p, way) ? park_queue_first(p, way) : NULL;
		if (op && may_attempt(ring, p, way, op)) {
			issue_attempt(ring, p, way, op);
			return true;
		}
	}
	return false;
}

int park_push(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (!list_empty(&park->due)) {
		if (!make_room(ring)) /* some queues have one entry */
			return -EAGAIN;
		if (list_empty(&park->due))
			break; /* making room may have ended the operation that was due */
		struct park_fd *p = container_of(park->due.next, struct park_fd, due);
		if (!attempt_first(ring, p))
			list_remove(&p->due);
	}
	/* The wait for readiness goes behind the attempts, so that it reports what they leave to do. */
	return arm_readiness(ring);
}
