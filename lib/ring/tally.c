/* SPDX-License-Identifier: MIT */
#include "tally.h"

#include "ring.h"

/*
 * Whether no call is under way on a ring of blocking calls. Then it has no operations. A call that ends after
 * this look finds the tally itself, see ring_end_call().
 */
static bool is_between_calls(struct ctx_ring *ring)
{
	return ring->calls && !atomic_load(&ring->owner.busy.word);
}

/*
 * Asks a group to report to the tally, unless it reports to another one already. Called under the context's
 * lock, so the group cannot be freed.
 */
static void ask_group(struct watch *watch, void *data)
{
	struct group *group = container_of(watch, struct group, watch);
	struct tally *tally = data, *none = NULL;

	tally_ref(tally);
	if (group->ring->fork_count != thread_fork_count ||
	    !atomic_compare_exchange_strong(&group->tally, &none, tally) ||
	    (is_between_calls(group->ring) && atomic_compare_exchange_strong(&group->tally, &tally, NULL)))
		/* This is never the last holder, since the caller of tally_begin is one. */
		atomic_fetch_sub(&tally->holders, 1);
}

void tally_begin(struct tally *tally, struct ctx_context *ctx, void (*done)(struct tally *tally))
{
	*tally = (struct tally){.holders = 1, .done = done};
	context_each_watch(ctx, WATCH_REACHED, &group_watch_ops, ask_group, tally);
}

void tally_end(struct tally *tally)
{
	tally_unref(tally);
}
