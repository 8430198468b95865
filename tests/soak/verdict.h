/* SPDX-License-Identifier: MIT */
/* What must hold, and what is said when it does not. */
#ifndef SOAK_VERDICT_H
#define SOAK_VERDICT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* What all messages tell: how to have the same storm again. */
struct verdict_run {
	uint64_t seed;
	_Atomic uint64_t round;
	bool stops;	/* when something breaks, for a debugger, instead of aborting */
	bool sanitized; /* AddressSanitizer or ThreadSanitizer is there */
};
extern struct verdict_run verdict_run;

/* Says what broke, in which action and with which seed, and aborts. */
void verdict_broken(const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((noreturn, cold, format(printf, 4, 5)));

#define must(condition, ...) \
	((condition) ? (void)0 : verdict_broken(__FILE__, __LINE__, #condition, __VA_ARGS__))

/* Starts the thread that aborts when an actor does nothing for half a minute. */
void watchdog_start(void);

/* What has been done, for the line of progress. */
struct verdict_counts {
	_Atomic uint64_t contexts, operations, cancelled, drains, rings, calls, tasks, forks, services;
};
extern struct verdict_counts verdict_counts;

static inline void count(_Atomic uint64_t *counter)
{
	__atomic_fetch_add((uint64_t *)counter, 1, __ATOMIC_RELAXED);
}

#endif
