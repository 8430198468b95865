/* SPDX-License-Identifier: MIT */
/*
 * The queues of parked operations, one for each descriptor and direction. Functions that are called for every
 * message are inline. How and why operations park is told in park.c.
 */
#ifndef CTX_PARK_QUEUE_H
#define CTX_PARK_QUEUE_H

#include "park_fd.h"
#include "ring.h"

/* Has the next park_push() look for attempts on p. */
static inline void park_queue_make_due(struct ctx_ring *ring, struct park_fd *p)
{
	if (list_empty(&p->due))
		list_append(&ring->park->due, &p->due);
}

/*
 * The first operation in a queue whose context has not ended. Those of ended contexts are about to be
 * delivered. NULL: there is none.
 */
static inline struct operation *park_queue_first(const struct park_fd *p, enum way way)
{
	for (struct list *link = p->queue[way].next; link != &p->queue[way]; link = link->next) {
		struct operation *op = container_of(link, struct operation, park);
		if (!op->group->ended)
			return op;
	}
	return NULL;
}

/* Whether an attempt for the first operation in this direction is due. */
static inline bool park_queue_attempt_is_due(const struct park_fd *p, enum way way)
{
	return park_fd_has(p, PARK_READY << way) && !park_fd_has(p, PARK_ISSUED << way) &&
	       !list_empty(&p->queue[way]);
}

/* Parks op behind place in the queue of its descriptor. */
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

/* Explains, for CTXRING_DEBUG, that what is parked on p ends because another file has the number now. */
void park_queue_explain_replaced(const struct park_fd *p);

/* Whether some attempt is due. */
bool park_queue_is_due(const struct ctx_ring *ring);

/* Whether park_push() has something to do. If so, a wait could last for ever, since nothing reports that. */
bool park_queue_needs_push(const struct ctx_ring *ring);

/*
 * Counts an operation that goes the usual way among those that its descriptor has in the kernel. For rings
 * that park.
 */
void park_queue_count(struct ctx_ring *ring, struct operation *op);
void park_queue_uncount(struct ctx_ring *ring, struct operation *op);

/* Moves all parked operations of a group that has ended to ring->ops.ready, in one step. */
void park_queue_end_group(struct group *group);

/*
 * Ends op, which is OP_PARKED: takes it out of its queue, and has it delivered with this result, or with its
 * own if it has come to one already.
 */
void park_queue_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end);

/*
 * For an operation that park_queue_end_group() has moved, just before it is delivered: takes it out of its
 * queue, and sets res and end.
 */
void park_queue_leave(struct operation *op);

#endif
