/* SPDX-License-Identifier: MIT */
/*
 * In a forked child the nodes are as they were at the moment of the fork, when other threads were in the
 * middle of changing them, and those threads are not in the child. lock_acquire() gives a lock away that one
 * of them held, and says so; here it is mended what the lock guards.
 */
#include "node.h"

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
