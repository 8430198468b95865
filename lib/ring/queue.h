/* SPDX-License-Identifier: MIT */
#ifndef CTX_QUEUE_H
#define CTX_QUEUE_H

#include "park_queue.h"
#include "ring.h"

/* Submits all that is in the queue. Entries, or -errno. */
int queue_flush(struct ctx_ring *ring);

/* Room for one more entry of ours, flushing if need be. NULL: the kernel takes none now. */
struct io_uring_sqe *queue_internal_sqe(struct ctx_ring *ring);

/* Arms the poll through which the mailbox ends waits in the kernel. */
void queue_arm_wake(struct ctx_ring *ring);

/* Takes that poll out of the kernel. 0, or -errno: it may still be there. */
int queue_disarm_wake(struct ctx_ring *ring);

/* Puts a kernel timeout for the earliest timer into the queue, unless one is under way. */
void queue_arm_timer(struct ctx_ring *ring);

/* Makes ctx_ring_fd readable, or an adopted ring's loop turn, when there is something outside the kernel's
 * queue. */
void queue_notify(struct ctx_ring *ring);

/* The kernel did not take all that there is for it: it is to be asked again, and no completion waited for. */
static inline bool queue_has_unsent(const struct ctx_ring *ring)
{
	return ring->ops.stalled || !list_empty(&ring->ops.singles) || !list_empty(&ring->groups.doomed);
}

/* There is something to deliver or to do that no completion tells of. */
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
__attribute__((cold)) int queue_wait_by_poll(struct ctx_ring *ring, uint64_t timeout_ns);

/*
 * This, and what stands between it and the caller of ctx_ring_dispatch, is inline: a return
 * right after a system call measured slower than one elsewhere.
 */
static inline __attribute__((always_inline)) int queue_wait_inline(struct ctx_ring *ring, uint64_t timeout_ns)
{
	struct uring_wait wait = {.timeout_ns = timeout_ns};

	if (__builtin_expect(ring->adopted, 0) && uring_chain_open(ring->uring))
		return -EBUSY; /* see queue_flush */
	if (timeout_ns && __builtin_expect(!ring->requests.wakes.out, 0)) {
		queue_arm_wake(ring);
		if (ring->park && park_queue_needs_push(ring)) /* as above */
			timeout_ns = wait.timeout_ns = 0;
	}
	if (timeout_ns) /* beyond what is there and has been looked at */
		wait.min_complete = 1 + (ring->adopted ? ring->done.noted - *ring->uring->cq.khead : 0);
	wait.events = timeout_ns || ring->lazy || uring_cq_overflowed(ring->uring);
	if (__builtin_expect(timeout_ns && timeout_ns != CTX_FOREVER && !ring->features.timed_wait, 0)) {
		int error = queue_wait_by_poll(ring, timeout_ns);
		if (error < 0)
			return error;
		wait.min_complete = 0;
	}
	for (;;) {
		unsigned left = uring_publish(ring->uring);
		if (!left && !wait.events)
			return 0;
		int taken = timeout_ns && timeout_ns != CTX_FOREVER
				    ? uring_enter(ring->uring, left, &wait)
				    : uring_enter_plain(ring->uring, left, wait.min_complete, wait.events);
		if (__builtin_expect(taken >= 0 && (unsigned)taken >= left, 1))
			return 0;
		if (taken == -ETIME)
			return 0;
		if (taken < 0)
			return taken;
		/* The kernel stopped behind an entry that it rejected, and did not wait. */
		if (!taken)
			return -EAGAIN;
	}
}

/*
 * Submits and, if timeout_ns is not 0, waits for one more completion than are in an
 * adopted ring's queue, or for any in our own. 0, also when the time is over, or -errno.
 */
int queue_wait(struct ctx_ring *ring, uint64_t timeout_ns);

#endif
