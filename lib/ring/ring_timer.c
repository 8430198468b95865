/* SPDX-License-Identifier: MIT */
/*
 * Times of a ring, in user space: the kernel keeps plain timeouts on one list, where
 * many are slow to remove, so only one for the earliest is ever under way. It ends
 * every kind of wait: ours, that of the program that owns an adopted ring, and that of an outer event loop.
 */
#include "memory.h"
#include "park.h"
#include "record.h"
#include "ring.h"

#define RETRY_FIRST_NS 1000000ull
#define RETRY_MAX_NS 1000000000ull

struct op_timer {
	struct ring_timer timer;
	struct operation *op;
	struct op_timer *next_free; /* ring->free_op_timers */
};

void ring_timer_set(struct ctx_ring *ring, struct ring_timer *timer, uint64_t when_ns)
{
	heap_remove(&ring->timers, &timer->node);
	heap_insert(&ring->timers, &timer->node, when_ns);
}

void ring_timer_stop(struct ctx_ring *ring, struct ring_timer *timer)
{
	heap_remove(&ring->timers, &timer->node);
}

/* Its completion comes all the same. */
static bool remove_armed(struct ctx_ring *ring)
{
	struct io_uring_sqe *sqe = ring_internal_sqe(ring);

	if (!sqe)
		return false;
	/* As every cancel, so that a ring with restrictions has to allow no other operation. */
	io_uring_prep_cancel64(
		sqe, ring_user_data(ring, KIND_INTERNAL, INTERNAL_TIMER, ticket_last(&ring->kernel_timers)),
		0);
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
	if (ring->features.skip_success)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	ring->armed_ns = CTX_FOREVER;
	return true;
}

void ring_timers_arm(struct ctx_ring *ring)
{
	struct heap_node *earliest = ring->timers.root;

	if (!earliest || earliest->key_ns >= ring->armed_ns || ring->calls || ring->refused ||
	    tickets_full(&ring->kernel_timers))
		return;
	/* The later one makes way, else short timers would leave ever more long ones behind. */
	if (ring->armed_ns != CTX_FOREVER && !remove_armed(ring))
		return;
	struct io_uring_sqe *sqe = ring_internal_sqe(ring);
	if (!sqe)
		return;
	/* The kernel reads the time when it takes the entry; until then an even earlier one may take its
	 * place. */
	ring->armed = uring_time(earliest->key_ns);
	io_uring_prep_timeout(sqe, &ring->armed, 0, IORING_TIMEOUT_ABS);
	sqe->user_data =
		ring_user_data(ring, KIND_INTERNAL, INTERNAL_TIMER, ticket_take(&ring->kernel_timers));
	ring->armed_ns = earliest->key_ns;
}

void ring_note_kernel_timer(struct ctx_ring *ring, uint32_t number, int res)
{
	if (!ticket_return(&ring->kernel_timers, number))
		return;
	if (res == -EACCES)
		ring->refused = -EACCES;
	if (number == ticket_last(&ring->kernel_timers)) /* else it made way for an earlier one */
		ring->armed_ns = CTX_FOREVER;
}

void ring_timers_fire(struct ctx_ring *ring)
{
	struct heap_node *earliest = ring->timers.root;

	if (!earliest)
		return;
	for (uint64_t now_ns = clock_now_ns(); earliest && earliest->key_ns <= now_ns;
	     earliest = ring->timers.root) {
		struct ring_timer *timer = container_of(earliest, struct ring_timer, node);
		ring_timer_stop(ring, timer);
		timer->fire(ring, timer, now_ns);
	}
}

/*
 * A cancel that answers -ENOENT or -EALREADY has not always done its work: a request
 * between two attempts is in neither place where the kernel looks (seen on Linux
 * 6.18 with readiness that vanished, and with workers just starting). And linked
 * timeouts do not reach requests that block in a worker. So such operations are
 * cancelled again until they complete.
 */
static void fire_retry(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	if (ring->retry_delay_ns < RETRY_MAX_NS)
		ring->retry_delay_ns *= 2;
	list_splice(&ring->singles, &ring->retries);
	while (!list_empty(&ring->retry_groups)) {
		struct group *group = container_of(ring->retry_groups.next, struct group, retry_link);
		list_remove(&group->retry_link);
		list_splice(&ring->singles, &group->retries);
	}
}

void ring_retry(struct ctx_ring *ring, struct operation *op)
{
	op_unmark(op, OP_CANCEL_SENT);
	record_add_flag(ring, op, CTX_TABLE_OP_CANCELLING);
	list_remove(&op->link);
	if (op->marks & OP_DOOMED) {
		struct group *group = op->group;
		list_append(&group->retries, &op->link);
		list_remove(&group->retry_link);
		list_append(&ring->retry_groups, &group->retry_link);
	} else {
		list_append(&ring->retries, &op->link);
	}
	if (!op->attempts)
		ring->retry_delay_ns = RETRY_FIRST_NS;
	if (op->attempts < UINT8_MAX)
		op->attempts++;
	uint64_t when_ns = clock_now_ns() + ring->retry_delay_ns;
	ring->retry.fire = fire_retry;
	if (!heap_contains(&ring->retry.node) || ring->retry.node.key_ns > when_ns)
		ring_timer_set(ring, &ring->retry, when_ns);
}

static void fire_op_timer(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct operation *op = container_of(timer, struct op_timer, timer)->op;

	(void)now_ns;
	if (op->marks & OP_SEEN)
		return;
	op_mark(op, OP_TIMED_OUT);
	if (op->phase == OP_PARKED) {
		if (!op->group->parked_ended)
			park_end(ring, op, -ECANCELED, CTX_OP_TIMEOUT);
		return;
	}
	/* What follows in a chain is cancelled when its turn comes, see leave_chain(). */
	if (op->phase != OP_KERNEL || op->chain_prev || (op->marks & OP_CANCEL_SENT) ||
	    (op->marks & (OP_ATTEMPT | OP_WAITS)) == OP_ATTEMPT)
		return;
	list_remove(&op->link);
	list_append(&ring->singles, &op->link);
}

int op_timer_start(struct ctx_ring *ring, struct operation *op, uint64_t when_ns)
{
	struct op_timer *timer = ring->free_op_timers;

	if (timer)
		ring->free_op_timers = timer->next_free;
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
	op->timer->next_free = ring->free_op_timers;
	ring->free_op_timers = op->timer;
	op->timer = NULL;
}

void op_timers_free(struct ctx_ring *ring)
{
	while (ring->free_op_timers) {
		struct op_timer *timer = ring->free_op_timers;
		ring->free_op_timers = timer->next_free;
		memory_release(timer);
	}
}
