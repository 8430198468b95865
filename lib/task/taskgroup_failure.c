/* SPDX-License-Identifier: MIT */
/*
 * The failures of a task group. The first one ends the group's context, unless the first success does that.
 * All are kept for the program to read.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "memory.h"
#include "taskgroup.h"

/* Where to write the next failure. NULL: it is only counted. The lock is held. */
static struct ctx_failure *next_place(struct task_failures *failures, bool *ret_no_memory)
{
	if (failures->kept == 0)
		return &failures->first;
	if (failures->kept == TASK_FAILURES_KEPT)
		return NULL;
	if (!failures->more)
		failures->more = memory_allocate((TASK_FAILURES_KEPT - 1) * sizeof(*failures->more));
	*ret_no_memory = !failures->more;
	return failures->more ? &failures->more[failures->kept - 1] : NULL;
}

int taskgroup_note(struct ctx_taskgroup *group, int error, const char *text, const void *site)
{
	struct task_failures *failures = &group->failures;
	bool no_memory = false;

	lock_acquire(&group->lock);
	bool alone = failures->count++ == 0 || group->first.enabled;
	bool consequence = !alone || context_error(group->ctx);
	struct ctx_failure *failure = next_place(failures, &no_memory);
	if (failure) {
		failures->kept++;
		*failure = (struct ctx_failure){.error = error, .consequence = consequence};
		snprintf(failure->text, sizeof(failure->text), "%s", text);
	}
	lock_release(&group->lock);
	if (!consequence && !group->first.enabled &&
	    context_cancel_text(group->ctx, error, text, site) == -ENOMEM)
		no_memory = true;
	return no_memory ? -ENOMEM : 0;
}

int ctx_taskgroup_fail(struct ctx_taskgroup *group, int error, const char *format, ...)
{
	char text[CTX_CAUSE_TEXT_MAX] = "";

	if (!group || error >= 0)
		return debug_invalid("error is not negative", group);
	if (group->fork_count != thread_fork_count || (group->ring && ring_check(group->ring)))
		return debug_error(-EPERM, GROUP_INHERITED);
	if (format) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(text, sizeof(text), format, arguments);
		va_end(arguments);
	}
	return taskgroup_note(group, error, text, __builtin_return_address(0));
}

int ctx_taskgroup_failures(struct ctx_taskgroup *group, struct ctx_failure *failures, unsigned max)
{
	if (!group || (max && !failures))
		return debug_invalid("failures is NULL and max is not 0", group);
	if (group->fork_count != thread_fork_count)
		return debug_error(-EPERM, GROUP_INHERITED);
	lock_acquire(&group->lock);
	const struct task_failures *all = &group->failures;
	unsigned count = all->kept < max ? all->kept : max;
	if (count)
		failures[0] = all->first;
	if (count > 1)
		memcpy(failures + 1, all->more, (count - 1) * sizeof(*failures));
	int total = (int)all->count;
	lock_release(&group->lock);
	return total;
}
