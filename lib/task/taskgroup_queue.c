/* SPDX-License-Identifier: MIT */
/*
 * The tasks of a group on threads that wait for their turn, because the first success ends the rest. No
 * thread waits with them. The first one in the queue has a context of its own, whose deadline is when it is
 * due: the timer thread then gives the task to the pool. A task that has failed hands its thread to the first
 * one in the queue at once, and a success ends the context of the group, so that no queued task starts.
 */
#include "memory.h"
#include "taskgroup_first.h"

/* The first queued task has become that now: says what taskgroup_prepare_queued() is to set. The lock is
 * held. */
static struct next_due next_due_of(const struct ctx_taskgroup *group)
{
	if (list_empty(&group->first.queued))
		return (struct next_due){0};
	struct task *task = container_of(group->first.queued.next, struct task, link);
	ctx_ref(task->due);
	return (struct next_due){task->due, group->first.due_ns};
}

void taskgroup_prepare_queued(struct task *task, struct next_due next)
{
	if (task)
		task_forget_due(task);
	if (!next.ctx)
		return;
	/* It fails only if the task has started meanwhile, or never will. */
	ctx_set_deadline(next.ctx, next.at_ns);
	ctx_unref(next.ctx);
}

struct task *taskgroup_take_queued(struct ctx_taskgroup *group, struct next_due *ret_next)
{
	struct task *task = NULL;

	*ret_next = (struct next_due){0};
	if (context_error(group->ctx))
		return NULL;
	if (list_empty(&group->first.queued)) {
		group->first.due_ns = 0; /* a failure starts the next one at once, also when it comes later */
		return NULL;
	}
	task = container_of(group->first.queued.next, struct task, link);
	list_remove(&task->link);
	taskgroup_note_start(group, clock_now_ns());
	*ret_next = next_due_of(group);
	return task;
}

void taskgroup_start_queued(struct ctx_taskgroup *group, struct task *task)
{
	_Atomic uint32_t *wake = NULL;
	struct next_due next;
	bool over = false;

	while (task) {
		int error = pool_run(&task->job);
		if (!error)
			return;
		taskgroup_note(group, error, task->name, task->site);
		memory_release(task);
		lock_acquire(&group->lock);
		task = taskgroup_take_queued(group, &next);
		if (!task) {
			wake = taskgroup_release_place(group);
			over = taskgroup_is_over(group);
		}
		lock_release(&group->lock);
		taskgroup_prepare_queued(task, next);
	}
	if (wake)
		sys_futex_wake(wake, INT32_MAX);
	if (over)
		taskgroup_free(group);
}

/* The context of a task has ended. If that is because the task is due, it gets a place. The node's lock is
 * held. */
static void task_told_due(struct watch *watch, struct deferred_list *later)
{
	struct task *task = container_of(watch, struct task, watch);
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
	struct task *task = container_of(deferred, struct task, start);
	struct ctx_taskgroup *group = task->group;

	lock_acquire(&group->lock);
	struct next_due next = next_due_of(group);
	lock_release(&group->lock);
	taskgroup_prepare_queued(task, next);
	taskgroup_start_queued(group, task);
}

/* Makes the context whose deadline will start the task. */
static int make_due(struct ctx_taskgroup *group, struct task *task)
{
	int error = ctx_with_movable_deadline(group->ctx, CTX_FOREVER, "delayed start", &task->due);

	if (error)
		return error;
	task->start.run = start_due_task;
	error = context_watch(task->due, &task->watch, &due_watch_ops);
	return error < 0 ? error : 0; /* the context of the group may have ended; the caller looks */
}

int taskgroup_queue_task(struct ctx_taskgroup *group, struct task *task)
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
	taskgroup_prepare_queued(queued ? NULL : task, next);
	return queued ? 1 : error;
}
