/* SPDX-License-Identifier: MIT */
#include "uring.h"

#include "clock.h"

/* liburing's mark that enter_ring_fd is an index of io_uring_register_ring_fd(3). */
#define URING_INT_FLAG_REG_RING 1

int uring_enter(struct io_uring *uring, unsigned to_submit, const struct uring_wait *wait)
{
	unsigned flags = wait->events || wait->min_complete ? IORING_ENTER_GETEVENTS : 0;
	struct __kernel_timespec time;
	struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};

	if (uring->int_flags & URING_INT_FLAG_REG_RING)
		flags |= IORING_ENTER_REGISTERED_RING;
	if (!wait->min_complete || wait->timeout_ns == CTX_FOREVER)
		return sys_uring_enter(uring->enter_ring_fd, to_submit, wait->min_complete, flags, NULL, 0);

	time.tv_sec = (long long)(wait->timeout_ns / NS_PER_SECOND);
	time.tv_nsec = (long long)(wait->timeout_ns % NS_PER_SECOND);
	argument.ts = (uint64_t)(uintptr_t)&time;
	return sys_uring_enter(uring->enter_ring_fd, to_submit, wait->min_complete,
			       flags | IORING_ENTER_EXT_ARG, &argument, sizeof(argument));
}
