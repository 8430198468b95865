/* SPDX-License-Identifier: MIT */
/*
 * Rings for the blocking calls of threads. A thread keeps the ring of its first call until it ends; then the
 * ring waits here for the next thread.
 */
#ifndef CTX_THREAD_RING_H
#define CTX_THREAD_RING_H

#include "file_id.h"
#include "ring.h"

struct thread_ring {
	struct ctx_ring *ring;
	struct ctx_op op;	  /* the one that is under way */
	struct list link;	  /* in the list of all; the pool's lock */
	struct thread_ring *next; /* in the pool; its lock */
	int error;		  /* why the kernel serves it no more */
	struct file_id ring_file, wake_file;
	bool whole; /* in a forked child: nobody was using it */
};

/*
 * Takes the calling thread's ring, so that a call from inside a call (a release function, say) takes another
 * one. -errno of the last try to open one: after a failure the next is a while later, unless now is set.
 */
int thread_ring_take(bool now, struct thread_ring **ret_taken);

/* Back to the thread. */
void thread_ring_give(struct thread_ring *taken);

/* Instead of giving back one whose ring the kernel serves no more, and why: closes what it has of the
 * kernel's. */
void thread_ring_discard(struct thread_ring *taken, int error);

/* Closes the calling thread's ring and those of nobody: for tests, which count descriptors. */
void thread_ring_trim(void);

/* Whether error of thread_ring_take says that there is no io_uring here at all. */
bool thread_ring_is_forbidden(int error);

#endif
