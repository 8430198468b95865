/* SPDX-License-Identifier: MIT */
/*
 * Finding a context by its id in this process's table, for requests that come from other processes.
 *
 * The record of a context has the address of its node (done_site), but does not keep the node. A thread that
 * frees a node first removes that address, and then looks at find_active: is anybody looking a node up? A
 * thread that looks a node up first sets find_active, and makes all threads see it by membarrier(2). So
 * freeing costs one load more, and the look-up, which is rare, pays for the rest.
 */
#ifndef CTX_FIND_H
#define CTX_FIND_H

#include "node.h"
#include "table.h"
#include "thread.h"

/* To be called before the first context_find(). Returns 0, or -ENOTSUP: there is no membarrier(2) here. */
int find_enable(void);

/* Returns the live context of that id with a reference, which the caller gives back by node_unref(). NULL:
 * there is none. May block for a moment. */
struct ctx_context *context_find(uint64_t id);

/* 1 while a thread looks a node up. Stored by context_find(), loaded by find_forget(). */
extern _Atomic uint32_t find_active;

/* Waits until no thread looks a node up. */
void find_wait(void);

/* True for a node that has a record in this process's table. */
static inline bool find_knows(const struct ctx_context *ctx)
{
	return !(ctx->flags & NODE_UNLISTED) && ctx->table_epoch == thread_fork_count;
}

/* Lets ctx, which is complete and live, be found from here on. */
static inline void find_remember(struct ctx_context *ctx)
{
	if (find_knows(ctx))
		atomic_store_explicit(&table_context(ctx->slot)->done_site, (uintptr_t)ctx,
				      memory_order_release);
}

/*
 * Makes sure that from here on nobody finds ctx by its id. To be called before refs are looked at for the
 * last time and before memory is freed. It looks at the state in the record, not in the node: an end that
 * comes from above is written to the node first, and a thread that sees it there may give its reference back
 * at once. When the node ended by itself, done_site holds something else already.
 */
static inline void find_forget(struct ctx_context *ctx)
{
	struct ctx_table_context *record = find_knows(ctx) ? table_context(ctx->slot) : NULL;

	if (record && atomic_load_explicit(&record->state, memory_order_relaxed) == CTX_TABLE_LIVE)
		atomic_store_explicit(&record->done_site, 0, memory_order_relaxed);
	/* The partner is the membarrier(2) of context_find(): it sees this store, or we see find_active. */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&find_active, memory_order_relaxed), 0))
		find_wait();
}

#endif
