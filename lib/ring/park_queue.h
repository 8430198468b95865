/* SPDX-License-Identifier: MIT */
/*
 * The queues of parked operations, one for each descriptor and direction. Those that are called for every
 * message are inline. How and why operations park: park.c.
 */
#ifndef CTX_PARK_QUEUE_H
#define CTX_PARK_QUEUE_H

#include "park_fd.h"
#include "ring.h"

/* An attempt on p is to be made. */
static inline void park_queue_make_due(struct ctx_ring *ring, struct park_fd *p)
{
	if (list_empty(&p->due))
		list_append(&ring->park->due, &p->due);
}

/* The first that is not about to be delivered as cancelled; NULL: none. */
static inline struct operation *park_queue_first(const struct park_fd *p, enum way way)
{
	for (struct list *link = p->queue[way].next; link != &p->queue[way]; link = link->next) {
		struct operation *op = container_of(link, struct operation, park);
		if (!op->group->ended)
			return op;
	}
	return NULL;
}

/* The first in that direction can be attempted. */
static inline bool park_queue_attempt_is_due(const struct park_fd *p, enum way way)
{
	return park_fd_has(p, PARK_READY << way) && !park_fd_has(p, PARK_ISSUED << way) &&
	       !list_empty(&p->queue[way]);
}

/* Waits from now on, behind place in its queue. */
static inline void park_queue_add(struct ctx_ring *ring, struct operation *op, struct list *place)
{
	op->phase = OP_PARKED;
	list_insert(place, &op->park);
	list_append(&op->group->parked, &op->link);
	op->group->parked_count++;
	op->group->partial_count += op->marks & OP_RESULT ? 1 : 0;
	ring->ops.parked++;
}

/* Takes op out of the queue of its descriptor. */
static inline void park_queue_unlink(struct operation *op)
{
	list_unlink(&op->park);
	op->chain_prev = op->chain_next = NULL;
}

/* Takes op out of its queue and the counts. Only while its group has not ended. The caller unlinks it from
 * group->parked. */
static inline void park_queue_remove(struct ctx_ring *ring, struct operation *op)
{
	park_queue_unlink(op);
	ring->ops.parked--;
	op->group->parked_count--;
	op->group->partial_count -= op->marks & OP_RESULT ? 1 : 0;
}

/* Some attempt is due. */
bool park_queue_is_due(const struct ctx_ring *ring);

/* park_push has something to do, so that a wait would be one for what nobody tells of. */
bool park_queue_needs_push(const struct ctx_ring *ring);

/* An operation of a parking ring goes the usual way: it counts among what its fd has pending in the kernel.
 */
void park_queue_count(struct ctx_ring *ring, struct operation *op);
void park_queue_uncount(struct ctx_ring *ring, struct operation *op);

/* All that is parked of a group that ended: to ring->ops.ready, in one step. */
void park_queue_end_group(struct group *group);

/* Takes op, which is OP_PARKED, out of its queue and completes it with this, unless it has come to something
 * already. */
void park_queue_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end);

/* As park_queue_end for one in ring->ops.ready by park_queue_end_group, which is about to be delivered: sets
 * res and end.
 */
void park_queue_leave(struct operation *op);

#endif
