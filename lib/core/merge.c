/* SPDX-License-Identifier: MIT */
/*
 * A context with several parents. The merged node itself is in no parent's list. Each parent has a link in
 * its list: a hidden child that lies in the merged node's memory. A sweep that marks a link marks the merged
 * node, and the first link to be marked says from which parent the end came. Making, ending and freeing a
 * merged context costs as much as it has parents.
 */
#include "cause.h"
#include "clock.h"
#include "debug.h"
#include "find.h"
#include "node.h"
#include "sweep.h"
#include "table.h"
#include "walk.h"

static void publish_merged(struct ctx_context *node)
{
	struct merge *merge = node_merge(node);
	uint64_t deadline_ns = CTX_FOREVER;

	for (unsigned i = 0; i < merge->count; i++) {
		struct ctx_context *link = &merge->links[i].node;
		if (node_is_inherited(link->parent))
			node_serve(link->parent); /* as node_publish() does */
		int error = node_link_member(link, CTX_FOREVER);
		if (error) {
			struct sweep sweep; /* only marks: nobody watches the node yet */
			sweep_init(&sweep, false, cause_kind_near(link->parent), clock_coarse_ns());
			sweep_mark_link(&sweep, link, (uint32_t)error);
			counters_end_run(&sweep.ended);
		}
	}
	/* From here on ctx_set_deadline() of a parent updates it. */
	lock_acquire(&walk_lock);
	for (unsigned i = 0; i < merge->count; i++) {
		uint64_t above_ns = context_deadline(&merge->links[i].node);
		deadline_ns = above_ns < deadline_ns ? above_ns : deadline_ns;
	}
	atomic_store_explicit(&node->deadline_ns, deadline_ns, memory_order_relaxed);
	if (!(node->flags & NODE_UNLISTED))
		atomic_store_explicit(&table_context(node->slot)->deadline_ns, deadline_ns,
				      memory_order_relaxed);
	lock_release(&walk_lock);
}

int ctx_merge(const struct ctx_context *const *parents, unsigned count, const char *label,
	      struct ctx_context **ret_ctx)
{
	static _Atomic uint64_t merges;
	unsigned passed = 0;

	if (!parents || !count || !ret_ctx)
		return debug_invalid("count is 0", parents, ret_ctx);
	for (unsigned i = 0; i < count; i++) {
		if (!parents[i])
			return debug_error(-EINVAL, "parents[%u] is NULL", i);
		passed |= parents[i]->flags & (NODE_MOVABLE | NODE_UNDER_ROOTS);
	}
	struct node_options options = {
		.flags = NODE_MERGED | passed,
		.kind = CTX_TABLE_MERGED,
		.tail = sizeof(struct merge) + count * sizeof(struct parent_link),
		.label = label,
		.site = __builtin_return_address(0),
	};
	struct ctx_context *node = node_new(parents[0], &options);
	if (!node)
		return -ENOMEM;
	struct merge *merge = node_merge(node);
	*merge = (struct merge){
		.count = count,
		.order = atomic_fetch_add_explicit(&merges, 1, memory_order_relaxed),
	};
	for (unsigned i = 0; i < count; i++)
		merge->links[i] = (struct parent_link){
			.target = node,
			.node = {.flags = NODE_LINK | NODE_UNLISTED,
				 .parent = node_mutable(parents[i]),
				 .deadline_ns = CTX_FOREVER},
		};
	publish_merged(node);
	if (!context_error(node))
		find_remember(node);
	*ret_ctx = node;
	return 0;
}
