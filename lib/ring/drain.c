/* SPDX-License-Identifier: MIT */
/*
 * Waits until the kernel holds nothing of a context.
 *
 * Why the kernel still holds something of a context that has ended: a cancel is a request. The kernel may use
 * the buffers of an operation until its final completion has been seen, and that comes after the cancel: soon
 * for most, much later for an operation that a worker of the kernel carries out.
 *
 * A drain calls no function of the program. Completions are only noted (note.c): those of our own ring go to
 * the spill, those of an adopted ring stay in its queue, where the program finds them.
 */
#include "note.h"
#include "queue.h"
#include "ring.h"

struct drain {
	struct ctx_ring *ring;
	const struct ctx_context *root;
	struct group *groups; /* the groups to be drained, linked by drain_next */
	struct group *held;   /* the first of these groups that is not known to be over */
	bool waited;	      /* at the last look some operation waited to be given to the kernel */
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

/* Whether operations of the groups are submitted, but not given to the kernel yet. They will be. */
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

/*
 * Whether the kernel holds nothing of group and will get nothing. A parked operation is given to the kernel
 * when its descriptor is ready, until its context ends.
 */
static bool group_is_over(const struct group *group)
{
	return !group->in_kernel && !group->parked_count;
}

/*
 * Whether the kernel holds something of the groups, or will get something. Looks at the group for which this
 * was so the last time, and at others only when that one is over. So a drain costs one look at each group and
 * one at each completion. A group that is over gets something into the kernel again only if it had operations
 * waiting at the last look; then all groups are looked at again.
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

/*
 * Takes the letters that report the end of a context: an operation of ctx may wait for one of another
 * context. True: there were some.
 */
static bool take_end_letters(struct ctx_ring *ring)
{
	struct letter *letter;
	bool any = false;

	mailbox_reset(ring->mailbox); /* before the look at the mail: see turn_inline() */
	while (mailbox_pending(ring->mailbox) && (letter = mailbox_next_quiet(ring->mailbox))) {
		letter->deliver(letter);
		any = true;
	}
	return any;
}

/*
 * Does what a dispatch does, but calls no function of the program. True: the kernel holds something, or will
 * get something.
 *
 * The mail is looked at in the end as well. The completion of the poll on the mailbox may be among those that
 * were noted, and then neither that mail nor later mail would end the wait.
 */
static bool make_progress(struct drain *drain)
{
	struct ctx_ring *ring = drain->ring;

	/*
	 * Here, and not in the wait: there it might have to take completions out to make room, and nobody
	 * would act on them before the wait.
	 */
	queue_arm_wake(ring);
	take_end_letters(ring);
	do {
		note_completions(ring);
		if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
			ring_timers_fire(ring);
		batch_run(ring);
		batch_singles(ring);
		stage_push(ring, false);
		note_completions(ring); /* what the steps above have brought */
		/* The completions made room, and may have brought readiness, which are not reported again. */
		stage_push(ring, false);
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
			return debug_note(
				-EBUSY,
				"the completion queue of the adopted ring is full, with %lu completions: "
				"read some first",
				uring_cq_ready(ring->uring), 0);
		uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER : deadline_ns - now_ns;
		int error = queue_wait(ring, queue_has_unsent(ring) ? 0 : left_ns);
		if ((error == -EBUSY || error == -EAGAIN) && !ring->adopted) {
			note_harvest(ring); /* makes room in the kernel's queue of completions */
			error = uring_cq_ready(ring->uring) ? -ENOMEM : 0;
		}
		if (error)
			return error;
	}
	return 0;
}

/*
 * Dooms the groups of contexts that have ended. Another thread may have ended one before the drain, and its
 * letter may not be here yet. From here on each end is reported by a letter, or seen at once when this thread
 * brings it about.
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
		return debug_invalid(STUCK_MISSING, ring, ctx);
	int error = ring_check(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	context_hold(ctx); /* context_each_watch() may wait, and ctx must not be freed meanwhile */
	drain.root = ctx;
	if (ctx->flags & NODE_STATIC) /* a static context keeps no list of the contexts below it */
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
	/* Readiness may be among what was noted, and only a dispatch acts on it. */
	if (ring->park && ring->owner.epoll_fd >= 0 && !ring->dispatching)
		mailbox_wake(ring->mailbox);
	queue_notify(ring);
	context_unhold(ctx);
	return debug_result(error, "%s", ring_explain_refusal(ring, error));
}
