/* SPDX-License-Identifier: MIT */
/* Times: CLOCK_MONOTONIC in nanoseconds. */
#ifndef CTX_CLOCK_H
#define CTX_CLOCK_H

#include "ctxring.h"

#define NS_PER_SECOND 1000000000ull

static inline uint64_t clock_read_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

/* Costs a quarter of clock_now_ns(). Goes in steps of the kernel's tick, some milliseconds. */
static inline uint64_t clock_coarse_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

/* The time that is timeout_ns after now_ns. CTX_FOREVER, and a time too late to count, is CTX_FOREVER. */
static inline uint64_t clock_after_ns(uint64_t now_ns, uint64_t timeout_ns)
{
	return timeout_ns > CTX_FOREVER - now_ns ? CTX_FOREVER : now_ns + timeout_ns;
}

/* How long it is until when_ns. 0: it is past. */
static inline uint64_t clock_left_ns(uint64_t when_ns)
{
	uint64_t now_ns = clock_now_ns();

	return when_ns > now_ns ? when_ns - now_ns : 0;
}

static inline struct timespec clock_timespec(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
				.tv_nsec = (long)(ns % NS_PER_SECOND)};
	return time;
}

#endif
