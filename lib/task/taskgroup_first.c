/* SPDX-License-Identifier: MIT */
#include "taskgroup_first.h"

#include "cancel.h"

bool taskgroup_may_start(const struct ctx_taskgroup *group, uint64_t now_ns)
{
	unsigned active = group->running + group->in_flight;

	return !active || (active < group->limit && now_ns >= group->first.due_ns);
}

void taskgroup_note_success(struct ctx_taskgroup *group, void *data, const void *site)
{
	lock_acquire(&group->lock);
	bool first = !group->first.succeeded;
	if (first) {
		group->first.succeeded = true;
		group->first.winner = data;
	}
	lock_release(&group->lock);
	if (first)
		context_cancel_text(group->ctx, 0, "another task of the group was first", site);
}

int ctx_taskgroup_first(struct ctx_taskgroup *group, void **ret_data)
{
	if (!group || !ret_data || !group->first.enabled)
		return debug_invalid("the group has no CTX_TASKGROUP_FIRST", group, ret_data);
	if (group->fork_count != thread_fork_count)
		return debug_error(-EPERM, GROUP_INHERITED);
	lock_acquire(&group->lock);
	bool succeeded = group->first.succeeded;
	if (succeeded)
		*ret_data = group->first.winner;
	lock_release(&group->lock);
	return succeeded ? 0 : -ENOENT;
}
