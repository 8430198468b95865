/* SPDX-License-Identifier: MIT */
/*
 * lib/task: tasks that end together, and the threads that run them. It may use base, table, core, uring and
 * ring.
 *
 * Task groups. This header has what both kinds share: the context, the failures, and the count of calls that
 * wait. A group on threads is in taskgroup.c. A group of operations on a ring is in taskgroup_ring.c, and
 * only the thread of that ring touches it.
 *
 * Locks: the group's lock is taken inside a node's lock, when the context's end is told, and the pool's lock
 * inside the group's. With the group's lock held nothing of a context is called, but for a look at its state.
 */
#ifndef CTX_TASKGROUP_H
#define CTX_TASKGROUP_H

#include "context.h"
#include "ring.h"

/* The failures that are kept for the program to read. Later ones are only counted. */
#define TASK_FAILURES_KEPT 64u

struct task_failures {
	unsigned count, kept;
	struct ctx_failure first;
	struct ctx_failure *more; /* the kept ones after the first; allocated with the second failure */
};

struct ctx_taskgroup {
	struct ctx_context *ctx;
	uint32_t fork_count; /* of the process that made the group */
	struct lock lock;    /* guards the fields below, but for those whose comment says otherwise */
	struct task_failures failures;
	/* The program has freed the group. The last task or call that leaves frees its memory. */
	bool freed;
	/* Calls that wait in the group, for its tasks to end or for a place. They keep its memory. */
	unsigned waiting;
	/* For a group on threads: */
	struct watch watch; /* hears of the context's end, to refuse those who wait for a place */
	unsigned limit;	    /* constant */
	unsigned running;
	/* Calls that wait for a place, in order. Not empty only while running is limit. */
	struct list starters;
	_Atomic uint32_t quiet; /* Counts how often running became 0. A futex for those who wait for that. */
	/* For a group on a ring, on the thread of its owner alone: */
	struct ctx_ring *ring; /* constant; NULL for a group on threads */
	struct op_listener listener;
	unsigned in_flight;
};

/* Makes a group with its context. site is the return address of the program's call. */
int taskgroup_make(const struct ctx_context *parent, const char *label, const void *site,
		   struct ctx_taskgroup **ret_group);

/* Frees a group of which nothing runs any more, and its context. */
void taskgroup_free(struct ctx_taskgroup *group);

/*
 * Notes a failure; the first one ends the context. Of text at most CTX_CAUSE_TEXT_MAX bytes are kept. site is
 * the return address of the program's call that failed. 0; -ENOMEM: the failure is noted and the context
 * ended, but part of the text is lost.
 */
int taskgroup_note(struct ctx_taskgroup *group, int error, const char *text, const void *site);

/*
 * Whether the program has freed the group and nothing keeps it any more: then the caller frees it. The lock
 * is held.
 */
static inline bool taskgroup_is_over(const struct ctx_taskgroup *group)
{
	return group->freed && !group->waiting && !group->running && !group->in_flight;
}

/* ctx_taskgroup_wait for a group on a ring, without the group's result. 0, -EDEADLK, -EPERM. */
int taskgroup_ring_wait(struct ctx_taskgroup *group);

#endif
