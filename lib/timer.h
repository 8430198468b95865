/* SPDX-License-Identifier: MIT */
/*
 * The library's timer thread: it marks contexts when their deadlines come, and does
 * what signal handlers asked for. It is woken only for something earlier than what
 * it sleeps to; what is taken out never wakes it.
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

/* Starts the thread if it does not run. 0, or -EAGAIN. */
int timer_start(void);

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

struct signal_request {
	struct signal_request *next;
	struct ctx_context *ctx;
	_Atomic uint32_t state;
	int signal;
	uint32_t tid;
	const void *site;
};

/* Async-signal-safe. */
void timer_push_signal(struct signal_request *request);

#endif
