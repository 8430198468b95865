/* SPDX-License-Identifier: MIT */
/*
 * Task groups on threads of the pool. A task takes one of the group's places. When no place is free, the call
 * that starts the task waits in line, with the task already made. A thread whose task has ended takes over
 * the first task in that line at once, so that no thread has to be woken between two tasks.
 */
#include <limits.h>
#include <string.h>

#include "cancel.h"
#include "memory.h"
#include "taskgroup_first.h"

/* starter.word */
enum {
	WAITING,
	TAKEN,	 /* a thread has taken the task */
	REFUSED, /* the context of the group has ended */
	RETRY,	 /* a place may be free */
};

/*
 * A call that waits for a place. It lies on the stack of the calling thread, and may be gone as soon as word
 * is not WAITING.
 */
struct starter {
	struct list link; /* group->starters */
	struct task *task;
	_Atomic uint32_t word;
};

/* The group whose task this thread runs, and the fork count of the process that runs it. */
static __thread const struct ctx_taskgroup *current __attribute__((tls_model("initial-exec")));
static __thread uint32_t current_forks __attribute__((tls_model("initial-exec")));

/*
 * Takes a starter out of the line and tells it how its wait ended. The lock is held. Returns the futex to
 * wake once the lock is released.
 */
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

/* The context has ended: refuses all who wait for a place. The node's lock is held. */
static void taskgroup_context_done(struct watch *watch, struct deferred_list *later)
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

static const struct watch_ops taskgroup_watch_ops = {.done = taskgroup_context_done};

/* ---- making */

/* Makes a group on threads. */
static int new_on_threads(const struct ctx_context *parent, unsigned limit, const char *label,
			  const void *site, struct ctx_taskgroup **ret_group)
{
	struct ctx_taskgroup *group;
	int error = taskgroup_make(parent, label, site, sizeof(*group), &group);

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

int ctx_taskgroup_new(const struct ctx_context *parent, unsigned limit, const char *label,
		      struct ctx_taskgroup **ret_group)
{
	if (!parent || !ret_group)
		return -EINVAL;
	return new_on_threads(parent, limit, label, __builtin_return_address(0), ret_group);
}

int ctx_taskgroup_new_with_options(const struct ctx_context *parent,
				   const struct ctx_taskgroup_options *options, const char *label,
				   struct ctx_taskgroup **ret_group)
{
	const void *site = __builtin_return_address(0);
	struct ctx_taskgroup *group;

	if (!parent || !options || !ret_group || options->flags & ~CTX_TASKGROUP_FIRST)
		return -EINVAL;
	bool first = options->flags & CTX_TASKGROUP_FIRST;
	if (!first && (options->delay_ns || (options->ring && options->limit)))
		return -EINVAL;
	int error = options->ring ? taskgroup_ring_new(parent, options->ring, label, site, &group)
				  : new_on_threads(parent, options->limit, label, site, &group);
	if (error)
		return error;
	if (first) {
		group->first.enabled = true;
		group->first.delay_ns = options->delay_ns;
		group->limit = options->limit ? options->limit : UINT_MAX;
	}
	*ret_group = group;
	return 0;
}

const struct ctx_context *ctx_taskgroup_context(const struct ctx_taskgroup *group)
{
	return group ? group->ctx : NULL;
}

/* ---- running */

/*
 * A task has ended. Its place goes to the first queued task, or to the task of the first starter in line.
 * That task is returned. If there is none, the place becomes free, and the group may be gone afterwards.
 */
static struct task *hand_over_place(struct ctx_taskgroup *group, struct pool_thread *thread)
{
	_Atomic uint32_t *wake = NULL;
	struct next_due next_due = {0};
	struct task *next = NULL;
	bool last = false;

	lock_acquire(&group->lock);
	struct starter *starter = context_error(group->ctx) ? NULL : first_starter(group);
	if (group->first.enabled)
		next = taskgroup_take_queued(group, &next_due);
	if (starter) {
		next = starter->task;
		wake = starter_answer(starter, TAKEN);
	} else if (!next) {
		/* First of all, so that whoever hears of this task's end finds the thread idle. */
		pool_release(thread);
		wake = taskgroup_release_place(group);
		last = taskgroup_is_over(group);
	}
	lock_release(&group->lock);
	taskgroup_prepare_queued(next, next_due);
	/* The starter may be gone by now. Then this wakes whatever lies there, which is a spurious wake. */
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
		/* Where the task forked, this may be the child, which may have freed the group. */
		if (forks != thread_fork_count)
			return;
		/* Both may end the context, which runs its callbacks in here, and these may fork, too. */
		if (error < 0)
			taskgroup_note(group, error, task->name, task->site);
		else if (group->first.enabled)
			taskgroup_note_success(group, task->data, task->site);
		if (forks != thread_fork_count)
			return;
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

/*
 * Takes a place for a task. 0; -EAGAIN: no place is free; or the error of the context that has ended. The
 * lock is held.
 */
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

/* Gives the pool a task that has a place. Gives the place back if no thread can be had. */
static int start_on_pool(struct ctx_taskgroup *group, struct task *task)
{
	struct next_due next_due = {0};
	_Atomic uint32_t *wake = NULL;
	struct task *next = NULL;
	int error = pool_run(&task->job);

	if (!error)
		return 0;
	lock_acquire(&group->lock);
	struct starter *starter = first_starter(group);
	if (group->first.enabled)
		next = taskgroup_take_queued(group, &next_due);
	if (!next)
		wake = taskgroup_release_place(group);
	if (starter)
		sys_futex_wake(starter_answer(starter, RETRY), 1);
	lock_release(&group->lock);
	if (wake)
		sys_futex_wake(wake, INT32_MAX);
	taskgroup_prepare_queued(next, next_due);
	taskgroup_start_queued(group, next);
	return error;
}

/*
 * Waits in line for a place. The lock is held on entry and released in here. Returns what starter.word
 * became.
 */
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

/* Waits for a place until the task has one or the context has ended. The caller keeps the group. */
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

/* Starts a task of a group of which the first success ends the rest, or has it start later. */
static int start_or_queue(struct ctx_taskgroup *group, struct task *task)
{
	int error = taskgroup_queue_task(group, task);

	if (error)
		return error < 0 ? error : 0;
	return start_on_pool(group, task);
}

static int start_or_wait(struct ctx_taskgroup *group, struct task *task, bool waits)
{
	lock_acquire(&group->lock);
	int error = take_place(group);
	bool has_to_wait = error == -EAGAIN && waits;
	if (has_to_wait)
		group->waiting++; /* keeps the group until taskgroup_end_waiting() */
	lock_release(&group->lock);
	if (!has_to_wait)
		return error ? error : start_on_pool(group, task);
	error = start_in_turn(group, task);
	taskgroup_end_waiting(group);
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
	error = group->first.enabled ? start_or_queue(group, task) : start_or_wait(group, task, waits);
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

/* Waits until nothing of the group runs. The caller keeps the group. 0, -EDEADLK, -EPERM. */
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
	if (!group || group->owner)
		return -EINVAL;
	if (group->fork_count != thread_fork_count)
		return -EPERM;
	uint32_t forks = thread_fork_count;
	taskgroup_begin_waiting(group);
	int error = wait_for_all(group);
	if (forks != thread_fork_count)
		return -EPERM; /* A callback forked. This is the child, which may have freed the group. */
	if (!error) {
		lock_acquire(&group->lock);
		error = group->first.succeeded ? 0 : group->failures.first.error;
		lock_release(&group->lock);
	}
	taskgroup_end_waiting(group);
	return error;
}

void ctx_taskgroup_free(struct ctx_taskgroup *group)
{
	if (!group || group->owner)
		return;
	/* In a forked child nothing of the group runs: its tasks run in the parent. */
	if (group->fork_count != thread_fork_count) {
		taskgroup_free(group);
		return;
	}
	uint32_t forks = thread_fork_count;
	taskgroup_begin_waiting(group);
	context_cancel(group->ctx, __builtin_return_address(0));
	/*
	 * Where this thread must not wait (-EDEADLK, -EPERM), the last task or call that leaves the group
	 * frees it. A ring on which the group has nothing in flight may have been closed already, and is not
	 * touched.
	 */
	if (forks == thread_fork_count && (!group->ring || group->in_flight))
		wait_for_all(group);
	if (forks != thread_fork_count) { /* a callback forked, and this is the child */
		taskgroup_free(group);
		return;
	}
	lock_acquire(&group->lock);
	group->freed = true;
	lock_release(&group->lock);
	taskgroup_end_waiting(group);
}
