/* SPDX-License-Identifier: MIT */
/*
 * A clock for tests in which one thread plays several hosts. It runs as the machine's does, but for moments
 * at which the thread had no processor: between two looks at it no more than 10 ms pass. So no lease runs out
 * because a machine is busy. A program that includes this has its own clock_gettime(), which the library and
 * the bridge call in place of libc's, and says TEST_ALONE.
 */
#ifndef TEST_CALM_CLOCK_H
#define TEST_CALM_CLOCK_H

#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALM_STEP_NS 10000000

static struct {
	int64_t looked_ns, shown_ns;
} calm_clock;

int clock_gettime(clockid_t clock, struct timespec *time)
{
	long result = syscall(SYS_clock_gettime, clock, time);
	int64_t now_ns = time->tv_sec * 1000000000ll + time->tv_nsec;

	if (result || clock != CLOCK_MONOTONIC)
		return (int)result;
	int64_t step_ns = now_ns - calm_clock.looked_ns;
	if (!calm_clock.looked_ns)
		calm_clock.shown_ns = now_ns;
	else
		calm_clock.shown_ns += step_ns < CALM_STEP_NS ? step_ns : CALM_STEP_NS;
	calm_clock.looked_ns = now_ns;
	time->tv_sec = calm_clock.shown_ns / 1000000000;
	time->tv_nsec = calm_clock.shown_ns % 1000000000;
	return 0;
}

#endif
