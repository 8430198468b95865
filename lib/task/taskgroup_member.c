/* SPDX-License-Identifier: MIT */
/*
 * The members of a group on a ring of which the first success ends the rest. Each member is a task group of
 * operations, with a context below that of the group, which is its owner. Its function begins the first of
 * them, and their callbacks the others. It has ended when none is in flight after a callback has returned: in
 * success if there was no failure. A timer of the ring starts the members that wait for their turn, and so
 * does the failure of another one.
 */
#include <stdio.h>
#include <string.h>

#include "cause.h"
#include "memory.h"
#include "taskgroup_first.h"

static void begin_due_members(struct ctx_taskgroup *owner);

static struct ring_member *member_of(struct ctx_taskgroup *group)
{
	return container_of(group, struct ring_member, group);
}

/*
 * Tells the owner of the first failure of a member, with the member's name before its text. A member whose
 * function failed has its name as the text.
 */
static void note_member_failure(const struct ring_member *member)
{
	const struct ctx_failure *failure = &member->group.failures.first;
	const char *name = strcmp(member->name, failure->text) == 0 ? "" : member->name;
	char text[CTX_CAUSE_TEXT_MAX + CTX_LABEL_MAX + 4];

	snprintf(text, sizeof(text), "%s%s%s", name, name[0] && failure->text[0] ? ": " : "", failure->text);
	taskgroup_note(member->group.owner, failure->error, text, member->site);
}

/* A member has ended. It is freed, and so is the owner if the program has freed it. */
static void end_member(struct ring_member *member)
{
	struct ctx_taskgroup *owner = member->group.owner;
	uint32_t forks = thread_fork_count;

	if (member->group.failures.count)
		note_member_failure(member);
	else
		taskgroup_note_success(owner, member->data, member->site);
	if (forks != thread_fork_count)
		return; /* A callback forked. This is the child, which may have freed the owner. */
	list_remove(&member->link);
	taskgroup_free(&member->group);
	taskgroup_begin_waiting(owner);
	lock_acquire(&owner->lock);
	owner->in_flight--;
	owner->first.due_ns = 0; /* if the context is live, it has failed */
	lock_release(&owner->lock);
	begin_due_members(owner);
	if (forks == thread_fork_count)
		taskgroup_end_waiting(owner);
}

/* An operation of the member, or its function, is over. */
static void leave_member(struct ring_member *member)
{
	if (!--member->group.in_flight)
		end_member(member);
}

static void member_op_ended(struct op_listener *listener, const struct operation *op,
			    const struct ctx_completion *completion)
{
	taskgroup_note_operation(container_of(listener, struct ctx_taskgroup, listener), op, completion);
}

/* Only after the callback, which may have begun the member's next operation. */
static void member_op_delivered(struct op_listener *listener)
{
	leave_member(member_of(container_of(listener, struct ctx_taskgroup, listener)));
}

/* Calls the function of a member. The owner may be gone afterwards, unless the caller keeps it. */
static void begin_member(struct ring_member *member)
{
	uint32_t forks = thread_fork_count;

	member->group.in_flight = 1; /* for the function */
	int error = member->function(&member->group, member->data);
	if (error < 0 && forks == thread_fork_count)
		taskgroup_note(&member->group, error, member->name, member->site);
	if (forks == thread_fork_count)
		leave_member(member);
}

/* Takes the first queued member if it may start now. */
static struct ring_member *take_due_member(struct ctx_taskgroup *owner)
{
	struct ring_member *member = NULL;

	lock_acquire(&owner->lock);
	uint64_t now_ns = clock_now_ns();
	if (!list_empty(&owner->first.queued) && !context_error(owner->ctx) && !owner->ring->closing &&
	    taskgroup_may_start(owner, now_ns)) {
		member = container_of(owner->first.queued.next, struct ring_member, link);
		list_remove(&member->link);
		list_append(&owner->first.members, &member->link);
		owner->in_flight++;
		taskgroup_note_start(owner, now_ns);
	}
	lock_release(&owner->lock);
	return member;
}

/* Sets the timer for the first queued member, or stops it if no time starts that member. */
static void set_member_timer(struct ctx_taskgroup *owner)
{
	struct taskgroup_first *first = &owner->first;

	if (list_empty(&first->queued) || context_error(owner->ctx) || owner->ring->closing ||
	    first->due_ns == CTX_FOREVER || owner->in_flight >= owner->limit)
		ring_timer_stop(owner->ring, &first->timer);
	else
		ring_timer_set(owner->ring, &first->timer, first->due_ns);
}

/*
 * Begins the members that may start now. A function that ends its member at once brings us here again, and
 * then the outer call begins the next one. The caller keeps the owner.
 */
static void begin_due_members(struct ctx_taskgroup *owner)
{
	uint32_t forks = thread_fork_count;
	struct ring_member *member;

	if (owner->first.beginning)
		return;
	owner->first.beginning = true;
	while ((member = take_due_member(owner))) {
		begin_member(member);
		if (forks != thread_fork_count)
			return; /* A function forked. This is the child, which may have freed the owner. */
	}
	owner->first.beginning = false;
	set_member_timer(owner);
}

static void member_timer_fired(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct taskgroup_first *first = container_of(timer, struct taskgroup_first, timer);
	struct ctx_taskgroup *owner = container_of(first, struct ctx_taskgroup, first);

	(void)now_ns;
	taskgroup_begin_waiting(owner);
	begin_due_members(owner);
	if (ring_is_here(ring))
		taskgroup_end_waiting(owner);
}

static int new_member(struct ctx_taskgroup *owner, ctx_ring_task_fn function, void *data, const char *name,
		      const void *site, struct ring_member **ret_member)
{
	struct ctx_taskgroup *group = NULL;
	int error = taskgroup_make(owner->ctx, name, site, sizeof(struct ring_member), &group);

	if (error)
		return error;
	struct ring_member *member = member_of(group);
	group->ring = owner->ring;
	group->owner = owner;
	group->listener = (struct op_listener){member_op_ended, member_op_delivered};
	member->function = function;
	member->data = data;
	member->site = site;
	if (name)
		memcpy(member->name, name, strnlen(name, CTX_LABEL_MAX));
	*ret_member = member;
	return 0;
}

int ctx_taskgroup_start_on_ring(struct ctx_taskgroup *group, ctx_ring_task_fn function, void *data,
				const char *name)
{
	struct ring_member *member = NULL;

	if (!group || !function || !group->ring || !group->first.enabled)
		return debug_invalid("the group is not on a ring, or has no CTX_TASKGROUP_FIRST", group,
				     function);
	if (group->fork_count != thread_fork_count || ring_check(group->ring))
		return debug_error(-EPERM, GROUP_INHERITED);
	int error = context_error(group->ctx);
	if (error)
		return debug_done(-error, group->ctx);
	error = new_member(group, function, data, name, __builtin_return_address(0), &member);
	if (error)
		return error;
	uint32_t forks = thread_fork_count;
	int state = thread_hold();
	group->first.timer.fire = member_timer_fired;
	taskgroup_begin_waiting(group);
	list_append(&group->first.queued, &member->link);
	begin_due_members(group);
	if (forks == thread_fork_count)
		taskgroup_end_waiting(group);
	thread_release(state);
	return 0;
}
