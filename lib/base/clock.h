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

/* A time of the coarse clock, and the processor's count of ticks when it was read. */
struct clock_recent {
	uint64_t ns, ticks;
};

/*
 * A time of the coarse clock that may be a millisecond older than clock_coarse_ns(), which is called only
 * when the processor has counted more ticks than it does in that time. Right after a system call the clock is
 * slow to read: its code and its data are on five pages that nothing else in a turn of a ring needs, and
 * where the kernel is kept out of the program's page table each of them has to be looked up again.
 */
static inline uint64_t clock_recent_ns(struct clock_recent *recent)
{
#ifdef __x86_64__
	const uint64_t millisecond = 1000000; /* of a processor with 1 GHz; shorter on any that is faster */
	uint64_t ticks = __builtin_ia32_rdtsc();

	/* A count that is smaller than the last one reads the clock, too. So where the counts of processors
	 * differ, the time may be too old by the difference and a millisecond. */
	if (__builtin_expect(ticks - recent->ticks < millisecond, 1))
		return recent->ns;
	recent->ticks = ticks;
#endif
	recent->ns = clock_coarse_ns();
	return recent->ns;
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
