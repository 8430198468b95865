/* SPDX-License-Identifier: MIT */
/*
 * The library's threads for what may block. A job goes to an idle thread if there is one. Of several it goes
 * to the one that became idle last: its stack is still in the caches, and the others grow old. An idle thread
 * ends when no job came for a while.
 */
#ifndef CTX_POOL_H
#define CTX_POOL_H

#include <stdint.h>

struct pool_thread;

/*
 * A job, in the memory of whoever has something to run. The pool does not touch it after it has called run.
 */
struct pool_job {
	void (*run)(struct pool_job *job, struct pool_thread *thread);
};

/*
 * Runs job on an idle thread, or on a new one. 0; -EAGAIN: no thread was idle, and none could be started. The
 * caller must not hold a lock that run takes.
 */
int pool_run(struct pool_job *job);

/*
 * A job's run calls this when nothing that blocks is left to be done. The thread counts as idle from here on,
 * so that whoever hears of the job's end next finds it idle. Any lock may be held: this takes only the
 * pool's, which is taken last.
 */
void pool_release(struct pool_thread *thread);

/* How long a thread stays idle before it ends. Only tests change it. */
extern uint64_t pool_idle_ns;

#endif
