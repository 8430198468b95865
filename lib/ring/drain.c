/* SPDX-License-Identifier: MIT */
/*
 * Waiting until the kernel holds nothing of a context. Completions are only noted:
 * our own ring's go to the spill; an adopted ring's stay in its queue, where the
 * program will find them.
 */
#include "note.h"
#include "queue.h"
#include "ring.h"

struct drain {
	struct ctx_ring *ring;
	const struct ctx_context *root;
	struct group *groups; /* through drain_next */
	struct group *held;   /* the first of them that is not known to be over */
	bool waited;	      /* at the last look something waited to be given to the kernel */
};

static void collect_group(struct group *group, void *data)
{
	struct drain *drain = data;

	if (group->ring != drain->ring || group->draining)
		return;
	group->draining = true;
	group->drain_next = drain->groups;
	drain->groups = group;
}

static void collect_if_below(struct group *group, void *data)
{
	if (context_is_below_root(group->watch.ctx, ((struct drain *)data)->root))
		collect_group(group, data);
}

static void collect_watch(struct watch *watch, void *data)
{
	collect_group(container_of(watch, struct group, watch), data);
}

static void note_completions(struct ctx_ring *ring)
{
	if (ring->adopted)
		note_in_place(ring);
	else
		note_harvest(ring);
}

/* Submitted, but still held back: they will be given to the kernel. */
static bool any_waiting(const struct ctx_ring *ring)
{
	for (const struct list *link = ring->ops.waiting.next; link != &ring->ops.waiting;
	     link = link->next) {
		const struct operation *op = container_of(link, struct operation, link);
		if (op->group && op->group->draining)
			return true;
	}
	return false;
}

/* What is parked is given to the kernel when its time comes, until its context ends. */
static bool group_is_over(const struct group *group)
{
	return !group->in_kernel && !group->parked_count;
}

/*
 * Looks at the group that was held the last time, and at others only when that is over: so a drain costs one
 * look at each group and one for each completion. Only what waited at the last look can make a group that was
 * over have something in the kernel again; then all are looked at.
 */
static bool any_held(struct drain *drain)
{
	if (drain->waited)
		drain->held = drain->groups;
	while (drain->held && group_is_over(drain->held))
		drain->held = drain->held->drain_next;
	drain->waited = !list_empty(&drain->ring->ops.waiting);
	return drain->held || any_waiting(drain->ring);
}

/* Of the letters those that tell of the end of a context: an operation of ctx may wait for one of another.
 * True: there were some. */
static bool take_end_letters(struct ctx_ring *ring)
{
	struct letter *letter;
	bool any = false;

	mailbox_reset(ring->mailbox); /* first: see dispatch_turn */
	while (mailbox_pending(ring->mailbox) && (letter = mailbox_next_quiet(ring->mailbox))) {
		letter->deliver(letter);
		any = true;
	}
	return any;
}

/*
 * Does what a dispatch would do, but for calling anybody. True: the kernel holds something, or is to get it.
 *
 * The mail is looked at last, too: the completion of the wake for it may be among those that were noted, and
 * then nothing would end the wait, not even for later mail.
 */
static bool make_progress(struct drain *drain)
{
	struct ctx_ring *ring = drain->ring;

	/* Not in the wait: what that has to take out to find room would not be looked at. */
	queue_arm_wake(ring);
	take_end_letters(ring);
	do {
		note_completions(ring);
		if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
			ring_timers_fire(ring);
		batch_run(ring);
		batch_singles(ring);
		stage_push(ring);
		note_completions(ring); /* what all that brought */
		/* That made room, and may have brought readiness. Nobody tells of either again. */
		stage_push(ring);
		queue_arm_timer(ring);
	} while (take_end_letters(ring));
	return any_held(drain);
}

static int drain_wait(struct drain *drain, uint64_t timeout_ns)
{
	struct ctx_ring *ring = drain->ring;
	uint64_t deadline_ns = clock_after_ns(timeout_ns == CTX_FOREVER ? 0 : clock_now_ns(), timeout_ns);

	while (make_progress(drain)) {
		uint64_t now_ns = deadline_ns == CTX_FOREVER ? 0 : clock_now_ns();
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		if (ring->adopted && uring_cq_ready(ring->uring) >= ring->uring->cq.ring_entries)
			return -EBUSY;
		uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER : deadline_ns - now_ns;
		int error = queue_wait(ring, queue_has_unsent(ring) ? 0 : left_ns);
		if ((error == -EBUSY || error == -EAGAIN) && !ring->adopted) {
			note_harvest(ring); /* makes room */
			error = uring_cq_ready(ring->uring) ? -ENOMEM : 0;
		}
		if (error)
			return error;
	}
	return 0;
}

/*
 * What another thread ended before, and may not have told yet. From here on each end is told, by a letter or,
 * when this thread finds it, at once.
 */
static void doom_ended(struct drain *drain)
{
	for (struct group *group = drain->groups; group; group = group->drain_next)
		if (context_error(group->watch.ctx))
			group_doom(group);
}

int ctx_ring_drain(struct ctx_ring *ring, const struct ctx_context *ctx, uint64_t timeout_ns,
		   struct ctx_stuck *stuck, unsigned stuck_max, unsigned *ret_stuck)
{
	struct drain drain = {.ring = ring};

	if (!ring || !ctx || (stuck_max && !stuck))
		return -EINVAL;
	int error = ring_check(ring);
	if (error)
		return error;
	context_hold(ctx); /* it may wait for its turn to look at what is below */
	drain.root = ctx;
	if (ctx->flags & NODE_STATIC) /* keeps no list of what is below it */
		groups_each(ring, collect_if_below, &drain);
	else
		context_each_watch(ctx, WATCH_BELOW, &group_watch_ops, collect_watch, &drain);
	drain.held = drain.groups;
	doom_ended(&drain);
	error = drain_wait(&drain, timeout_ns);
	unsigned count = error ? grace_list_stuck(ring, true, stuck, stuck_max) : 0;
	if (ret_stuck)
		*ret_stuck = count;
	for (struct group *group = drain.groups; group; group = group->drain_next)
		group->draining = false;
	/* What was noted may be readiness, too, which only a dispatch acts upon. */
	if (ring->park && ring->owner.epoll_fd >= 0 && !ring->dispatching)
		mailbox_wake(ring->mailbox);
	queue_notify(ring);
	context_let_go(ctx);
	return error;
}
