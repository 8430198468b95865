/* SPDX-License-Identifier: MIT */
/*
 * Rings for the blocking calls of one thread. Between the calls nothing of them is in the kernel but the poll
 * on the mailbox.
 */
#include "note.h"
#include "queue.h"
#include "ring.h"

int ring_open_for_calls(struct ctx_ring **ret_ring)
{
	/* For the operation, its cancel, and the poll on the mailbox. */
	const unsigned entries = 4;
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	int error = ctx_ring_open(entries, &options, ret_ring);

	if (!error)
		(*ret_ring)->calls = true;
	return error;
}

void ring_begin_call(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	uint32_t nobody = 0;

	/* Sequentially consistent, see group_context_done(). The look at the context comes after it. */
	if (!atomic_compare_exchange_strong(&ring->owner.busy.word, &nobody, lock_word(LOCK_HELD)))
		lock_acquire(&ring->owner.busy);
	group_keep_only(ring, ctx);
}

void ring_end_call(struct ctx_ring *ring)
{
	struct group *group = ring->groups.last;

	/* The context may be freed as soon as busy is released, see unwatch_between_calls(). */
	if (heap_contains(&group->deadline.node))
		ring_timer_stop(ring, &group->deadline);
	lock_release(&ring->owner.busy);
	if (__builtin_expect(ring->fork_count != thread_fork_count, 0))
		return; /* the call forked, and this is the child: the mail is the parent's */
	if (__builtin_expect(atomic_load_explicit(&group->tally, memory_order_relaxed) != NULL, 0))
		tally_unref(atomic_exchange(&group->tally, NULL)); /* the context did not end in this call */
	if (__builtin_expect(!mailbox_pending(ring->mailbox), 1))
		return;
	lock_acquire(&ring->owner.busy);
	dispatch_turn(ring, 0);
	lock_release(&ring->owner.busy);
}

int ring_hand_over(struct ctx_ring *ring)
{
	lock_acquire(&ring->owner.busy);
	group_keep_only(ring, NULL);
	int error = queue_disarm_wake(ring);
	if (!error)
		ring_disclaim(ring);
	lock_release(&ring->owner.busy);
	return error;
}
