/* SPDX-License-Identifier: MIT */
/*
 * Threads of the library that run what may block. They are used again, the one that became idle last first,
 * and end when nothing came for a while.
 */
#ifndef CTX_POOL_H
#define CTX_POOL_H

#include <stdint.h>

struct pool_thread;

/* In the memory of whoever has something to run; the pool does not touch it once run was called. */
struct pool_job {
	void (*run)(struct pool_job *job, struct pool_thread *thread);
};

/*
 * Runs job on an idle thread, or on a new one. 0, or -EAGAIN: there is none, and none could be started. No
 * lock may be held that run takes.
 */
int pool_run(struct pool_job *job);

/*
 * For run, when nothing that blocks is left to be done: the thread counts as idle from here on, so that
 * whoever is told of the job's end next finds it. A leaf: any lock may be held.
 */
void pool_release(struct pool_thread *thread);

/* How long a thread stays idle before it ends. Constant but for tests. */
extern uint64_t pool_idle_ns;

#endif
