/* SPDX-License-Identifier: MIT */
/*
 * lib/task: tasks that end together, and the threads that run them. It may use base, table, core, uring and
 * ring.
 *
 * Task groups. This header has what all kinds share: the context, the failures, and the count of calls that
 * wait. The tasks of a group on threads are in taskgroup_worker.c. A group of operations on a ring is in
 * taskgroup_ring.c, and only the thread of that ring touches it.
 *
 * In a group with CTX_TASKGROUP_FIRST the first success ends the rest. What its two forms share is in
 * taskgroup_first.h. Its members are tasks on threads (taskgroup_queue.c), or groups of operations on a ring
 * (taskgroup_member.c).
 *
 * The files from below upwards, each of which uses only those before it: pool, taskgroup_life,
 * taskgroup_failure; taskgroup_first, taskgroup_worker; taskgroup_queue, taskgroup_ring; taskgroup_member,
 * taskgroup.
 *
 * Locks: the group's lock is taken inside a node's lock, when the context's end is told, and the pool's lock
 * inside the group's. With the group's lock held nothing of a context is called, but for a look at its state.
 */
#ifndef CTX_TASKGROUP_H
#define CTX_TASKGROUP_H

#include "context.h"
#include "debug.h"
#include "pool.h"
#include "ring.h"

/* The failures that are kept for the program to read. Later ones are only counted. */
#define TASK_FAILURES_KEPT 64u

struct task_failures {
	unsigned count, kept;
	struct ctx_failure first;
	struct ctx_failure *more; /* the kept ones after the first; allocated with the second failure */
};

/* What a task on a thread is. */
struct task {
	ctx_task_fn function;
	void *data;
	const void *site; /* the return address of the call that started it */
	char name[CTX_LABEL_MAX + 1];
};

/* How many tasks of a group wait in its queue at most. A power of two. */
#define TASK_QUEUE_MAX 128u

/*
 * The tasks of a group that no thread has taken yet, in the order of their numbers. The group's lock guards
 * all of it. A thread that only waits for a change reads the numbers without the lock.
 */
struct task_queue {
	struct task *tasks; /* TASK_QUEUE_MAX of them, made with the first task */
	_Atomic uint32_t added, taken;
};

/* What only a group with CTX_TASKGROUP_FIRST uses. The group's lock guards what is not constant. */
struct taskgroup_first {
	bool enabled;	/* the first success ends the rest; constant */
	bool succeeded; /* a member has succeeded, and winner is the data that it was started with */
	bool beginning; /* on a ring: functions of members are being called; of the owner alone */
	void *winner;
	uint64_t delay_ns; /* between the starts of two members; constant */
	uint64_t due_ns;   /* the next member may start from then on; 0: at once */
	/*
	 * The members that wait for their turn, in order. Not empty only while a member runs, or when the
	 * context has ended: then they never start, and are freed with the group.
	 */
	struct list queued;
	struct list members; /* on a ring: the members that run; of the owner alone */
	struct ring_timer
		timer; /* on a ring: set for due_ns while it is to start a member; of the owner alone */
};

struct ctx_taskgroup {
	struct ctx_context *ctx;
	uint32_t fork_count; /* of the process that made the group */
	struct lock lock;    /* guards the fields below, but for those whose comment says otherwise */
	struct task_failures failures;
	struct taskgroup_first first;
	unsigned limit; /* how many tasks may run at a time; constant. Not used by a group of operations */
	/* The program has freed the group. The last task or call that leaves frees its memory. */
	bool freed;
	/* Calls that are in the group, such as one that waits for its tasks. They keep its memory. */
	unsigned waiting;
	/* For a group on threads: */
	unsigned running;  /* threads that run a task of the group or, without FIRST, look for one */
	unsigned seeking;  /* of these, the ones that have no task: they were just woken, or look for one */
	unsigned waking;   /* of these, the ones that were just woken */
	unsigned promised; /* idle threads of the pool that are set aside. Not 0 only while waking is not */
	struct task_queue queue;   /* not used with FIRST */
	struct list starters;	   /* calls that wait for room in the queue, in order */
	_Atomic unsigned awaiting; /* calls that wait until nothing runs. Threads read it without the lock */
	_Atomic uint32_t quiet; /* Counts how often running became 0. A futex for those who wait for that. */
	unsigned starts_without_spin; /* so many starts wake a thread at once when they need one */
	struct pool_job job;	      /* of the threads that serve the group; not used with FIRST */
	struct watch watch;	      /* hears of the context's end, to refuse those who wait for room */
	/* For a group on a ring, on the thread of its owner alone: */
	struct ctx_ring *ring;	     /* constant; NULL for a group on threads */
	struct ctx_taskgroup *owner; /* constant; the group of which this one is a member, or NULL */
	struct op_listener listener;
	/* Operations in flight; of a group with members, how many of them run. */
	unsigned in_flight;
};

/* A task of a group with CTX_TASKGROUP_FIRST. */
struct first_task {
	struct pool_job job;
	struct ctx_taskgroup *group;
	struct task task;
	struct list link;	 /* first.queued, or alone; the group's lock */
	struct ctx_context *due; /* its deadline starts the task; NULL: none does */
	struct watch watch;	 /* on due */
	struct deferred start;	 /* gives the task to the pool after due has reached its deadline */
};

/* A member of a group with CTX_TASKGROUP_FIRST on a ring: a group of its own, whose owner is that group. */
struct ring_member {
	struct ctx_taskgroup group; /* must be the first field: taskgroup_free() frees a member by it */
	struct list link;	    /* first.queued or first.members of the owner */
	ctx_ring_task_fn function;
	void *data;
	const void *site;
	char name[CTX_LABEL_MAX + 1];
};

/* ---- making and freeing (taskgroup_life.c) */

/*
 * Makes a group with its context, in size bytes, which are zeroed. site is the return address of the
 * program's call.
 */
int taskgroup_make(const struct ctx_context *parent, const char *label, const void *site, size_t size,
		   struct ctx_taskgroup **ret_group);

/* Frees a group of which nothing runs any more, with its context and its queued members. */
void taskgroup_free(struct ctx_taskgroup *group);

/* Between these two calls the group's memory stays: a task or a callback may free the group meanwhile. */
void taskgroup_begin_waiting(struct ctx_taskgroup *group);
void taskgroup_end_waiting(struct ctx_taskgroup *group);

/* Takes away what is to start the task at its time. No lock held. */
void task_forget_due(struct first_task *task);

/* The calling thread runs tasks of the group from here on; NULL: of none. */
void taskgroup_enter(const struct ctx_taskgroup *group);

/* Whether a task of the group calls. */
bool taskgroup_is_inside(const struct ctx_taskgroup *group);

/*
 * Whether the program has freed the group and nothing keeps it any more: then the caller frees it. The lock
 * is held.
 */
static inline bool taskgroup_is_over(const struct ctx_taskgroup *group)
{
	return group->freed && !group->waiting && !group->running && !group->in_flight;
}

/* A thread leaves the group. The lock is held. Returns the futex to wake once it is released, or NULL. */
static inline _Atomic uint32_t *taskgroup_release_place(struct ctx_taskgroup *group)
{
	if (--group->running || !atomic_load_explicit(&group->awaiting, memory_order_relaxed))
		return NULL;
	atomic_fetch_add(&group->quiet, 1);
	return &group->quiet;
}

/* ---- tasks on threads, without FIRST (taskgroup_worker.c) */

/*
 * Starts a task, or queues it behind others. Where the queue is full it waits for room if waits; without
 * waits it starts the task only if fewer than limit run. 0, -EAGAIN, -ENOMEM, or the error of the context
 * that has ended.
 */
int taskgroup_start_task(struct ctx_taskgroup *group, const struct task *task, bool waits);

/*
 * How often a thread looks at a word before it sleeps or wakes another one; 0 where there is one processor.
 * Constant after the library has been loaded. Only tests change it.
 */
extern unsigned taskgroup_spins;

/* The context has ended: refuses all calls that wait for room. */
void taskgroup_refuse_starters(struct ctx_taskgroup *group);

/* ---- failures (taskgroup_failure.c) */

/*
 * Notes a failure; the first one ends the context, unless the first success does. Of text at most
 * CTX_CAUSE_TEXT_MAX bytes are kept. site is the return address of the program's call that failed. 0;
 * -ENOMEM: the failure is noted and the context ended, but part of the text is lost.
 */
int taskgroup_note(struct ctx_taskgroup *group, int error, const char *text, const void *site);

/* ---- on a ring (taskgroup_ring.c) */

/* ctx_taskgroup_new_on_ring, called from site. */
int taskgroup_ring_new(const struct ctx_context *parent, struct ctx_ring *ring, const char *label,
		       const void *site, struct ctx_taskgroup **ret_group);

/* ctx_taskgroup_wait for a group on a ring, without the group's result. 0, -EDEADLK, -EPERM. */
int taskgroup_ring_wait(struct ctx_taskgroup *group);

/* Notes the failure that the end of an operation stands for, if it is one. */
void taskgroup_note_operation(struct ctx_taskgroup *group, const struct operation *op,
			      const struct ctx_completion *completion);

/* What calls say of a group, see debug.h. */
#define GROUP_INHERITED "the group was made before a fork: here it can only be freed"
#define GROUP_ON_RING "the group is on a ring: its tasks are operations, see ctx_taskgroup_get_sqe"

#endif
