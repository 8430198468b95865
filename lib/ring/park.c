/* SPDX-License-Identifier: MIT */
/*
 * Parked operations. One that would only wait in the kernel costs it 860 bytes, costs a microsecond to
 * cancel, and its buffer is the kernel's until that is done. Here it waits in a queue of its descriptor, in
 * the ring's memory, and the kernel is told of it when there is something to do: as an attempt that does not
 * wait (attempt.h), whose -EAGAIN puts it back. When there may be something to do: park_fd.c.
 *
 * Operations on one descriptor and direction are served in order, one attempt at a time: the kernel itself
 * serves several that wait on one file in any order. Some attempts are such that wait in the kernel, and
 * those behind it wait for its end:
 *  - Where nothing can be relied upon to say when: epoll has no room for one more, a datagram socket says
 *    writable all the time.
 *  - Where there is no attempt that does not wait: pipes know RWF_NOWAIT since Linux 6.4, sockets and
 * timerfds since a few releases later, FIFOs and terminals do not (PARK_ASKS).
 *  - Where one in vain would use up a provided buffer (OP_ASKS).
 * In the last two cases a read waits here until poll(2) says that there is something; it is only then made,
 * and waits in the kernel only if somebody else was quicker. A write is made at once.
 *
 * Readiness is asked for by IORING_OP_EPOLL_WAIT (Linux 6.15), before that by a poll of the epoll set, in the
 * same io_uring_enter(2) that carries the attempts. A single connection pays for the second turn.
 */
#include "park.h"

#include <string.h>

#include "close_index.h"
#include "memory.h"
#include "park_buffers.h"
#include "park_fd.h"
#include "record.h"

#define OP_EPOLL_WAIT 59 /* IORING_OP_EPOLL_WAIT, Linux 6.15 */

/*
 * So many events that said writable when it was not: so it is with datagram sockets that are not connected,
 * whose readiness is not that of the receiver. Then the kernel may wait.
 */
#define ATTEMPTS_MAX 16

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

/* The kernel writes to park->events until its wait has ended. */
void park_close(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (park && park->armed) {
		struct io_uring_sqe *sqe = ring_internal_sqe(ring);
		if (!sqe)
			return;
		io_uring_prep_cancel64(
			sqe,
			ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK, ticket_last(&ring->park_waits)),
			0);
		sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
		int error = ring_wait(ring, CTX_FOREVER);
		complete_harvest(ring);
		if (error < 0 && error != -EINTR && error != -EBUSY)
			return;
	}
}

void park_forget_fd(struct ctx_ring *ring)
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
	/* Not seen to end: the ring is gone, but the kernel may be about to write. */
	if (!park->armed || ring->orphaned || ring->fork_count != thread_fork_count)
		memory_release(park);
}

/* ---- queues ---- */

static void make_due(struct ctx_ring *ring, struct park_fd *p)
{
	if (list_empty(&p->due))
		list_append(&ring->park->due, &p->due);
}

/* The first that is not about to be delivered as cancelled; NULL: none. */
static struct operation *first_waiting(const struct park_fd *p, enum way way)
{
	for (struct list *link = p->queue[way].next; link != &p->queue[way]; link = link->next) {
		struct operation *op = container_of(link, struct operation, park);
		if (!op->group->ended)
			return op;
	}
	return NULL;
}

static bool attempt_is_due(const struct park_fd *p, enum way way)
{
	return park_fd_has(p, PARK_READY << way) && !park_fd_has(p, PARK_ISSUED << way) &&
	       !list_empty(&p->queue[way]);
}

/* Waits from now on, behind place in its queue. */
static void enqueue(struct ctx_ring *ring, struct operation *op, struct list *place)
{
	op->phase = OP_PARKED;
	list_insert(place, &op->park);
	list_append(&op->group->parked, &op->link);
	op->group->parked_count++;
	op->group->partial_count += op->marks & OP_RESULT ? 1 : 0;
	ring->parked++;
}

static void dequeue(struct operation *op)
{
	list_unlink(&op->park);
	op->chain_prev = op->chain_next = NULL;
}

/* The same before its group's parked ones were ended. The caller takes it out of the list. */
static void unpark(struct ctx_ring *ring, struct operation *op)
{
	dequeue(op);
	ring->parked--;
	op->group->parked_count--;
	op->group->partial_count -= op->marks & OP_RESULT ? 1 : 0;
}

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
static void go_usual(struct ctx_ring *ring, struct operation *op)
{
	undo_timeout(ring, op);
	slot_release(ring, op);
	op_unmark(op, OP_ATTEMPT);
	op_mark(op, OP_USUAL);
	op->attempts = 0;
	op->chain_prev = op->chain_next = NULL;
	op->phase = OP_STAGED;
	list_insert(&ring->waiting, &op->link);
	/* Before all others, which an index may have passed already. */
	op_mark(op, OP_INDEXED);
	list_insert(&op->group->staged, &op->park);
}

/* This kernel has no such attempt as op was: nor have those of its kind. */
static void all_go_usual(struct ctx_ring *ring, struct park_fd *p, const struct operation *op)
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
			unpark(ring, other);
			list_remove(&other->link);
			go_usual(ring, other);
		}
}

/* ---- ends ---- */

void park_settle(struct ctx_ring *ring)
{
	if (!ring->park || !ring->park->attempts || ring->adopted)
		return;
	/* What is in the queue would be attempted after its end, with the program's buffer. */
	if (uring_publish(ring->uring))
		ring_flush(ring);
	if (!uring_cq_ready(ring->uring))
		return;
	complete_harvest(ring);
	ring_notify(ring); /* what was taken out shows on ctx_ring_fd no more */
}

void park_end_group(struct group *group)
{
	group->parked_ended = true;
	group->ring->parked -= group->parked_count;
	group->parked_count = group->partial_count = 0;
	list_splice(&group->ring->ready, &group->parked);
}

void park_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	unpark(ring, op);
	if (op->marks & OP_RESULT)
		complete_ready(ring, op, op->res, CTX_OP_FINISHED);
	else
		complete_ready(ring, op, res, end);
}

void park_end_fd(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end)
{
	for (enum way way = WAY_IN; way < WAYS; way++)
		for (struct list *link = p->queue[way].next, *next; link != &p->queue[way]; link = next) {
			struct operation *op = container_of(link, struct operation, park);
			next = link->next;
			if (!op->group->parked_ended) /* else it is in ring->ready */
				park_end(ring, op, res, end);
		}
}

void park_cancel_waiting(struct ctx_ring *ring, int fd, unsigned marks)
{
	struct operation *op;

	for (uint32_t cursor = 0; (op = close_index_next(ring, fd, &cursor));)
		if ((op->marks & marks) == marks)
			ctx_op_cancel(ring, op_public(op));
}

/*
 * The file is another than the one that operations were parked on: those will hear of nothing any more. Nor
 * does an attempt that waits in the kernel, which those on the new file would wait for.
 */
static void replaced(struct ctx_ring *ring, struct park_fd *p)
{
	if (p->pending && park_fd_is_issued(p))
		park_cancel_waiting(ring, p->fd, OP_WAITS); /* first: it sees answers, which park again */
	park_end_fd(ring, p, -EBADF, CTX_OP_FINISHED);
	park_fd_reset(p);
}

void park_returned(struct ctx_ring *ring, int fd)
{
	struct park_fd *p = park_fd_find(ring->park, fd);

	if (p)
		replaced(ring, p);
}

void park_leave(struct operation *op)
{
	dequeue(op);
	if (!(op->marks & OP_RESULT))
		op->res = -ECANCELED;
	op->end = (uint8_t)(op->marks & OP_RESULT ? CTX_OP_FINISHED : complete_end(op->group));
}

/* ---- what is to park ---- */

/* What it needs besides a place: a slot, and its times. */
static int reserve(struct ctx_ring *ring, struct operation *op)
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
 * How op is to be given to the kernel, whose buffer is picked from a group then. An attempt in vain must
 * leave the buffer in its group. That of a receive may, see park_buffers.c; but one of several buffers may
 * end with part of them. That of a read does not leave it in a group of IORING_OP_PROVIDE_BUFFERS, nor
 * anywhere if the answer is that there is no such attempt. That of a send never does. The rest is refused by
 * the kernel.
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

int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns)
{
	enum way way = attempt_way(op);

	if ((op->marks & OP_HAS_TIMEOUT) && !op->timeout_ns)
		return 0; /* of no time at all: there is nothing to wait for */
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
	if (!p) /* in the kernel it would be out of order with those that find memory */
		return op->sqe.fd < 0 || (unsigned)op->sqe.fd >= PARK_FDS_MAX ? 0 : -ENOMEM;
	if (ring->park->check && park_fd_differs(ring->park, p))
		replaced(ring, p);
	if ((p->state & PARK_UNPARKABLE) && list_empty(&p->queue[way])) /* else behind those, in order */
		return 0;
	if (attempt_wants_all(op) && !park_fd_learn_type(p))
		op_mark(op, OP_WAITS);
	if (attempt_is_of_file(op->sqe.opcode)) {
		/* Of a regular file an attempt may bring less than there is: those cannot be watched. */
		int error = park_fd_watch(ring->park, p, way);
		if (error == -EPERM) {
			park_fd_set(p, PARK_UNPARKABLE);
			return 0;
		}
		op_mark(op, error ? OP_WAITS : 0);
	}
	if (op->sqe.flags & IOSQE_BUFFER_SELECT)
		op_mark(op, marks_with_group(op));
	/* In the usual way it is tried. Little room, that came since the last -EAGAIN, is told to nobody. */
	if (way == WAY_OUT && list_empty(&p->queue[way]))
		park_fd_set(p, PARK_READY << way);
	int error = reserve(ring, op);
	if (error)
		return error;
	op->opcode = op->sqe.opcode;
	op_mark(op, way == WAY_OUT ? OP_OUT : 0);
	op_unmark(op, OP_TIMED | OP_DEADLINE); /* no linked timeout follows it */
	stage_leave(op);
	list_unlink(&op->link);
	enqueue(ring, op, p->queue[way].prev);
	record_operation(ring, op, now_ns, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
	if (attempt_is_due(p, way))
		make_due(ring, p);
	return 1;
}

void park_count(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p;

	if (!ring->park || op->sqe.fd < 0 || !op_is_on(op, op->sqe.fd)) /* AT_FDCWD is none */
		return;
	p = park_fd_make(ring->park, op->sqe.fd);
	if (!p) {
		ring->park->uncounted = true;
		return;
	}
	p->pending++;
	op_mark(op, OP_COUNTED);
}

void park_uncount(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);

	op_unmark(op, OP_COUNTED);
	if (p)
		p->pending--;
}

/* ---- attempts ---- */

static void attempt(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	struct io_uring_sqe *sqe = uring_next_sqe(ring->uring);
	struct group *group = op->group;

	attempt_prepare(op, &ring->features, sqe);
	sqe->user_data = ring_user_data(ring, KIND_OP, op->slot, op->generation);
	unpark(ring, op);
	list_unlink(&op->link);
	op->phase = OP_KERNEL;
	op->order = ++ring->order;
	op_mark(op, OP_ATTEMPT);
	if (op->marks & OP_WAITS)
		park_count(ring, op);
	list_insert(&group->pending, &op->link);
	group->in_kernel++;
	ring->in_kernel++;
	ring->park->attempts++;
	park_fd_clear(p, PARK_FRESH << way);
	park_fd_set(p, PARK_ISSUED << way);
	record_set_flags(ring, op, CTX_TABLE_OP_IN_FLIGHT);
	close_index_note(ring, ring->uring->sq.sqe_tail - 1);
}

static bool room(struct ctx_ring *ring)
{
	return uring_space(ring->uring) || (ring_flush(ring) >= 0 && uring_space(ring->uring));
}

static int arm(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	if (park->armed || !park->watches)
		return 0;
	struct io_uring_sqe *sqe = ring_internal_sqe(ring);
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
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK, ticket_take(&ring->park_waits));
	park->armed = true;
	return 0;
}

bool park_is_due(const struct ctx_ring *ring)
{
	return !list_empty(&ring->park->due);
}

static bool asks_first(const struct park_fd *p, const struct operation *op)
{
	return (op->marks & OP_ASKS) || ((p->state & PARK_ASKS) && attempt_is_of_file(op->opcode));
}

/* False: it would be one that waits in the kernel, and for now would do nothing but that. */
static bool is_worth_it(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if ((op->marks & OP_WAITS) || !asks_first(p, op))
		return true;
	if (way == WAY_IN && !park_fd_ask(ring->park, p, attempt_is_of_file(op->opcode)))
		return false;
	op_mark(op, OP_WAITS);
	return true;
}

/* Makes an attempt on p if one is due. */
static bool attempt_first(struct ctx_ring *ring, struct park_fd *p)
{
	for (enum way way = WAY_IN; way < WAYS; way++) {
		struct operation *op = attempt_is_due(p, way) ? first_waiting(p, way) : NULL;
		if (op && is_worth_it(ring, p, way, op)) {
			attempt(ring, p, way, op);
			return true;
		}
	}
	return false;
}

bool park_needs_push(const struct ctx_ring *ring)
{
	return park_is_due(ring) || (!ring->park->armed && ring->park->watches);
}

int park_push(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (!list_empty(&park->due)) {
		if (!room(ring)) /* there are queues of one entry */
			return -EAGAIN;
		if (list_empty(&park->due))
			break; /* making room may have ended it */
		struct park_fd *p = container_of(park->due.next, struct park_fd, due);
		if (!attempt_first(ring, p))
			list_remove(&p->due);
	}
	/* Behind the attempts: what they leave to do is then reported with them. */
	return arm(ring);
}

/* ---- what comes back ---- */

static void set_parked(struct ctx_ring *ring, struct park_fd *p, struct operation *op, enum way way)
{
	op_unmark(op, OP_ATTEMPT);
	list_remove(&op->link);
	enqueue(ring, op, &p->queue[way]);
	record_set_flags(ring, op, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
}

/* Adds what an attempt has brought to what there is. */
static void add_result(struct operation *op, int res)
{
	op->res = (op->marks & OP_RESULT ? op->res : 0) + res;
	op_mark(op, OP_RESULT);
}

/* True: it was ended while the attempt was under way, and is final now, with what there is. */
static bool finish_if_over(struct operation *op)
{
	if (!(op->marks & (OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT)) && !op->group->parked_ended)
		return false;
	if (!(op->marks & OP_RESULT))
		add_result(op, -ECANCELED);
	return true;
}

/* Each of these four: true, it goes on waiting; false, it is final. */

/* What is parked now is on another file, and so would this be: it ends with what it has come to. */
static bool note_stale(struct operation *op, int res)
{
	if (op->marks & OP_RESULT)
		add_result(op, res > 0 ? res : 0);
	else if ((res == -EAGAIN || attempt_is_impossible(op, res)) && !finish_if_over(op))
		add_result(op, -EBADF);
	return false;
}

/* It would have had to wait: it does so here, or is to in the kernel. */
static bool note_again(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	park_fd_not_ready(ring->park, p, way);
	if (finish_if_over(op))
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
	set_parked(ring, p, op, way);
	return true;
}

/*
 * There is no attempt that does not wait. An accept goes the usual way. Reads and writes do not: their order
 * would be lost, as the kernel serves several that wait in any order, and with it the order of the bytes.
 */
static bool note_impossible(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	if (finish_if_over(op))
		return false;
	if (attempt_is_of_file(op->opcode)) {
		if (op->sqe.rw_flags)
			op_mark(op, OP_WAITS); /* the answer may be to those */
		else
			park_fd_set(p, PARK_ASKS);
		set_parked(ring, p, op, way);
		return true;
	}
	list_remove(&op->link);
	all_go_usual(ring, p, op);
	go_usual(ring, op);
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
static bool note_result(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op, int res,
			unsigned flags)
{
	if (leaves_nothing(ring, p, op, res, flags))
		park_fd_not_ready(ring->park, p, way);
	bool part = attempt_wants_all(op) && !(op->marks & OP_WAITS) && attempt_is_short(op, res) &&
		    (p->state & PARK_CONNECTED);
	if (part || (op->marks & OP_RESULT))
		add_result(op, res > 0 ? res : 0);
	if (!part || finish_if_over(op))
		return false;
	set_parked(ring, p, op, way);
	return true;
}

bool park_note(struct ctx_ring *ring, struct operation *op, int res, unsigned flags)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);
	enum way way = op->marks & OP_OUT ? WAY_OUT : WAY_IN;
	bool stale = park_fd_has(p, PARK_STALE << way), waits;

	park_fd_clear(p, (PARK_ISSUED | PARK_STALE) << way);
	ring->park->attempts--;
	if (stale)
		waits = note_stale(op, res);
	else if (res == -EAGAIN && !(op->marks & OP_WAITS))
		waits = note_again(ring, p, way, op);
	else if (attempt_is_impossible(op, res))
		waits = note_impossible(ring, p, way, op);
	else
		waits = note_result(ring, p, way, op, res, flags);
	if (waits) {
		op->group->in_kernel--;
		ring->in_kernel--;
	}
	if (attempt_is_due(p, way))
		make_due(ring, p);
	return waits;
}

static void note_event(struct ctx_ring *ring, const struct epoll_event *event)
{
	struct park_fd *p = park_fd_note_event(ring->park, event);

	if (p && (attempt_is_due(p, WAY_IN) || attempt_is_due(p, WAY_OUT)))
		make_due(ring, p);
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
		note_event(ring, &park->events[i]);
}
