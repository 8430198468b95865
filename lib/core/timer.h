/* SPDX-License-Identifier: MIT */
/*
 * The work of the library's timer thread: a heap of deadlines, and the contexts that signal handlers want to
 * end. The thread is woken for a deadline that is earlier than the one it sleeps for, and for signals; never
 * when a deadline is taken out.
 */
#ifndef CTX_TIMER_H
#define CTX_TIMER_H

#include <stdatomic.h>

#include "heap.h"

struct ctx_context;

/* The own deadline of a context. It is in the heap only while it is earlier than those of all ancestors. */
struct timer {
	struct heap_node node;	 /* timer lock */
	_Atomic uint64_t own_ns; /* written with the ctx lock held; CTX_FOREVER: there is none now */
	_Atomic uint32_t armed;	 /* 1: in the heap; written with the timer lock held, after all else.
				    timer_disarm() reads it without */
	struct ctx_context *ctx;
};

/* Starts the thread if it does not run (timer_thread.c). Returns 0 or an error of thread_start(). */
int timer_start(void);

/*
 * In a forked child the timers from before the fork are set aside, so that a child which does not use its
 * parent's contexts is not busy ending them. This puts them into the heap.
 */
void timer_adopt(void);

/*
 * Puts timer into the heap at its own_ns. One that is in the heap at an earlier time stays there: the thread
 * moves it when that time comes, so that a deadline which is moved again and again costs no search. Takes
 * timer out of the heap instead when its context is done, or own_ns is CTX_FOREVER.
 */
void timer_arm(struct timer *timer);

/* Takes timer out of the heap. When its context is being freed, no other thread touches timer afterwards. */
void timer_disarm(struct timer *timer);

/* struct signal_request: how far the request of a signal handler to end a context has come. */
enum signal_state {
	SIGNAL_PREPARED,
	SIGNAL_QUEUED, /* the timer thread ends the context and gives its reference back */
	SIGNAL_VOID,   /* the context was done before a signal came */
};
#define SIGNAL_STATE 3u
/* The bits above hold the fork count of a queued request: in a forked child no thread takes the parent's
 * queue. */
#define SIGNAL_FORKS_SHIFT 2

/* The request of a signal handler to end a context. It belongs to the context's extension.
 * ctx_signal_prepare() allocates it, since a signal handler cannot. */
struct signal_request {
	struct signal_request *next;
	struct ctx_context *ctx;
	_Atomic uint32_t state; /* enum signal_state, and the fork count */
	int signal;
	uint32_t tid;
	const void *site;
};

/* Sets the state of a request that is prepared, or was queued in the parent of a fork. False: it is in
 * another state, and stays there. Async-signal-safe. */
bool signal_request_take(struct signal_request *request, enum signal_state to);

/* Queues a request for the timer thread. Async-signal-safe. */
void timer_push_signal(struct signal_request *request);

/* ---- for the timer thread */

/* Takes the context whose deadline is the earliest, and past, with a reference. NULL: there is none, and the
 * thread will sleep until *ret_sleep_ns. */
struct ctx_context *timer_take_due(uint64_t now_ns, uint64_t *ret_sleep_ns);

/* Takes all queued requests, newest first. */
struct signal_request *timer_take_signals(void);

/* How often the thread was woken. It reads this before it looks for work, and sleeps while the count stays
 * the same. */
uint32_t timer_wakes(void);
void timer_sleep(uint32_t wakes, uint64_t until_ns);

#endif
