/* SPDX-License-Identifier: MIT */
/* The descriptor of ctx_ring_fd, an epoll set, for an outer event loop. */
#include "queue.h"
#include "ring.h"

/*
 * Puts the io_uring's descriptor into the epoll set, and for DEFER_TASKRUN an eventfd as well. Such a ring
 * wakes whoever polls its descriptor on Linux 6.1 and 6.12, but nobody on 6.18. It signals a registered
 * eventfd on 6.1 and 6.18, but on 6.12.117 only once.
 */
static int watch_completions(struct ctx_ring *ring)
{
	struct epoll_event event = {.events = EPOLLIN};
	int error = sys_epoll_ctl(ring->owner.epoll_fd, EPOLL_CTL_ADD, ring->uring->ring_fd, &event);

	if (error || !ring->defer)
		return error;
	ring->owner.ready_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->owner.ready_fd < 0)
		return ring->owner.ready_fd;
	error = uring_register(ring->uring, IORING_REGISTER_EVENTFD, &ring->owner.ready_fd, 1);
	if (error < 0) {
		sys_close(ring->owner.ready_fd); /* the program has registered one itself */
		ring->owner.ready_fd = -1;
		return error;
	}
	return sys_epoll_ctl(ring->owner.epoll_fd, EPOLL_CTL_ADD, ring->owner.ready_fd, &event);
}

int ctx_ring_fd(struct ctx_ring *ring)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (!ring)
		return debug_invalid(NULL, ring);
	int error = ring_check(ring);
	if (error || ring->owner.epoll_fd >= 0)
		return error ? debug_error(error, RING_REFUSED) : ring->owner.epoll_fd;
	if (ring->uring->ring_fd < 0)
		return debug_error(-ENOTSUP,
				   "the adopted io_uring has IORING_SETUP_REGISTERED_FD_ONLY, and no "
				   "descriptor");
	ring->owner.epoll_fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (ring->owner.epoll_fd < 0)
		return ring->owner.epoll_fd;
	error = sys_epoll_ctl(ring->owner.epoll_fd, EPOLL_CTL_ADD, mailbox_fd(ring->mailbox), &event);
	if (!error)
		error = watch_completions(ring);
	if (error) {
		ring_fd_close(ring);
		return debug_error(error, "%s",
				   error == -EBUSY
					   ? "the program has registered an eventfd with this DEFER_TASKRUN "
					     "ring"
					   : "the descriptor could not be made");
	}
	queue_flush(ring);
	/* The kernel does not signal again what was ready before. */
	mailbox_wake(ring->mailbox);
	return ring->owner.epoll_fd;
}

void ring_fd_close(struct ctx_ring *ring)
{
	if (ring->owner.ready_fd >= 0) {
		uring_register(ring->uring, IORING_UNREGISTER_EVENTFD, NULL, 0);
		sys_close(ring->owner.ready_fd);
	}
	if (ring->owner.epoll_fd >= 0)
		sys_close(ring->owner.epoll_fd);
	ring->owner.epoll_fd = ring->owner.ready_fd = -1;
}
