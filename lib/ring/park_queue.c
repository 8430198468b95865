/* SPDX-License-Identifier: MIT */
#include "park_queue.h"

bool park_queue_is_due(const struct ctx_ring *ring)
{
	return !list_empty(&ring->park->due);
}

bool park_queue_needs_push(const struct ctx_ring *ring)
{
	return park_queue_is_due(ring) || (!ring->park->armed && ring->park->watches);
}

void park_queue_count(struct ctx_ring *ring, struct operation *op)
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

void park_queue_uncount(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);

	op_unmark(op, OP_COUNTED);
	if (p)
		p->pending--;
}

/* Explains an end of op, which may come late, if the program has closed its descriptor meanwhile. */
static __attribute__((noinline, cold)) void explain_closed(const struct operation *op)
{
	int saved = errno;

	if (fcntl(op->sqe.fd, F_GETFD) < 0)
		debug_tell_event(
			(uintptr_t)op->sqe.fd,
			"descriptor %d was closed by close(2) while an operation was parked on it: close it "
			"by ctx_ring_close_fd",
			op->sqe.fd);
	errno = saved;
}

void park_queue_explain_replaced(const struct park_fd *p)
{
	unsigned count = 0;

	for (enum way way = WAY_IN; way < WAYS; way++)
		for (const struct list *link = p->queue[way].next; link != &p->queue[way]; link = link->next)
			count++;
	if (count)
		debug_tell_event(
			(uintptr_t)p->fd,
			"descriptor %d was closed by close(2) while operations were parked on it (%u), and "
			"another file has its number now, so they complete with -EBADF: close it by "
			"ctx_ring_close_fd",
			p->fd, count);
}

void park_queue_end_group(struct group *group)
{
	if (debug_is_wanted())
		for (const struct list *link = group->parked.next; link != &group->parked; link = link->next)
			explain_closed(container_of(link, struct operation, link));
	group->parked_ended = true;
	group->ring->ops.parked -= group->parked_count;
	group->parked_count = group->partial_count = 0;
	list_splice(&group->ring->ops.ready, &group->parked);
}

void park_queue_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	park_queue_remove(ring, op);
	if (debug_is_wanted() && res != -EBADF)
		explain_closed(op);
	if (op->marks & OP_RESULT)
		ready_add(ring, op, op->res, CTX_OP_FINISHED);
	else
		ready_add(ring, op, res, end);
}

void park_queue_leave(struct operation *op)
{
	park_queue_unlink(op);
	if (!(op->marks & OP_RESULT))
		op->res = -ECANCELED;
	op->end = (uint8_t)(op->marks & OP_RESULT ? CTX_OP_FINISHED : group_op_end(op->group));
}
