/* SPDX-License-Identifier: MIT */
/*
 * The worker thread runs callbacks of contexts that ended by a deadline or a signal. It is not the timer
 * thread, so that a slow callback delays no deadline.
 */
#include "callback.h"
#include "thread.h"

static struct {
	struct lock lock; /* guards started, first and last */
	bool started;
	/* Contexts whose callbacks are to run, linked by sweep_next, each with a reference. */
	struct ctx_context *first, **last;
	_Atomic uint32_t posted; /* a futex: counts posts */
} worker;

static struct ctx_context *take_posted(void)
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

static void *run_worker(void *unused)
{
	uint32_t forks = thread_fork_count;

	thread_begin("ctx-worker");
	while (forks == thread_fork_count) {
		uint32_t posted = atomic_load(&worker.posted);
		struct ctx_context *ctx = take_posted();
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
		result = thread_start(run_worker, NULL, 0);
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

/* Callbacks that were queued before the fork run in the parent. */
static void fork_child(void)
{
	worker.lock = (struct lock){0};
	worker.started = false;
	worker.first = NULL;
	worker.last = &worker.first;
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
