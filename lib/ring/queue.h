/* SPDX-License-Identifier: MIT */
#ifndef CTX_QUEUE_H
#define CTX_QUEUE_H

#include "park_queue.h"
#include "ring.h"

/* Submits all that is in the queue. Returns the number of entries, or -errno. */
int queue_flush(struct ctx_ring *ring);

/*
 * Returns an entry of the queue for a request of the library's own. Submits the queue if it is full. NULL:
 * the kernel takes no more now.
 */
struct io_uring_sqe *queue_internal_sqe(struct ctx_ring *ring);

/* Puts the poll on the mailbox into the queue, through which mail ends waits in the kernel. */
void queue_arm_wake(struct ctx_ring *ring);

/* Withdraws that poll. 0, or -errno: it may still be in the kernel. */
int queue_disarm_wake(struct ctx_ring *ring);

/* Whether no kernel timeout is under way for the earliest timer. */
static inline bool queue_wants_timer(const struct ctx_ring *ring)
{
	const struct heap_node *earliest = ring->times.heap.root;

	return earliest && earliest->key_ns < ring->times.armed_ns && !ring->calls;
}

/* Puts a kernel timeout for the earliest timer into the queue, unless one is under way. */
void queue_arm_timer(struct ctx_ring *ring);

/*
 * If there is something to deliver or to do that the kernel's queue does not show: makes the descriptor of
 * ctx_ring_fd readable, or has the loop over an adopted ring's completions turn.
 */
void queue_notify(struct ctx_ring *ring);

/*
 * Whether the kernel did not take all that there is for it. Then it is to be asked again, without a wait for
 * a completion.
 */
static inline bool queue_has_unsent(const struct ctx_ring *ring)
{
	return ring->ops.stalled || !list_empty(&ring->ops.singles) || !list_empty(&ring->groups.doomed);
}

/* Whether there is something to deliver or to do, so that a turn need not wait. */
static inline bool queue_anything_ready(const struct ctx_ring *ring)
{
	return !list_empty(&ring->ops.ready) || ring->done.spill.head != ring->done.spill.tail ||
	       !list_empty(&ring->groups.stuck) || !list_empty(&ring->groups.doomed) ||
	       !list_empty(&ring->groups.emptied) || !list_empty(&ring->ops.singles) ||
	       !list_empty(&ring->polls.fired) || !list_empty(&ring->polls.todo) ||
	       mailbox_pending(ring->mailbox) || (ring->park && park_queue_needs_push(ring)) ||
	       (!ring->adopted && uring_cq_ready(ring->uring));
}

/* ---- waiting */

/* For kernels whose io_uring_enter(2) takes no timeout. */
__attribute__((cold)) int queue_wait_by_poll(struct ctx_ring *ring, uint64_t timeout_ns, bool absolute);

/*
 * As queue_wait(). absolute: timeout_ns is a time of CLOCK_MONOTONIC. adopted is that of the ring.
 *
 * This, and all that stands between it and the caller of ctx_ring_dispatch, is inline: a return right after a
 * system call was measured to be slower than one elsewhere.
 */
static inline __attribute__((always_inline)) int queue_wait_inline(struct ctx_ring *ring, uint64_t timeout_ns,
								   bool absolute, bool adopted)
{
	const struct uring_handle of_program =
		adopted ? uring_handle_of(ring->uring) : (struct uring_handle){0};
	const struct uring_handle *handle = adopted ? &of_program : &ring->handle;
	unsigned min_complete = 0;

	if (adopted && uring_chain_open(ring->uring))
		return -EBUSY; /* see queue_flush() */
	if (timeout_ns && __builtin_expect(!ring->requests.wakes.out, 0)) {
		queue_arm_wake(ring);
		if (ring->park && park_queue_needs_push(ring)) /* making room may have noted readiness */
			timeout_ns = 0;
	}
	if (timeout_ns) /* one more than those of an adopted ring that were noted and not taken yet */
		min_complete = 1 + (adopted ? ring->done.noted - *ring->uring->cq.khead : 0);
	bool events = timeout_ns || ring->lazy || uring_keeps_back(ring->uring);
	bool bounded = __builtin_expect(timeout_ns && timeout_ns != CTX_FOREVER, 0);
	if (__builtin_expect(bounded && !ring->features.timed_wait, 0)) {
		int error = queue_wait_by_poll(ring, timeout_ns, absolute);
		if (error < 0)
			return error;
		min_complete = 0;
	}
	for (;;) {
		unsigned left = uring_publish(ring->uring);
		if (!left && !events)
			return 0;
		int taken;
		if (bounded) {
			const struct uring_wait wait = {min_complete, events, absolute, timeout_ns};
			taken = uring_handle_enter(handle, left, &wait);
		} else {
			taken = uring_handle_enter_plain(handle, left, min_complete, events);
		}
		if (__builtin_expect(taken >= 0 && (unsigned)taken >= left, 1))
			return 0;
		if (taken == -ETIME)
			return 0;
		if (taken < 0)
			return taken;
		/*
		 * The kernel stopped behind an entry that it rejected, and did not wait: enter again for the
		 * rest.
		 */
		if (!taken)
			return -EAGAIN;
	}
}

/*
 * Submits the queue and, if timeout_ns is not 0, waits: for any completion in the queue of our own io_uring,
 * for one more than there are in an adopted ring's. Returns 0, also when the time is over, or -errno.
 */
int queue_wait(struct ctx_ring *ring, uint64_t timeout_ns);

#endif
