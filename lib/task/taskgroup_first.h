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

/* Starts a task of a group on threads, or has it started later. 0; or the error of ctx_taskgroup_start: then
 * nothing has been done. */
int taskgroup_start_first(struct ctx_taskgroup *group, const struct task *task);

#endif
