/* SPDX-License-Identifier: MIT */
/* The kernel's queue of requests: submits it, puts the library's own requests into it, and waits. */
#include "queue.h"

#include "note.h"

int queue_flush(struct ctx_ring *ring)
{
	static const struct uring_wait no_wait = {.timeout_ns = CTX_FOREVER};
	unsigned left;
	int sent = 0;

	/* To submit now would end the program's unfinished chain where it is. */
	if (ring->adopted && uring_chain_open(ring->uring))
		return -EBUSY;
	while ((left = uring_publish(ring->uring)) != 0) {
		int taken = ring_enter(ring, left, &no_wait);
		if (taken == -EINTR)
			continue;
		if (taken == -EBUSY && !ring->adopted && uring_cq_ready(ring->uring)) {
			note_harvest(ring);
			if (!uring_cq_ready(ring->uring))
				continue;
		}
		if (taken <= 0)
			return taken ? taken : -EAGAIN;
		sent += taken; /* may be less than left: the kernel stops behind an entry that it rejected */
	}
	return sent;
}

const char *ring_explain_refusal(const struct ctx_ring *ring, int error)
{
	switch (error) {
	case -EBUSY:
		if (ring->adopted && uring_chain_open(ring->uring))
			return "the program has left a chain open in the adopted ring: finish it first";
		if (ring->adopted)
			return "an entry with IOSQE_IO_DRAIN waits in the adopted ring, or its completion "
			       "queue is full";
		return "the kernel wants completions to be read first";
	case -EAGAIN:
		return "the kernel has no memory for requests now, or the program's entries fill the queue";
	case -EEXIST:
		return "the io_uring is a SINGLE_ISSUER ring of another thread";
	case -EPERM:
		return "the process forked in this call, and this is the child";
	case -EBADF:
		return "the descriptor of the io_uring is closed";
	case -ETIMEDOUT:
		return "the kernel still holds operations; stuck says which";
	default:
		return "the kernel refused io_uring_enter(2) or a system call that the wait needs";
	}
}

struct io_uring_sqe *queue_internal_sqe(struct ctx_ring *ring)
{
	if (ring->adopted && (uring_chain_open(ring->uring) || !ring->requests.greeted))
		return NULL;
	if (!uring_space(ring->uring) && queue_flush(ring) < 0)
		return NULL;
	if (!uring_space(ring->uring))
		return NULL;
	return uring_blank_sqe(ring->uring);
}

static void fire_wake_rest(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	queue_arm_wake(ring);
}

void queue_arm_wake(struct ctx_ring *ring)
{
	if (ring->requests.wakes.out || ring->requests.withdrawing || ring->requests.refused ||
	    heap_contains(&ring->requests.wake_rest.node))
		return;
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);
	if (!sqe)
		return;
	ring->requests.wake_rest.fire = fire_wake_rest;
	io_uring_prep_poll_add(sqe, mailbox_fd(ring->mailbox), POLLIN);
	if (ring->features.multishot_poll && !ring->requests.wake_once)
		sqe->len = IORING_POLL_ADD_MULTI;
	sqe->user_data =
		ring_user_data(ring, KIND_INTERNAL, INTERNAL_WAKE, ticket_take(&ring->requests.wakes));
}

/* Cancels the kernel timeout under way. Its completion comes all the same. */
static bool remove_armed(struct ctx_ring *ring)
{
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);

	if (!sqe)
		return false;
	/*
	 * By the same operation as every other cancel, so that a ring with restrictions has to allow no
	 * further one.
	 */
	io_uring_prep_cancel64(
		sqe,
		ring_user_data(ring, KIND_INTERNAL, INTERNAL_TIMER, ticket_last(&ring->times.kernel_timers)),
		0);
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
	if (ring->features.skip_success)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	ring->times.armed_ns = CTX_FOREVER;
	return true;
}

void queue_arm_timer(struct ctx_ring *ring)
{
	struct heap_node *earliest = ring->times.heap.root;

	if (!queue_wants_timer(ring) || ring->requests.refused || tickets_full(&ring->times.kernel_timers))
		return;
	/*
	 * A later kernel timeout is cancelled first. Otherwise short timers would leave ever more long ones
	 * behind.
	 */
	if (ring->times.armed_ns != CTX_FOREVER && !remove_armed(ring))
		return;
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);
	if (!sqe)
		return;
	/*
	 * The kernel reads ring->times.armed when it takes the entry. Until then an even earlier time may
	 * take its place.
	 */
	unsigned flags = ring_kernel_time(ring, earliest->key_ns, &ring->times.armed);
	io_uring_prep_timeout(sqe, &ring->times.armed, 0, flags);
	sqe->user_data =
		ring_user_data(ring, KIND_INTERNAL, INTERNAL_TIMER, ticket_take(&ring->times.kernel_timers));
	ring->times.armed_ns = earliest->key_ns;
}

void queue_notify(struct ctx_ring *ring)
{
	if (ring->dispatching || (!ring->adopted && ring->owner.epoll_fd < 0))
		return;
	if (queue_anything_ready(ring) || (!ring->adopted && uring_keeps_back(ring->uring)))
		mailbox_wake(ring->mailbox);
}

int queue_wait_by_poll(struct ctx_ring *ring, uint64_t timeout_ns, bool absolute)
{
	struct pollfd fd = {.fd = ring->uring->ring_fd, .events = POLLIN};
	struct timespec time = clock_timespec(absolute ? clock_left_ns(timeout_ns) : timeout_ns);
	int sent = queue_flush(ring);

	if (sent < 0)
		return sent;
	/* To make room the flush may have noted completions, and these may have brought readiness. */
	if (ring->park && park_queue_needs_push(ring))
		return 0;
	int ready = sys_poll(&fd, 1, &time);
	return ready < 0 ? ready : 0;
}

int queue_wait(struct ctx_ring *ring, uint64_t timeout_ns)
{
	return queue_wait_inline(ring, timeout_ns, false, ring->adopted);
}

int queue_disarm_wake(struct ctx_ring *ring)
{
	int error = 0;

	ring->requests.withdrawing = true;
	while (ring->requests.wakes.out && !error) {
		struct io_uring_sqe *sqe = queue_internal_sqe(ring);
		if (!sqe)
			return -EAGAIN;
		io_uring_prep_cancel64(sqe,
				       ring_user_data(ring, KIND_INTERNAL, INTERNAL_WAKE,
						      ticket_last(&ring->requests.wakes)),
				       0);
		sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
		if (ring->features.skip_success)
			sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		error = queue_wait(ring, CTX_FOREVER);
		if (error == -EINTR)
			error = 0;
		note_harvest(ring);
	}
	ring->requests.withdrawing = false;
	return error;
}
