/* SPDX-License-Identifier: MIT */
/* Making and freeing task groups of all kinds. */
#include <string.h>

#include "memory.h"
#include "taskgroup.h"

int taskgroup_make(const struct ctx_context *parent, const char *label, const void *site, size_t size,
		   struct ctx_taskgroup **ret_group)
{
	struct ctx_taskgroup *group = memory_allocate(size);

	if (!group)
		return -ENOMEM;
	memset(group, 0, size);
	group->fork_count = thread_fork_count;
	list_init(&group->starters);
	list_init(&group->first.queued);
	list_init(&group->first.members);
	int error = context_with_cancel(parent, label, site, &group->ctx);
	if (error) {
		memory_release(group);
		return error;
	}
	*ret_group = group;
	return 0;
}

/* The group whose task this thread runs, and the fork count of the process that runs it. */
static __thread const struct ctx_taskgroup *current __attribute__((tls_model("initial-exec")));
static __thread uint32_t current_forks __attribute__((tls_model("initial-exec")));

void taskgroup_enter(const struct ctx_taskgroup *group)
{
	current = group;
	current_forks = thread_fork_count;
}

bool taskgroup_is_inside(const struct ctx_taskgroup *group)
{
	return current == group && current_forks == thread_fork_count;
}

void task_forget_due(struct first_task *task)
{
	context_unwatch(&task->watch);
	ctx_unref(task->due);
	task->due = NULL;
}

/* Frees what a group has of its own, and its memory. */
static void free_one(struct ctx_taskgroup *group)
{
	context_unwatch(&group->watch);
	ctx_unref(group->ctx);
	memory_release(group->failures.more);
	memory_release(group->queue.tasks);
	memory_release(group);
}

/*
 * Frees the members in a list. In a forked child a thread of the parent may have been about to change the
 * list, whose links forward are whole. So nothing is taken out of it.
 */
static void free_members(const struct list *head)
{
	for (struct list *link = head->next, *next; link != head; link = next) {
		next = link->next;
		free_one(&container_of(link, struct ring_member, link)->group);
	}
}

static void free_queued_tasks(const struct list *head)
{
	for (struct list *link = head->next, *next; link != head; link = next) {
		struct first_task *task = container_of(link, struct first_task, link);
		next = link->next;
		task_forget_due(task);
		memory_release(task);
	}
}

void taskgroup_free(struct ctx_taskgroup *group)
{
	if (group->ring) {
		if (heap_contains(&group->first.timer.node) && group->fork_count == thread_fork_count)
			ring_timer_stop(group->ring, &group->first.timer);
		free_members(&group->first.queued);
		free_members(&group->first.members);
	} else {
		free_queued_tasks(&group->first.queued);
	}
	free_one(group);
}

void taskgroup_begin_waiting(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	group->waiting++;
	lock_release(&group->lock);
}

void taskgroup_end_waiting(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	group->waiting--;
	bool over = taskgroup_is_over(group);
	lock_release(&group->lock);
	if (over)
		taskgroup_free(group);
}
