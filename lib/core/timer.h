/* SPDX-License-Identifier: MIT */
/*
 * What the library's timer thread has to do: deadlines, in a heap, and what signal handlers asked for. The
 * thread is woken only for something earlier than what it sleeps to; what is taken out never wakes it.
 */
#ifndef CTX_TIMER_H
#define CTX_TIMER_H

#include <stdatomic.h>

#include "heap.h"

struct ctx_context;

/* A deadline of a context's own. In the heap only while no ancestor's is as early. */
struct timer {
	struct heap_node node;	 /* timer lock */
	_Atomic uint64_t own_ns; /* written with the ctx lock held; CTX_FOREVER: none now */
	_Atomic uint32_t armed;	 /* in the heap; written last, with the timer lock held */
	struct ctx_context *ctx;
};

/* Starts the thread if it does not run (timer_thread.c). 0, or what thread_start() says. */
int timer_start(void);

/*
 * In a forked child the timers of before the fork are set aside, so that a child which has no use for the
 * contexts of its parent is not busy with their ends. From here on they come.
 */
void timer_adopt(void);

/* Puts timer into the heap, or moves it there, to its own_ns. Takes it out when done or for ever. */
void timer_arm(struct timer *timer);

/* Takes it out. When the node is being freed, nothing touches the timer afterwards. */
void timer_disarm(struct timer *timer);

/* What a signal handler leaves. Lives in the extension of its context. */
enum signal_state {
	SIGNAL_PREPARED,
	SIGNAL_QUEUED,	/* the timer thread drops the context when it has seen it */
	SIGNAL_RETIRED, /* the context was done first */
};
#define SIGNAL_STATE 3u
#define SIGNAL_FORKS_SHIFT 2 /* above it, when queued: the fork count, for in a child nobody takes it out */

struct signal_request {
	struct signal_request *next;
	struct ctx_context *ctx;
	_Atomic uint32_t state; /* enum signal_state, and the fork count */
	int signal;
	uint32_t tid;
	const void *site;
};

/* From prepared, or from queued in the parent of a fork, to another state. True for the one who did it.
 * Async-signal-safe. */
bool signal_request_take(struct signal_request *request, enum signal_state to);

/* Async-signal-safe. */
void timer_push_signal(struct signal_request *request);

/* ---- for the thread */

/* The earliest context whose time has come, pinned. NULL: none, and the thread is taken to sleep until then.
 */
struct ctx_context *timer_take_due(uint64_t now_ns, uint64_t *ret_sleep_ns);

/* What signal handlers have left since, newest first. */
struct signal_request *timer_take_signals(void);

/* How often it was woken: read it before looking for work, and sleep while it stays the same. */
uint32_t timer_wakes(void);
void timer_sleep(uint32_t wakes, uint64_t until_ns);

#endif
