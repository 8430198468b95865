/* SPDX-License-Identifier: MIT */
/*
 * lib/task: tasks that end together, and the threads that run them. It may use base, table, core, uring and
 * ring.
 *
 * Task groups. What both kinds have is here: the context, the failures, and who waits. A group on threads is
 * in taskgroup.c, one over the operations of a ring, which is all on that ring's thread, in taskgroup_ring.c.
 *
 * The lock is taken inside a node's lock (to hear of the context's end), and the pool's inside it: nothing of
 * contexts is called with it held, but for a look at their state.
 */
#ifndef CTX_TASKGROUP_H
#define CTX_TASKGROUP_H

#include "context.h"
#include "ring.h"

/* Of those that the program can read; what comes later is only counted. */
#define TASK_FAILURES_KEPT 64u

struct task_failures {
	unsigned count, kept;
	struct ctx_failure first;
	struct ctx_failure *more; /* the others that are kept; made with the second */
};

struct ctx_taskgroup {
	struct ctx_context *ctx;
	uint32_t fork_count; /* of the process that made it */
	struct lock lock;    /* guards the following, but for what says otherwise */
	struct task_failures failures;
	bool freed;	  /* by the program: whoever leaves last, of what runs and who waits, frees it */
	unsigned waiting; /* calls that wait in it, for the others to end or for a place; they hold it */
	/* on threads */
	struct watch watch; /* lets go those that wait for a place when the context ends */
	unsigned limit;	    /* constant */
	unsigned running;
	struct list starters;	/* who waits for a place, the first first; only while running is limit */
	_Atomic uint32_t quiet; /* counts how often running became 0; who waits for that sleeps on it */
	/* on a ring; its owner's alone */
	struct ctx_ring *ring; /* constant; NULL: on threads */
	struct op_listener listener;
	unsigned in_flight;
};

/* A group with its context. site is the program's call. */
int taskgroup_make(const struct ctx_context *parent, const char *label, const void *site,
		   struct ctx_taskgroup **ret_group);

/* Frees it, with its context. Nothing of it runs any more. */
void taskgroup_free(struct ctx_taskgroup *group);

/*
 * Notes a failure; the first one ends the context. text is at most CTX_CAUSE_TEXT_MAX bytes of it, site the
 * program's call that it goes back to. 0, or -ENOMEM: noted and ended all the same, without all of the text.
 */
int taskgroup_note(struct ctx_taskgroup *group, int error, const char *text, const void *site);

/* Whether the program has freed it and nothing holds it any more: then the caller frees it. With the lock
 * held. */
static inline bool taskgroup_is_over(const struct ctx_taskgroup *group)
{
	return group->freed && !group->waiting && !group->running && !group->in_flight;
}

/* ctx_taskgroup_wait without its result, for a group on a ring. -EDEADLK, -EPERM. */
int taskgroup_ring_wait(struct ctx_taskgroup *group);

#endif
