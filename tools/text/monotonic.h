/* SPDX-License-Identifier: MIT */
/* The clocks, in nanoseconds. Tables have their times by the monotonic one. */
#ifndef TOOL_MONOTONIC_H
#define TOOL_MONOTONIC_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

#endif
