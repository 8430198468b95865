/* SPDX-License-Identifier: MIT */
#include "reap.h"

#include "ring.h"

/* Then it has nothing under it; a call that ends after this look finds the reap itself, see ring_end_call().
 */
static bool is_between_calls(struct ctx_ring *ring)
{
	return ring->calls && !atomic_load(&ring->busy.word);
}

/* Under the context's lock, where the group cannot be freed. Who is to report already goes on doing that. */
static void ask(struct watch *watch, void *data)
{
	struct group *group = container_of(watch, struct group, watch);
	struct reap *reap = data, *none = NULL;

	reap_hold(reap);
	if (group->ring->fork_count != thread_fork_count ||
	    !atomic_compare_exchange_strong(&group->reap, &none, reap) ||
	    (is_between_calls(group->ring) && atomic_compare_exchange_strong(&group->reap, &reap, NULL)))
		atomic_fetch_sub(&reap->holders, 1); /* never the last: the caller of reap_begin is one */
}

void reap_begin(struct reap *reap, struct ctx_context *ctx, void (*done)(struct reap *reap))
{
	*reap = (struct reap){.holders = 1, .done = done};
	context_each_watch(ctx, WATCH_REACHED, &group_watch_ops, ask, reap);
}

void reap_end(struct reap *reap)
{
	reap_drop(reap);
}
