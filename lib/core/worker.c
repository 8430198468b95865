/* SPDX-License-Identifier: MIT */
/*
 * The thread on which callbacks run whose context ended by a deadline or a signal:
 * apart from the timer, so that a slow one delays no deadline.
 */
#include "callback.h"
#include "thread.h"

static struct {
	struct lock lock; /* guards all of it */
	bool started;
	struct ctx_context *first, **last; /* pinned, by sweep_next */
	_Atomic uint32_t posted;	   /* counts, and is what the thread sleeps on */
} worker;

static struct ctx_context *take(void)
{
	lock_acquire(&worker.lock);
	struct ctx_context *ctx = worker.first;
	if (ctx) {
		worker.first = ctx->sweep_next;
		if (!worker.first)
			worker.last = &worker.first;
	}
	lock_release(&worker.lock);
	return ctx;
}

static void *work(void *unused)
{
	uint32_t forks = thread_fork_count;

	thread_begin("ctx-worker");
	while (forks == thread_fork_count) {
		uint32_t posted = atomic_load(&worker.posted);
		struct ctx_context *ctx = take();
		if (!ctx) {
			sys_futex_wait(&worker.posted, posted, NULL);
			continue;
		}
		callback_run_all(ctx);
		node_unref(ctx);
	}
	return unused;
}

int worker_start(void)
{
	int result = 0;

	lock_acquire(&worker.lock);
	if (!worker.started) {
		if (!worker.last)
			worker.last = &worker.first;
		result = thread_start(work, NULL, 0);
		worker.started = result == 0;
	}
	lock_release(&worker.lock);
	return result;
}

bool worker_post(struct ctx_context *ctx)
{
	if (worker_start())
		return false;
	lock_acquire(&worker.lock);
	ctx->sweep_next = NULL;
	*worker.last = ctx;
	worker.last = &ctx->sweep_next;
	atomic_fetch_add(&worker.posted, 1);
	lock_release(&worker.lock);
	sys_futex_wake(&worker.posted, 1);
	return true;
}

static void fork_prepare(void)
{
	lock_acquire(&worker.lock);
}

static void fork_parent(void)
{
	lock_release(&worker.lock);
}

/* What was queued runs in the parent. */
static void fork_child(void)
{
	worker.lock = (struct lock){0};
	worker.started = false;
	worker.first = NULL;
	worker.last = &worker.first;
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
