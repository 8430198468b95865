/* SPDX-License-Identifier: MIT */
/*
 * The tasks of a group on threads that wait for their turn, because the first success ends the rest. No
 * thread waits with them. The first one in the queue has a context of its own, whose deadline is when it is
 * due: the timer thread then gives the task to the pool. A task that has failed hands its thread to the first
 * one in the queue at once, and a success ends the context of the group, so that no queued task starts.
 */
#include "memory.h"
#include "taskgroup_first.h"

/* A queued task that is the first one now, and when it is due. With ctx NULL there is none. */
struct next_due {
	struct ctx_context *ctx; /* a reference */
	uint64_t at_ns;
};

/* The first queued task has become that now: says what prepare_queued() is to set. The lock is held. */
static struct next_due next_due_of(const struct ctx_taskgroup *group)
{
	if (list_empty(&group->first.queued))
		return (struct next_due){0};
	struct first_task *task = container_of(group->first.queued.next, struct first_task, link);
	ctx_ref(task->due);
	return (struct next_due){task->due, group->first.due_ns};
}

/* Makes task, which may be NULL, ready to run, and sets the time of the next one. No lock held. */
static void prepare_queued(struct first_task *task, struct next_due next)
{
	if (task)
		task_forget_due(task);
	if (!next.ctx)
		return;
	/* It fails only if the task has started meanwhile, or never will. */
	ctx_set_deadline(next.ctx, next.at_ns);
	ctx_unref(next.ctx);
}

/*
 * A member has ended. Takes the first queued task, which gets its place, out of the queue. NULL: none waits,
 * or the context has ended. The lock is held. After it has been released the caller passes what this returned
 * and set to prepare_queued().
 */
static struct first_task *take_queued(struct ctx_taskgroup *group, struct next_due *ret_next)
{
	struct first_task *task = NULL;

	*ret_next = (struct next_due){0};
	if (context_error(group->ctx))
		return NULL;
	if (list_empty(&group->first.queued)) {
		group->first.due_ns = 0; /* a failure starts the next one at once, also when it comes later */
		return NULL;
	}
	task = container_of(group->first.queued.next, struct first_task, link);
	list_remove(&task->link);
	taskgroup_note_start(group, clock_now_ns());
	*ret_next = next_due_of(group);
	return task;
}

/*
 * A task has ended, or could not be given to the pool. Its place goes to the first queued task, which is
 * returned. If there is none, the place becomes free, and the group may be gone afterwards. thread is the one
 * that ran the task, or NULL.
 */
static struct first_task *hand_over_place(struct ctx_taskgroup *group, struct pool_thread *thread)
{
	_Atomic uint32_t *wake = NULL;
	struct next_due next_due;
	bool last = false;

	lock_acquire(&group->lock);
	struct first_task *next = take_queued(group, &next_due);
	if (!next) {
		/* First of all, so that whoever hears of this task's end finds the thread idle. */
		if (thread)
			pool_release(thread);
		wake = taskgroup_release_place(group);
		last = taskgroup_is_over(group);
	}
	lock_release(&group->lock);
	prepare_queued(next, next_due);
	if (wake)
		sys_futex_wake(wake, INT32_MAX);
	if (last)
		taskgroup_free(group);
	return next;
}

/*
 * Gives the pool a task that has a place. If no thread can be had the task has failed, and the next one gets
 * its place. task may be NULL. No lock held; the group may be gone afterwards.
 */
static void start_queued(struct ctx_taskgroup *group, struct first_task *task)
{
	while (task) {
		int error = pool_run(&task->job);
		if (!error)
			return;
		taskgroup_note(group, error, task->task.name, task->task.site);
		memory_release(task);
		task = hand_over_place(group, NULL);
	}
}

/* The context of a task has ended. If that is because the task is due, it gets a place. The node's lock is
 * held. */
static void task_told_due(struct watch *watch, struct deferred_list *later)
{
	struct first_task *task = container_of(watch, struct first_task, watch);
	struct ctx_taskgroup *group = task->group;

	if (group->fork_count != thread_fork_count)
		return;
	lock_acquire(&group->lock);
	if (!list_empty(&task->link) && !context_error(group->ctx) && group->running < group->limit) {
		list_remove(&task->link);
		group->running++;
		taskgroup_note_start(group, clock_now_ns());
		defer(later, &task->start);
	}
	lock_release(&group->lock);
}

static const struct watch_ops due_watch_ops = {.done = task_told_due};

/* Starts a task that was due. Its place keeps the group. */
static void start_due_task(struct deferred *deferred)
{
	struct first_task *task = container_of(deferred, struct first_task, start);
	struct ctx_taskgroup *group = task->group;

	lock_acquire(&group->lock);
	struct next_due next = next_due_of(group);
	lock_release(&group->lock);
	prepare_queued(task, next);
	start_queued(group, task);
}

/* Makes the context whose deadline will start the task. */
static int make_due(struct ctx_taskgroup *group, struct first_task *task)
{
	int error = ctx_with_movable_deadline(group->ctx, CTX_FOREVER, "delayed start", &task->due);

	if (error)
		return error;
	task->start.run = start_due_task;
	error = context_watch(task->due, &task->watch, &due_watch_ops);
	return error < 0 ? error : 0; /* the context of the group may have ended; the caller looks */
}

/*
 * Takes a place for task, or queues it. 1: it is queued. 0: it has a place, and the caller gives it to the
 * pool. Otherwise an error, and nothing has been done.
 */
static int queue_task(struct ctx_taskgroup *group, struct first_task *task)
{
	struct next_due next = {0};
	bool queued = false;
	int error;

	list_init(&task->link);
	for (;;) {
		lock_acquire(&group->lock);
		uint64_t now_ns = clock_now_ns();
		error = -context_error(group->ctx);
		if (error)
			break;
		if (list_empty(&group->first.queued) && taskgroup_may_start(group, now_ns)) {
			group->running++;
			taskgroup_note_start(group, now_ns);
			break;
		}
		if (task->due || !taskgroup_is_timed(group)) {
			bool is_first = list_empty(&group->first.queued);
			list_append(&group->first.queued, &task->link);
			if (is_first)
				next = next_due_of(group);
			queued = true;
			break;
		}
		lock_release(&group->lock);
		error = make_due(group, task);
		if (error) {
			task_forget_due(task);
			return error;
		}
	}
	lock_release(&group->lock);
	prepare_queued(queued ? NULL : task, next);
	return queued ? 1 : error;
}

static void run_first_tasks(struct pool_job *job, struct pool_thread *thread)
{
	struct first_task *task = container_of(job, struct first_task, job);
	uint32_t forks = thread_fork_count;

	while (task) {
		struct ctx_taskgroup *group = task->group;
		taskgroup_enter(group);
		int error = task->task.function(group->ctx, task->task.data);
		/* Where the task forked, this may be the child, which may have freed the group. */
		if (forks != thread_fork_count)
			return;
		/* Both may end the context, which runs its callbacks in here, and these may fork, too. */
		if (error < 0)
			taskgroup_note(group, error, task->task.name, task->task.site);
		else
			taskgroup_note_success(group, task->task.data, task->task.site);
		if (forks != thread_fork_count)
			return;
		taskgroup_enter(NULL);
		memory_release(task);
		task = hand_over_place(group, thread);
	}
}

int taskgroup_start_first(struct ctx_taskgroup *group, const struct task *task)
{
	struct first_task *first = memory_allocate(sizeof(*first));

	if (!first)
		return -ENOMEM;
	*first = (struct first_task){.job.run = run_first_tasks, .group = group, .task = *task};
	int result = queue_task(group, first);
	if (result > 0)
		return 0; /* it is queued */
	if (!result) {
		result = pool_run(&first->job);
		if (result)
			start_queued(group, hand_over_place(group, NULL));
	}
	if (result)
		memory_release(first);
	return result;
}
