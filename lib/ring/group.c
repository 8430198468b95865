/* SPDX-License-Identifier: MIT */
/*
 * Groups: finds and makes the group of a context, hears of the end and the release of the context, and frees
 * the group when nobody needs it any more.
 */
#include <string.h>

#include "memory.h"
#include "ring.h"
#include "table.h"

#define GROUPS_FIRST 16u

/* Its context is the address of something else, so that it is equal to none, and not to NULL. */
struct group group_of_nothing = {.watch.ctx = (struct ctx_context *)&group_of_nothing};

static unsigned bucket_of(const struct ctx_ring *ring, const struct ctx_context *ctx)
{
	/* Fibonacci hashing: addresses of contexts are multiples of 16. */
	return (unsigned)(((uintptr_t)ctx >> 4) * 0x9e3779b97f4a7c15ull >> 32) & ring->groups.mask;
}

/* Doubles the buckets when there are as many groups. Without memory the lists in the buckets get longer. */
static void grow_buckets(struct ctx_ring *ring)
{
	unsigned count = ring->groups.buckets ? (ring->groups.mask + 1) * 2 : GROUPS_FIRST;
	struct group **old = ring->groups.buckets;
	unsigned old_count = old ? ring->groups.mask + 1 : 0;
	struct group **groups = memory_allocate(count * sizeof(struct group *));

	if (!groups)
		return;
	memset(groups, 0, count * sizeof(struct group *));
	ring->groups.buckets = groups;
	ring->groups.mask = count - 1;
	for (unsigned i = 0; i < old_count; i++) {
		for (struct group *group = old[i], *next; group; group = next) {
			next = group->hash_next;
			struct group **head = &groups[bucket_of(ring, group->watch.ctx)];
			group->hash_next = *head;
			*head = group;
		}
	}
	memory_release(old);
}

/* Acts on what happened to the group's context since the last look. Runs on the owner's thread. */
static void review_group(struct group *group)
{
	if (context_error(group->watch.ctx))
		group_doom(group);
	if (context_orphaned(group->watch.ctx))
		group->released = true;
	if (!group->held && group->released && list_empty(&group->link))
		list_append(&group->ring->groups.emptied, &group->link);
}

/* Calls no function of the program, so a drain may take this letter, too. */
static void deliver_group_letter(struct letter *letter)
{
	review_group(container_of(letter, struct group, letter));
}

/* The context has ended. Called under the context's lock, on any thread. */
static void group_context_done(struct watch *watch, struct deferred_list *later)
{
	struct group *group = container_of(watch, struct group, watch);
	struct ctx_ring *ring = group->ring;

	if (ring->fork_count != thread_fork_count)
		return; /* a forked child ended its copy of the context: the ring is the parent's */
	/*
	 * Sequentially consistent, as are the marking of the context before this and both steps of
	 * ring_begin_call(). Whichever of the two threads is later sees what the other did.
	 */
	if (ring->calls && !atomic_load(&ring->owner.busy.word))
		return;
	if (!ring_is_mine(ring)) {
		mailbox_post_quiet(ring->mailbox, &group->letter, later);
		return;
	}
	group_doom(group);
	if (!ring->dispatching && !ring->groups.batch_deferred) {
		ring->groups.batch_deferred = true;
		defer(later, &ring->groups.batch);
	}
}

/*
 * Stops watching the context, if the ring is one of blocking calls and no call is under way: its owner may
 * not come back for long, and the context's memory need not wait for that.
 */
static bool unwatch_between_calls(struct group *group)
{
	struct ctx_ring *ring = group->ring;

	if (!ring->calls || !lock_try(&ring->owner.busy))
		return false;
	mailbox_retract(ring->mailbox, &group->letter);
	context_unwatch_released(&group->watch);
	group->unwatched = true;
	lock_release(&ring->owner.busy);
	return true;
}

/*
 * The program has released the context. Called under the context's lock, so the group cannot be freed here.
 * There is no hurry, so nobody is woken.
 */
static void group_context_released(struct watch *watch)
{
	struct group *group = container_of(watch, struct group, watch);

	if (group->ring->fork_count != thread_fork_count || unwatch_between_calls(group))
		return;
	if (ring_is_mine(group->ring)) {
		review_group(group);
	} else {
		mailbox_post_quiet(group->ring->mailbox, &group->letter, NULL);
		/* The call may have ended, and have looked for mail, just before the letter was posted. */
		unwatch_between_calls(group);
	}
}

const struct watch_ops group_watch_ops = {
	.done = group_context_done, .released = group_context_released, .quiet = true};

static void fire_deadline(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct group *group = container_of(timer, struct group, deadline);
	uint64_t deadline_ns = context_deadline(group->watch.ctx);

	if (deadline_ns <= now_ns)
		context_expire(group->watch.ctx, now_ns);
	else if (deadline_ns != CTX_FOREVER) /* the deadline has been moved */
		ring_timer_set(ring, timer, deadline_ns);
}

static struct group *group_new(struct ctx_ring *ring, const struct ctx_context *ctx, int *ret_error)
{
	struct group *group = memory_allocate(sizeof(*group));

	if (!group) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	*group = (struct group){
		.ring = ring, .letter.deliver = deliver_group_letter, .deadline.fire = fire_deadline};
	list_init(&group->pending);
	list_init(&group->cancelling);
	list_init(&group->parked);
	list_init(&group->staged);
	list_init(&group->retries);
	list_init(&group->retry_link);
	list_init(&group->stuck_link);
	list_init(&group->link);
	list_init(&group->letter.link);
	int error = context_watch(ctx, &group->watch, &group_watch_ops);
	if (error) {
		memory_release(group);
		*ret_error = error < 0 ? error : -error;
		return NULL;
	}
	context_table_id(ctx, &group->table_slot, &group->table_generation);
	if (group->table_slot)
		group->stem = table_context(group->table_slot)->stem;
	return group;
}

struct group *group_find(struct ctx_ring *ring, const struct ctx_context *ctx, int *ret_error)
{
	struct group *group;
	int error = context_error(ctx);

	if (error || ring->closing) {
		*ret_error = error ? -error : -ECANCELED;
		return NULL;
	}
	if (ring->groups.count >= (ring->groups.buckets ? ring->groups.mask + 1 : 0))
		grow_buckets(ring);
	if (!ring->groups.buckets) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	struct group **head = &ring->groups.buckets[bucket_of(ring, ctx)];
	for (group = *head; group && group->watch.ctx != ctx; group = group->hash_next)
		;
	if (!group) {
		group = group_new(ring, ctx, ret_error);
		if (!group)
			return NULL;
		group->hash_next = *head;
		*head = group;
		ring->groups.count++;
	}
	ring->groups.last = group;
	return group;
}

void group_doom(struct group *group)
{
	if (group->ended)
		return;
	group->ended = true;
	list_remove(&group->link);
	list_append(&group->ring->groups.doomed, &group->link);
}

enum ctx_op_end group_op_end(const struct group *group)
{
	return context_error(group->watch.ctx) == ETIME ? CTX_OP_DEADLINE : CTX_OP_CANCELLED;
}

void group_empty(struct group *group)
{
	ring_timer_stop(group->ring, &group->deadline);
	if ((group->ended || group->released) && list_empty(&group->link))
		list_append(&group->ring->groups.emptied, &group->link);
}

static void group_free(struct group *group)
{
	struct ctx_ring *ring = group->ring;
	struct group **place = &ring->groups.buckets[bucket_of(ring, group->watch.ctx)];

	while (*place != group)
		place = &(*place)->hash_next;
	*place = group->hash_next;
	ring->groups.count--;
	if (ring->groups.last == group)
		ring->groups.last = &group_of_nothing;
	list_remove(&group->link);
	list_remove(&group->retry_link);
	list_remove(&group->stuck_link);
	ring_timer_stop(ring, &group->deadline);
	/* From here on nobody posts the letter, so after the next line it is not in the mailbox. */
	if (!group->unwatched)
		context_unwatch(&group->watch);
	mailbox_retract(ring->mailbox, &group->letter);
	tally_unref(atomic_load(&group->tally));
	memory_release(group);
}

void group_keep_only(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	struct group *group = ring->groups.last;

	if (group != &group_of_nothing && (group->unwatched || group->watch.ctx != ctx))
		group_free(group);
}

void groups_sweep(struct ctx_ring *ring)
{
	while (!list_empty(&ring->groups.emptied)) {
		struct group *group = container_of(ring->groups.emptied.next, struct group, link);
		list_remove(&group->link);
		if (!group->held)
			group_free(group);
	}
}

void groups_each(struct ctx_ring *ring, void (*visit)(struct group *group, void *data), void *data)
{
	for (unsigned i = 0; ring->groups.buckets && i <= ring->groups.mask; i++)
		for (struct group *group = ring->groups.buckets[i], *next; group; group = next) {
			next = group->hash_next;
			visit(group, data);
		}
}

static void free_visited_group(struct group *group, void *data)
{
	(void)data;
	group_free(group);
}

void groups_free(struct ctx_ring *ring)
{
	groups_each(ring, free_visited_group, NULL);
	memory_release(ring->groups.buckets);
	ring->groups.buckets = NULL;
}
