/* SPDX-License-Identifier: MIT */
/* The library's timer thread. It ends contexts whose deadlines are past, and those that signal handlers
 * cancel. */
#include <sys/prctl.h>

#include "clock.h"
#include "node.h"
#include "sweep.h"
#include "thread.h"
#include "timer.h"

/* Of the program's functions only those that release values may run on this thread. */
#define STACK_SIZE (256 * 1024)

static struct lock start_lock; /* guards started */
static bool started;

/* Ends the contexts that signal handlers cancelled. */
static void end_signalled(void)
{
	struct signal_request *request = timer_take_signals(), *next;

	for (; request; request = next) {
		struct ctx_context *ctx = request->ctx;
		next = request->next;
		struct end end = {
			.error = ECANCELED,
			.kind = CTX_CAUSE_SIGNAL,
			.code = request->signal,
			.site = request->site,
			.tid = request->tid,
			.on_worker = true,
		};
		context_end(ctx, &end);
		node_unref(ctx);
	}
}

static void *keep_time(void *unused)
{
	uint32_t forks = thread_fork_count;

	thread_begin("ctx-timer");
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		uint32_t wakes = timer_wakes();
		uint64_t now_ns = clock_now_ns(), sleep_ns;
		struct ctx_context *ctx;
		end_signalled();
		while ((ctx = timer_take_due(now_ns, &sleep_ns))) {
			context_end_deadline(ctx, now_ns);
			/* Its deadline was just being moved when the process forked, and the thread that
			 * would have armed it anew is in the parent. */
			if (__builtin_expect(node_is_inherited(ctx), 0) && !context_error(ctx))
				timer_arm(node_timer(ctx));
			node_unref(ctx);
		}
		/* A value's release function has forked, and this is the child, where nobody would wake this
		 * thread. */
		if (forks != thread_fork_count)
			break;
		timer_sleep(wakes, sleep_ns);
	}
	return unused;
}

int timer_start(void)
{
	/* 1 + the fork count of the process in which the thread runs. Its load spares callers the lock. */
	static _Atomic uint32_t running_in;
	int result = 0;

	if (__builtin_expect(atomic_load_explicit(&running_in, memory_order_acquire) == thread_fork_count + 1,
			     1))
		return 0;
	lock_acquire(&start_lock);
	if (!started) {
		result = thread_start(keep_time, NULL, STACK_SIZE);
		started = result == 0;
	}
	if (!result)
		atomic_store_explicit(&running_in, thread_fork_count + 1, memory_order_release);
	lock_release(&start_lock);
	return result;
}

/* ---- fork: a child starts its own thread when it needs one */

static void fork_prepare(void)
{
	lock_acquire(&start_lock);
}

static void fork_parent(void)
{
	lock_release(&start_lock);
}

static void fork_child(void)
{
	start_lock = (struct lock){0};
	started = false;
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
