/* SPDX-License-Identifier: MIT */
/*
 * What a forked child needs to go on with the contexts that it has inherited. Its copies are of the moment of
 * the fork, when other threads were in the middle of changing them, and those threads are not in the child:
 * locks that they held are given away by lock_acquire(), which says so, and here it is mended what they
 * guard.
 */
#include "clock.h"
#include "node.h"
#include "sweep.h"

/* Whoever was in the middle of node_link_member() or unlink_member(): the way back is made anew. */
void shard_mend(struct shard *shard)
{
	for (struct ctx_context **link = &shard->first; *link; link = &(*link)->sibling_next)
		(*link)->sibling_prev = link;
}

void node_mend(struct ctx_context *ctx)
{
	struct extension *extension = node_extension(ctx);

	if (!extension)
		return;
	list_mend(&extension->watches);
	/* A deadline that was just ending ctx: its text has one owner. */
	if (extension->deadline_cause && extension->deadline_cause == ctx->cause_text) {
		if (context_error(ctx))
			extension->deadline_cause = NULL;
		else
			ctx->cause_text = NULL;
	}
}

/* The parent of node that has ended, so that its end should have reached node. NULL: none has. */
static struct ctx_context *ended_parent(const struct ctx_context *node)
{
	if (!(node->flags & NODE_MERGED))
		return context_error(node->parent) ? node->parent : NULL;
	const struct merge *merge = node_merge(node);
	for (unsigned i = 0; i < merge->count; i++)
		if (context_error(merge->links[i].node.parent))
			return merge->links[i].node.parent;
	return NULL;
}

/* An end that had begun above ctx in a thread that is not here, or a deadline that the parent's timer had
 * begun with. */
static void catch_up(struct ctx_context *ctx)
{
	struct ctx_context *top = NULL;

	timer_adopt();
	if (context_deadline(ctx) != CTX_FOREVER)
		context_expire(ctx, clock_now_ns());
	for (struct ctx_context *node = ctx; node_is_inherited(node) && !(node->flags & NODE_DETACHED);
	     node = node->parent) {
		struct ctx_context *ended = ended_parent(node);
		top = ended ? ended : top;
	}
	if (top && !context_error(ctx))
		context_spread_end(top);
}

int node_serve(struct ctx_context *ctx)
{
	if (node_is_inherited(ctx) && !context_error(ctx))
		catch_up(ctx);
	return context_deadline(ctx) != CTX_FOREVER && !context_error(ctx) ? timer_start() : 0;
}
