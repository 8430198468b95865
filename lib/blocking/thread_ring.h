/* SPDX-License-Identifier: MIT */
/*
 * Rings for the blocking calls of threads. A thread keeps the ring of its first call until it ends. Then the
 * ring is a spare one, for the next thread.
 */
#ifndef CTX_THREAD_RING_H
#define CTX_THREAD_RING_H

#include "file_id.h"
#include "ring.h"

struct thread_ring {
	struct ctx_ring *ring;
	struct ctx_op op;	  /* the operation of the call that is under way */
	struct list link;	  /* in the list of all rings, guarded by its lock */
	struct thread_ring *next; /* among the spare rings, guarded by the same lock */
	int error;		  /* why the kernel serves the ring no more */
	struct {
		uint8_t pause; /* so many calls go without an attempt after one in vain */
		uint8_t left;  /* so many of them are still to come */
	} attempts[2]; /* of calls that take data, and of those that give some: see is_to_be_tried() */
	struct file_id ring_file, wake_file;
	bool whole; /* in a forked child: nobody was using the ring */
};

/*
 * Takes the calling thread's ring. A call from inside a call (a release function, say) takes another one.
 * -errno: the error of the last try to open a ring. After a failure the next try is a while later, unless now
 * is set.
 */
int thread_ring_take(bool now, struct thread_ring **ret_taken);

/* Gives the ring back to the thread. */
void thread_ring_give(struct thread_ring *taken);

/*
 * Closes what a ring has in the kernel, which serves it no more because of error. Called in place of
 * thread_ring_give.
 */
void thread_ring_discard(struct thread_ring *taken, int error);

/* Closes the calling thread's ring and the spare ones, for tests that count descriptors. */
void thread_ring_trim(void);

/* Whether error of thread_ring_take says that there is no io_uring here at all. */
bool thread_ring_is_forbidden(int error);

#endif
