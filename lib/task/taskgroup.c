/* SPDX-License-Identifier: MIT */
/* The calls on task groups on threads, and those on task groups of both kinds. */
#include <limits.h>
#include <string.h>

#include "cancel.h"
#include "cause.h"
#include "taskgroup_first.h"

/* The context has ended: refuses all who wait for room in the queue. The node's lock is held. */
static void taskgroup_context_done(struct watch *watch, struct deferred_list *later)
{
	struct ctx_taskgroup *group = container_of(watch, struct ctx_taskgroup, watch);

	(void)later;
	if (group->fork_count == thread_fork_count)
		taskgroup_refuse_starters(group);
}

static const struct watch_ops taskgroup_watch_ops = {.done = taskgroup_context_done, .quiet = true};

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

#define NO_GROUP "the group could not be made"

int ctx_taskgroup_new(const struct ctx_context *parent, unsigned limit, const char *label,
		      struct ctx_taskgroup **ret_group)
{
	if (!parent || !ret_group)
		return debug_invalid(NULL, parent, ret_group);
	return new_on_threads(parent, limit, label, __builtin_return_address(0), ret_group);
}

int ctx_taskgroup_new_with_options(const struct ctx_context *parent,
				   const struct ctx_taskgroup_options *options, const char *label,
				   struct ctx_taskgroup **ret_group)
{
	const void *site = __builtin_return_address(0);
	struct ctx_taskgroup *group;

	if (!parent || !options || !ret_group || options->flags & ~CTX_TASKGROUP_FIRST)
		return debug_invalid("options have an unknown flag", parent, options, ret_group);
	bool first = options->flags & CTX_TASKGROUP_FIRST;
	if (!first && (options->delay_ns || (options->ring && options->limit)))
		return debug_error(-EINVAL, "delay_ns, and limit with a ring, need CTX_TASKGROUP_FIRST");
	int error = options->ring ? taskgroup_ring_new(parent, options->ring, label, site, &group)
				  : new_on_threads(parent, options->limit, label, site, &group);
	if (error)
		return debug_result(error, NO_GROUP);
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

/* ---- starting */

static int check_and_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name,
			   const void *site, bool waits)
{
	struct task task = {.function = function, .data = data, .site = site};

	if (!group || !function || group->ring)
		return debug_note(-EINVAL, GROUP_ON_RING, 0, 0);
	if (group->fork_count != thread_fork_count)
		return debug_note(-EPERM, GROUP_INHERITED, 0, 0);
	int error = context_error(group->ctx);
	if (error)
		return -error;
	if (name)
		memcpy(task.name, name, strnlen(name, CTX_LABEL_MAX));
	return group->first.enabled ? taskgroup_start_first(group, &task)
				    : taskgroup_start_task(group, &task, waits);
}

static __attribute__((noinline, cold)) void explain_start(const struct ctx_taskgroup *group,
							  ctx_task_fn function, int error, const void *site,
							  const char *name)
{
	if (error == -EINVAL)
		debug_tell_invalid(site, name, GROUP_ON_RING, DEBUG_PAIRS(group, function), NULL);
	else if (error == -ECANCELED || error == -ETIME)
		cause_tell_done(site, name, error, group->ctx);
	else if (!debug_is_usual(error))
		debug_tell(site, name, error,
			   "no thread is idle or may run the task now, and none could be started");
}

int ctx_taskgroup_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name)
{
	const void *site = __builtin_return_address(0);
	int error = check_and_start(group, function, data, name, site, true);

	if (error < 0 && debug_is_wanted())
		explain_start(group, function, error, site, __func__);
	return error;
}

int ctx_taskgroup_try_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name)
{
	const void *site = __builtin_return_address(0);
	int error = check_and_start(group, function, data, name, site, false);

	if (error < 0 && debug_is_wanted())
		explain_start(group, function, error, site, __func__);
	return error;
}

/* ---- waiting */

static void wait_for_threads(struct ctx_taskgroup *group)
{
	lock_acquire(&group->lock);
	atomic_fetch_add_explicit(&group->awaiting, 1, memory_order_relaxed);
	while (group->running) {
		uint32_t seen = atomic_load(&group->quiet);
		lock_release(&group->lock);
		sys_futex_wait(&group->quiet, seen, NULL);
		lock_acquire(&group->lock);
	}
	atomic_fetch_sub_explicit(&group->awaiting, 1, memory_order_relaxed);
	lock_release(&group->lock);
}

/* Waits until nothing of the group runs. The caller keeps the group. 0, -EDEADLK, -EPERM. */
static int wait_for_all(struct ctx_taskgroup *group)
{
	if (group->ring)
		return taskgroup_ring_wait(group);
	if (taskgroup_is_inside(group))
		return -EDEADLK;
	wait_for_threads(group);
	return 0;
}

int ctx_taskgroup_wait(struct ctx_taskgroup *group)
{
	if (!group || group->owner)
		return debug_invalid("the group is a member of another, which waits for it", group);
	if (group->fork_count != thread_fork_count)
		return debug_error(-EPERM, GROUP_INHERITED);
	uint32_t forks = thread_fork_count;
	taskgroup_begin_waiting(group);
	int error = wait_for_all(group);
	if (forks != thread_fork_count)
		return -EPERM; /* A callback forked. This is the child, which may have freed the group. */
	if (error) {
		debug_result(error,
			     "a task of the group, or a callback of its ring, cannot wait for the group");
	} else {
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
