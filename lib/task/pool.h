/* SPDX-License-Identifier: MIT */
/*
 * The library's threads for what may block. A job goes to an idle thread if there is one. Of several it goes
 * to the one that became idle last: its stack is still in the caches, and the others grow old. An idle thread
 * ends when no job came for a while.
 */
#ifndef CTX_POOL_H
#define CTX_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pool_thread;

/*
 * A job, in the memory of whoever has something to run. The pool does not touch it after it has called run.
 */
struct pool_job {
	void (*run)(struct pool_job *job, struct pool_thread *thread);
};

/*
 * Gives job to an idle thread, or to a new one. 0; -EAGAIN: no thread was idle, and none could be started.
 * The caller may hold a lock that run takes. *ret_wake is the futex that it passes to pool_wake() once it has
 * released that lock; until then the thread may sleep.
 */
int pool_give(struct pool_job *job, _Atomic uint32_t **ret_wake);

/*
 * Sets an idle thread aside for a job that comes later by pool_give_promised(), or never: then pool_return()
 * gives so many promises back. False: no thread is idle. Any lock may be held.
 */
bool pool_promise(void);
void pool_give_promised(struct pool_job *job, _Atomic uint32_t **ret_wake);
void pool_return(unsigned count);

/* Wakes the thread that a job was given to. wake may be NULL. */
void pool_wake(_Atomic uint32_t *wake);

/* Both at once. The caller must not hold a lock that run takes. */
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
