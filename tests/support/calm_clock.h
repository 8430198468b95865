/* SPDX-License-Identifier: MIT */
/*
 * A clock for tests in which one thread plays several hosts. It runs as the machine's does, but for moments
 * at which the thread had no processor: between two looks at it no more than 10 ms pass. So no lease runs out
 * because a machine is busy. A program that includes this has its own clock_gettime(), which the library and
 * the bridge call in place of libc's, and says TEST_ALONE.
 */
#ifndef TEST_CALM_CLOCK_H
#define TEST_CALM_CLOCK_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALM_STEP_NS 10000000

static struct {
	atomic_flag taken; /* guards the times: threads of the library look, too */
	int64_t looked_ns, shown_ns;
} calm_clock = {.taken = ATOMIC_FLAG_INIT};

/* A forked child does not have the thread that may have it. */
static void calm_clock_forked(void)
{
	atomic_flag_clear(&calm_clock.taken);
}

__attribute__((constructor)) static void calm_clock_prepare(void)
{
	pthread_atfork(NULL, NULL, calm_clock_forked);
}

static int64_t calm_clock_show(int64_t now_ns)
{
	while (atomic_flag_test_and_set_explicit(&calm_clock.taken, memory_order_acquire))
		sched_yield();
	int64_t step_ns = now_ns - calm_clock.looked_ns;
	/* Another thread may have looked since now_ns was read. */
	if (step_ns > 0) {
		if (!calm_clock.looked_ns)
			calm_clock.shown_ns = now_ns;
		else
			calm_clock.shown_ns += step_ns < CALM_STEP_NS ? step_ns : CALM_STEP_NS;
		calm_clock.looked_ns = now_ns;
	}
	int64_t shown_ns = calm_clock.shown_ns;
	atomic_flag_clear_explicit(&calm_clock.taken, memory_order_release);
	return shown_ns;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	long result = syscall(SYS_clock_gettime, clock, time);

	if (result || clock != CLOCK_MONOTONIC)
		return (int)result;
	int64_t shown_ns = calm_clock_show(time->tv_sec * 1000000000ll + time->tv_nsec);
	time->tv_sec = shown_ns / 1000000000;
	time->tv_nsec = shown_ns % 1000000000;
	return 0;
}

#endif
