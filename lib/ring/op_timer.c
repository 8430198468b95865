/* SPDX-License-Identifier: MIT */
/* The timers of operations that have a timeout of their own. */
#include "memory.h"
#include "park_queue.h"
#include "ring.h"

struct op_timer {
	struct ring_timer timer;
	struct operation *op;
	struct op_timer *next_free; /* in ring->times.free_op_timers */
};

static void fire_op_timer(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct operation *op = container_of(timer, struct op_timer, timer)->op;

	(void)now_ns;
	if (op->marks & OP_SEEN)
		return;
	op_mark(op, OP_TIMED_OUT);
	if (op->phase == OP_PARKED) {
		if (!op->group->parked_ended)
			park_queue_end(ring, op, -ECANCELED, CTX_OP_TIMEOUT);
		return;
	}
	/*
	 * A member of a chain that is not the head is cancelled when it becomes the head, see leave_chain().
	 */
	if (op->phase != OP_KERNEL || op->chain_prev || (op->marks & OP_CANCEL_SENT) ||
	    (op->marks & (OP_ATTEMPT | OP_WAITS)) == OP_ATTEMPT)
		return;
	list_remove(&op->link);
	list_append(&ring->ops.singles, &op->link);
}

int op_timer_start(struct ctx_ring *ring, struct operation *op, uint64_t when_ns)
{
	struct op_timer *timer = ring->times.free_op_timers;

	if (timer)
		ring->times.free_op_timers = timer->next_free;
	else
		timer = memory_allocate(sizeof(*timer));
	if (!timer)
		return -ENOMEM;
	*timer = (struct op_timer){.op = op, .timer.fire = fire_op_timer};
	op->timer = timer;
	ring_timer_set(ring, &timer->timer, when_ns);
	return 0;
}

void op_timer_stop(struct ctx_ring *ring, struct operation *op)
{
	ring_timer_stop(ring, &op->timer->timer);
	op->timer->next_free = ring->times.free_op_timers;
	ring->times.free_op_timers = op->timer;
	op->timer = NULL;
}

void op_timers_free(struct ctx_ring *ring)
{
	while (ring->times.free_op_timers) {
		struct op_timer *timer = ring->times.free_op_timers;
		ring->times.free_op_timers = timer->next_free;
		memory_release(timer);
	}
}
