/* SPDX-License-Identifier: MIT */
/*
 * Groups of tasks on threads of the pool. A task takes one of the group's places; when there is none its
 * starter waits, with the task made. A thread whose task has ended takes the first of these over at once,
 * so that between two tasks nobody need be woken for the second to begin.
 */
#include "taskgroup.h"

#include <string.h>

#include "cancel.h"
#include "memory.h"
#include "pool.h"

struct task {
	struct pool_job job;
	struct ctx_taskgroup *group;
	ctx_task_fn function;
	void *data;
	const void *site;
	char name[CTX_LABEL_MAX + 1];
};

/* starter.word */
enum {
	WAITING,
	TAKEN,	 /* a thread has the task */
	REFUSED, /* the context of the group has ended */
	RETRY,	 /* there may be a place */
};

/* Who waits for a place, on its own stack, which may be gone as soon as word says something else. */
struct starter {
	struct list link; /* group->starters */
	struct task *task;
	_Atomic uint32_t word;
};

/* The group whose task this thread runs. */
static __thread const struct ctx_taskgroup *current __attribute__((tls_model("initial-exec")));
static __thread uint32_t current_forks
	__attribute__((tls_model("initial-exec"))); /* in which process it does */

/* With the lock held: lets one starter go. Returns what is to be woken once the lock is not held any more. */
static _Atomic uint32_t *starter_answer(struct starter *starter, uint32_t how)
{
	list_remove(&starter->link);
	atomic_store_explicit(&starter->word, how, memory_order_release);
	return &starter->word;
}

static struct starter *first_starter(struct ctx_taskgroup *group)
{
	return list_empty(&group->starters) ? NULL : container_of(group->starters.next, struct starter, link);
}

/* Under the node's lock. */
static void taskgroup_told_done(struct watch *watch, struct deferred_list *later)
{
	struct ctx_taskgroup *group = container_of(watch, struct ctx_taskgroup, watch);
	struct starter *starter;

	(void)later;
	if (group->fork_count != thread_fork_count)
		return;
	lock_acquire(&group->lock);
	while ((starter = first_starter(group)))
		sys_futex_wake(starter_answer(starter, REFUSED), 1);
	lock_release(&group->lock);
}

static const struct watch_ops taskgroup_watch_ops = {.done = taskgroup_told_done};

/* ---- making and freeing */

int taskgroup_make(const struct ctx_context *parent, const char *label, const void *site,
		   struct ctx_taskgroup **ret_group)
{
	struct ctx_taskgroup *group = memory_allocate(sizeof(*group));

	if (!group)
		return -ENOMEM;
	memset(group, 0, sizeof(*group));
	group->fork_count = thread_fork_count;
	list_init(&group->starters);
	int error = context_with_cancel(parent, label, site, &group->ctx);
	if (error) {
		memory_release(group);
		return error;
	}
	*ret_group = group;
	return 0;
}

void taskgroup_free(struct ctx_taskgroup *group)
{
	context_unwatch(&group->watch);
	ctx_unref(group->ctx);
	memory_release(group->failures.more);
	memory_release(group);
}

/* Who waits in a group holds it: it may be freed meanwhile, by a task or in a callback. */
static void begin_waiting(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	group->waiting++;
	lock_release(&group->lock);
}

static void end_waiting(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	group->waiting--;
	bool over = taskgroup_is_over(group);
	lock_release(&group->lock);
	if (over)
		taskgroup_free(group);
}

int ctx_taskgroup_new(const struct ctx_context *parent, unsigned limit, const char *label,
		      struct ctx_taskgroup **ret_group)
{
	struct ctx_taskgroup *group;

	if (!parent || !ret_group)
		return -EINVAL;
	int error = taskgroup_make(parent, label, __builtin_return_address(0), &group);
	if (error)
		return error;
	group->limit = limit ? limit : sys_processor_count();
	error = context_watch(group->ctx, &group->watch, &taskgroup_watch_ops);
	if (error < 0) {
		taskgroup_free(group);
		return error;
	}
	*ret_group = group;
	return 0;
}

const struct ctx_context *ctx_taskgroup_context(const struct ctx_taskgroup *group)
{
	return group ? group->ctx : NULL;
}

/* ---- running */

/* Its place goes to the first starter, or is free. Afterwards the group may be gone. */
static struct task *hand_over_place(struct ctx_taskgroup *group, struct pool_thread *thread)
{
	_Atomic uint32_t *wake = NULL;
	struct task *next = NULL;
	bool last = false;

	lock_acquire(&group->lock);
	struct starter *starter = context_error(group->ctx) ? NULL : first_starter(group);
	if (starter) {
		next = starter->task;
		wake = starter_answer(starter, TAKEN);
	} else {
		/* First, so that who is told finds the thread idle. */
		pool_release(thread);
		if (!--group->running) {
			last = taskgroup_is_over(group);
			if (group->waiting) {
				atomic_fetch_add(&group->quiet, 1);
				wake = &group->quiet;
			}
		}
	}
	lock_release(&group->lock);
	/* What is woken may be gone by now: then it is a spurious wake of whatever is there. */
	if (wake)
		sys_futex_wake(wake, next ? 1 : INT32_MAX);
	if (last)
		taskgroup_free(group);
	return next;
}

static void run_tasks(struct pool_job *job, struct pool_thread *thread)
{
	struct task *task = container_of(job, struct task, job);
	uint32_t forks = thread_fork_count;

	while (task) {
		struct ctx_taskgroup *group = task->group;
		current = group;
		current_forks = forks;
		int error = task->function(group->ctx, task->data);
		/* Callbacks of the context run in here, as in the task. */
		if (error < 0 && forks == thread_fork_count)
			taskgroup_note(group, error, task->name, task->site);
		if (forks != thread_fork_count)
			return; /* one of these forked, and this is the child, which may have freed the group
				 */
		current = NULL;
		memory_release(task);
		task = hand_over_place(group, thread);
	}
}

static struct task *task_new(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name,
			     const void *site)
{
	struct task *task = memory_allocate(sizeof(*task));

	if (!task)
		return NULL;
	*task = (struct task){
		.job.run = run_tasks, .group = group, .function = function, .data = data, .site = site};
	if (name)
		memcpy(task->name, name, strnlen(name, CTX_LABEL_MAX));
	return task;
}

/* Takes a place. 0; -EAGAIN: there is none; or the end of the context. With the lock held. */
static int take_place(struct ctx_taskgroup *group)
{
	int error = context_error(group->ctx);

	if (error)
		return -error;
	if (group->running >= group->limit)
		return -EAGAIN;
	group->running++;
	return 0;
}

/* Runs a task that has a place. */
static int start_on_pool(struct ctx_taskgroup *group, struct task *task)
{
	_Atomic uint32_t *wake = NULL;
	int error = pool_run(&task->job);

	if (!error)
		return 0;
	lock_acquire(&group->lock);
	struct starter *starter = first_starter(group);
	if (!--group->running && group->waiting) {
		atomic_fetch_add(&group->quiet, 1);
		wake = &group->quiet;
	}
	if (starter)
		sys_futex_wake(starter_answer(starter, RETRY), 1);
	lock_release(&group->lock);
	if (wake)
		sys_futex_wake(wake, INT32_MAX);
	return error;
}

/* In line for a place, with the lock held, which it gives up. One of starter.word. */
static uint32_t wait_in_line(struct ctx_taskgroup *group, struct task *task)
{
	struct starter starter = {.task = task, .word = WAITING};
	uint32_t word;

	list_append(&group->starters, &starter.link);
	lock_release(&group->lock);
	while ((word = atomic_load_explicit(&starter.word, memory_order_acquire)) == WAITING)
		sys_futex_wait(&starter.word, WAITING, NULL);
	return word;
}

/* The caller holds the group. */
static int start_in_turn(struct ctx_taskgroup *group, struct task *task)
{
	for (;;) {
		lock_acquire(&group->lock);
		int error = take_place(group);
		if (error != -EAGAIN) {
			lock_release(&group->lock);
			return error ? error : start_on_pool(group, task);
		}
		uint32_t word = wait_in_line(group, task);
		if (word != RETRY)
			return word == REFUSED ? -context_error(group->ctx) : 0;
	}
}

static int start_or_wait(struct ctx_taskgroup *group, struct task *task, bool waits)
{
	lock_acquire(&group->lock);
	int error = take_place(group);
	bool has_to_wait = error == -EAGAIN && waits;
	if (has_to_wait)
		group->waiting++; /* holds it until end_waiting() */
	lock_release(&group->lock);
	if (!has_to_wait)
		return error ? error : start_on_pool(group, task);
	error = start_in_turn(group, task);
	end_waiting(group);
	return error;
}

static int check_and_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name,
			   const void *site, bool waits)
{
	if (!group || !function || group->ring)
		return -EINVAL;
	if (group->fork_count != thread_fork_count)
		return -EPERM;
	int error = context_error(group->ctx);
	if (error)
		return -error;
	struct task *task = task_new(group, function, data, name, site);
	if (!task)
		return -ENOMEM;
	error = start_or_wait(group, task, waits);
	if (error)
		memory_release(task);
	return error;
}

int ctx_taskgroup_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name)
{
	return check_and_start(group, function, data, name, __builtin_return_address(0), true);
}

int ctx_taskgroup_try_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name)
{
	return check_and_start(group, function, data, name, __builtin_return_address(0), false);
}

/* ---- waiting */

static void wait_for_threads(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	while (group->running) {
		uint32_t seen = atomic_load(&group->quiet);
		lock_release(&group->lock);
		sys_futex_wait(&group->quiet, seen, NULL);
		lock_acquire(&group->lock);
	}
	lock_release(&group->lock);
}

/* Until nothing of the group runs. The caller holds it. -EDEADLK, -EPERM. */
static int wait_for_all(struct ctx_taskgroup *group)
{
	if (group->ring)
		return taskgroup_ring_wait(group);
	if (current == group && current_forks == thread_fork_count)
		return -EDEADLK;
	wait_for_threads(group);
	return 0;
}

int ctx_taskgroup_wait(struct ctx_taskgroup *group)
{
	if (!group)
		return -EINVAL;
	if (group->fork_count != thread_fork_count)
		return -EPERM;
	uint32_t forks = thread_fork_count;
	begin_waiting(group);
	int error = wait_for_all(group);
	if (forks != thread_fork_count)
		return -EPERM; /* a callback forked, and this is the child, which may have freed the group */
	if (!error) {
		lock_acquire(&group->lock);
		error = group->failures.first.error;
		lock_release(&group->lock);
	}
	end_waiting(group);
	return error;
}

void ctx_taskgroup_free(struct ctx_taskgroup *group)
{
	if (!group)
		return;
	/* In a forked child what ran in the group runs in the parent. */
	if (group->fork_count != thread_fork_count) {
		taskgroup_free(group);
		return;
	}
	uint32_t forks = thread_fork_count;
	begin_waiting(group);
	context_cancel(group->ctx, __builtin_return_address(0));
	/* Where it cannot wait, the freeing is left to who runs or waits in it and leaves last. A ring
	 * without anything of the group may have been closed. */
	if (forks == thread_fork_count && (!group->ring || group->in_flight))
		wait_for_all(group);
	if (forks != thread_fork_count) { /* a callback forked, and this is the child, as above */
		taskgroup_free(group);
		return;
	}
	lock_acquire(&group->lock);
	group->freed = true;
	lock_release(&group->lock);
	end_waiting(group);
}
