/* SPDX-License-Identifier: MIT */
/* Task groups in which the first success ends the rest: when a member starts, and what a success does. */
#ifndef CTX_TASKGROUP_FIRST_H
#define CTX_TASKGROUP_FIRST_H

#include "taskgroup.h"

/* Whether a member may start now. The lock is held, and the context is live. */
bool taskgroup_may_start(const struct ctx_taskgroup *group, uint64_t now_ns);

/* A member starts now: sets when the next one is due. The lock is held. */
static inline void taskgroup_note_start(struct ctx_taskgroup *group, uint64_t now_ns)
{
	group->first.due_ns = clock_after_ns(now_ns, group->first.delay_ns);
}

/* Whether there is a time from which on the next member may start. Else only a failure starts it. */
static inline bool taskgroup_is_timed(const struct ctx_taskgroup *group)
{
	return group->first.delay_ns && group->first.delay_ns != CTX_FOREVER;
}

/*
 * A member that was started with data from site has succeeded. The first success ends the context, and its
 * callbacks run in here.
 */
void taskgroup_note_success(struct ctx_taskgroup *group, void *data, const void *site);

/* ---- members on threads (taskgroup_queue.c) */

/* A queued task that is the first one now, and when it is due. With ctx NULL there is none. */
struct next_due {
	struct ctx_context *ctx; /* a reference */
	uint64_t at_ns;
};

/*
 * Takes a place for task, or queues it. 1: it is queued. 0: it has a place, and the caller gives it to the
 * pool. Otherwise an error, and nothing has been done.
 */
int taskgroup_queue_task(struct ctx_taskgroup *group, struct task *task);

/*
 * A member has ended. Takes the first queued task, which gets its place, out of the queue. NULL: none waits,
 * or the context has ended. The lock is held. After it has been released the caller passes what this returned
 * and set to taskgroup_prepare_queued().
 */
struct task *taskgroup_take_queued(struct ctx_taskgroup *group, struct next_due *ret_next);

/* Makes task, which may be NULL, ready to run, and sets the time of the next one. No lock held. */
void taskgroup_prepare_queued(struct task *task, struct next_due next);

/*
 * Gives the pool a task that has a place. If no thread can be had the task has failed, and the next one gets
 * its place. task may be NULL. No lock held; the group may be gone afterwards.
 */
void taskgroup_start_queued(struct ctx_taskgroup *group, struct task *task);

#endif
