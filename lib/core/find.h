/* SPDX-License-Identifier: MIT */
/*
 * From the id of a context in this process's table to the context: for requests that come from outside.
 *
 * A record leads to its node, but does not keep it. Whoever frees a node therefore first takes the way to it
 * away and then looks whether anybody is on that way; whoever looks a node up says so, and makes that seen by
 * all threads with membarrier(2), before the first step. So freeing costs one load, and the looking up pays.
 */
#ifndef CTX_FIND_H
#define CTX_FIND_H

#include "node.h"
#include "table.h"
#include "thread.h"

/* Once before the first context_find. 0, or -ENOTSUP: membarrier(2) is not to be had here. */
int find_enable(void);

/* The live context of that id, pinned: node_unref() it. NULL: there is none. May block for a moment. */
struct ctx_context *context_find(uint64_t id);

/* Somebody is looking a node up. */
extern _Atomic uint32_t find_active;

/* Until nobody is. */
void find_wait(void);

static inline bool find_knows(const struct ctx_context *ctx)
{
	return !(ctx->flags & NODE_UNLISTED) && ctx->table_epoch == thread_fork_count;
}

/* A node that is complete and live can be found from here on. */
static inline void find_remember(struct ctx_context *ctx)
{
	if (find_knows(ctx))
		atomic_store_explicit(&table_context(ctx->slot)->done_site, (uintptr_t)ctx,
				      memory_order_release);
}

/*
 * Before refs are looked at for the last time, or memory goes: from here on nobody comes to ctx by its id.
 * Asked is the record, not the node: an end that comes from above reaches the node first, and whoever sees it
 * there may let go of the node at once. Of one that ended by itself the record holds something else.
 */
static inline void find_forget(struct ctx_context *ctx)
{
	struct ctx_table_context *record = find_knows(ctx) ? table_context(ctx->slot) : NULL;

	if (record && atomic_load_explicit(&record->state, memory_order_relaxed) == CTX_TABLE_LIVE)
		atomic_store_explicit(&record->done_site, 0, memory_order_relaxed);
	/* Against the membarrier of context_find: it sees the store, or we see that it is under way. */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&find_active, memory_order_relaxed), 0))
		find_wait();
}

#endif
