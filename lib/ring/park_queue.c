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

void park_queue_end_group(struct group *group)
{
	group->parked_ended = true;
	group->ring->ops.parked -= group->parked_count;
	group->parked_count = group->partial_count = 0;
	list_splice(&group->ring->ops.ready, &group->parked);
}

void park_queue_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	park_queue_remove(ring, op);
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
