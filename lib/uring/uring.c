/* SPDX-License-Identifier: MIT */
#include "uring.h"

int uring_enter(const struct io_uring *uring, unsigned to_submit, const struct uring_wait *wait)
{
	unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	struct __kernel_timespec time;
	struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};

	if (!wait->min_complete || wait->timeout_ns == CTX_FOREVER)
		return uring_enter_plain(uring, to_submit, wait->min_complete, wait->events);

	if (uring_is_registered(uring))
		flags |= IORING_ENTER_REGISTERED_RING;
	time = uring_time(wait->timeout_ns);
	argument.ts = (uint64_t)(uintptr_t)&time;
	return sys_uring_enter(uring->enter_ring_fd, to_submit, wait->min_complete, flags, &argument,
			       sizeof(argument));
}
