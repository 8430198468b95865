/* SPDX-License-Identifier: MIT */
/*
 * The timers of a ring, in user space. The kernel keeps plain timeouts on one list, where many are slow to
 * remove. So only one kernel timeout is ever under way, for the earliest timer (queue_arm_timer()). It ends
 * every kind of wait: ours, that of a program that owns an adopted ring, and that of an outer event loop.
 */
#include "record.h"
#include "ring.h"

#define RETRY_FIRST_NS 1000000ull
#define RETRY_MAX_NS 1000000000ull

void ring_timer_set(struct ctx_ring *ring, struct ring_timer *timer, uint64_t when_ns)
{
	heap_remove(&ring->times.heap, &timer->node);
	heap_insert(&ring->times.heap, &timer->node, when_ns);
}

void ring_timer_stop(struct ctx_ring *ring, struct ring_timer *timer)
{
	heap_remove(&ring->times.heap, &timer->node);
}

void ring_timer_note(struct ctx_ring *ring, uint32_t number, int res)
{
	if (!ticket_return(&ring->times.kernel_timers, number))
		return;
	if (res == -EACCES)
		ring->requests.refused = -EACCES;
	/* An older kernel timeout was cancelled to make way for an earlier one, and nothing waits for it. */
	if (number == ticket_last(&ring->times.kernel_timers))
		ring->times.armed_ns = CTX_FOREVER;
}

void ring_timers_fire(struct ctx_ring *ring)
{
	struct heap_node *earliest = ring->times.heap.root;

	if (!earliest)
		return;
	/* The function of a timer may call functions of the program, which may fork. */
	for (uint64_t now_ns = clock_now_ns(); earliest && earliest->key_ns <= now_ns && ring_is_here(ring);
	     earliest = ring->times.heap.root) {
		struct ring_timer *timer = container_of(earliest, struct ring_timer, node);
		ring_timer_stop(ring, timer);
		timer->fire(ring, timer, now_ns);
	}
}

/*
 * Cancels operations again. A cancel that answers -ENOENT or -EALREADY has not always done its work: a
 * request between two attempts is in neither place where the kernel looks (seen on Linux 6.18 with readiness
 * that vanished, and with workers just starting). And linked timeouts do not reach requests that block in a
 * worker. So such operations are cancelled again until they complete.
 */
static void fire_retry(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	if (ring->times.retry_delay_ns < RETRY_MAX_NS)
		ring->times.retry_delay_ns *= 2;
	list_splice(&ring->ops.singles, &ring->ops.retries);
	while (!list_empty(&ring->groups.retrying)) {
		struct group *group = container_of(ring->groups.retrying.next, struct group, retry_link);
		list_remove(&group->retry_link);
		list_splice(&ring->ops.singles, &group->retries);
	}
}

void ring_timer_retry(struct ctx_ring *ring, struct operation *op)
{
	op_unmark(op, OP_CANCEL_SENT);
	record_add_flag(ring, op, CTX_TABLE_OP_CANCELLING);
	list_remove(&op->link);
	if (op->marks & OP_DOOMED) {
		struct group *group = op->group;
		list_append(&group->retries, &op->link);
		list_remove(&group->retry_link);
		list_append(&ring->groups.retrying, &group->retry_link);
	} else {
		list_append(&ring->ops.retries, &op->link);
	}
	if (!op->attempts)
		ring->times.retry_delay_ns = RETRY_FIRST_NS;
	if (op->attempts < UINT8_MAX)
		op->attempts++;
	uint64_t when_ns = clock_now_ns() + ring->times.retry_delay_ns;
	ring->times.retry.fire = fire_retry;
	if (!heap_contains(&ring->times.retry.node) || ring->times.retry.node.key_ns > when_ns)
		ring_timer_set(ring, &ring->times.retry, when_ns);
}
