/* SPDX-License-Identifier: MIT */
/*
 * Task groups of operations on a ring. The ring tells a listener of the end of each operation that has the
 * mark OP_TASK. The listener is kept with the ring's group for the context, not with each operation, so that
 * an operation takes no more memory.
 */
#include <stdio.h>

#include "cause.h"
#include "taskgroup.h"

/*
 * The failure that a completion stands for; 0: none. A time that is over is -ETIME, as in ctx_err. An
 * operation that was cancelled while the context lives is no failure: either the program cancelled it, or an
 * earlier operation of its chain failed and is the failure.
 */
static int failure_of(const struct ctx_taskgroup *group, const struct ctx_completion *completion)
{
	if (completion->res >= 0)
		return 0;
	switch (completion->end) {
	case CTX_OP_TIMEOUT:
	case CTX_OP_DEADLINE:
		return -ETIME;
	case CTX_OP_CANCELLED:
		return context_error(group->ctx) ? completion->res : 0;
	default:
		return completion->res;
	}
}

void taskgroup_note_operation(struct ctx_taskgroup *group, const struct operation *op,
			      const struct ctx_completion *completion)
{
	int error = failure_of(group, completion);
	const char *name = ctx_opcode_name(op->sqe.opcode);
	char text[CTX_CAUSE_TEXT_MAX];

	if (!error)
		return;
	snprintf(text, sizeof(text), "%s on descriptor %d", name ? name : "operation", op->sqe.fd);
	taskgroup_note(group, error, text, NULL);
}

static void taskgroup_op_ended(struct op_listener *listener, const struct operation *op,
			       const struct ctx_completion *completion)
{
	struct ctx_taskgroup *group = container_of(listener, struct ctx_taskgroup, listener);
	uint32_t forks = thread_fork_count;

	taskgroup_note_operation(group, op, completion);
	if (forks != thread_fork_count)
		return; /* A callback forked. This is the child, which may have freed the group. */
	/* Only now, for callbacks of the context have run, and may have called ctx_taskgroup_free. */
	group->in_flight--;
	if (taskgroup_is_over(group))
		taskgroup_free(group);
}

int taskgroup_ring_new(const struct ctx_context *parent, struct ctx_ring *ring, const char *label,
		       const void *site, struct ctx_taskgroup **ret_group)
{
	struct ctx_taskgroup *group;
	int error = ring_check(ring);

	if (error)
		return error;
	if (ring->adopted)
		/* The program reads the completions, so that this library cannot wait for them. */
		return debug_note(-ENOTSUP, "the ring is adopted: the program reads its completions", 0, 0);
	error = taskgroup_make(parent, label, site, sizeof(*group), &group);
	if (error)
		return error;
	group->ring = ring;
	group->listener.ended = taskgroup_op_ended;
	*ret_group = group;
	return 0;
}

int ctx_taskgroup_new_on_ring(const struct ctx_context *parent, struct ctx_ring *ring, const char *label,
			      struct ctx_taskgroup **ret_group)
{
	if (!parent || !ring || !ret_group)
		return debug_invalid(NULL, parent, ring, ret_group);
	int error = taskgroup_ring_new(parent, ring, label, __builtin_return_address(0), ret_group);
	return debug_result(error, RING_REFUSED);
}

struct io_uring_sqe *ctx_taskgroup_get_sqe(struct ctx_taskgroup *group, struct ctx_op *public_op)
{
	if (!group || !group->ring || group->first.enabled)
		return debug_null("%s", !group	       ? "argument group is NULL"
					: !group->ring ? "the group is on threads"
						       : "the members of the group begin its operations");
	struct io_uring_sqe *sqe = ring_get_sqe(group->ring, group->ctx, public_op);
	if (!sqe)
		return debug_null(RING_REFUSED);
	struct operation *op = op_from_public(public_op);
	if (!op->group && debug_is_wanted() && context_error(group->ctx))
		debug_done(context_error(group->ctx), group->ctx);
	op_mark(op, OP_TASK);
	if (op->group)
		op->group->listener = &group->listener;
	else
		op->listener = &group->listener;
	group->in_flight++;
	return sqe;
}

int taskgroup_ring_wait(struct ctx_taskgroup *group)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	struct ctx_ring *ring = group->ring;
	int error = ring_check(ring);
	if (error)
		return error;
	if (ring->dispatching || group->first.beginning)
		return debug_note(-EDEADLK, "it is called inside a callback of the ring", 0, 0);
	while (group->in_flight) {
		int delivered = ctx_ring_dispatch(ring, CTX_FOREVER);
		if (!ring_is_here(ring))
			return -EPERM; /* a callback forked, and this is the child */
		/*
		 * The kernel is short of memory. We cannot return while it holds operations: wait, then try
		 * again.
		 */
		if (delivered == -EAGAIN || delivered == -EBUSY)
			sys_poll(NULL, 0, &moment);
	}
	return 0;
}
