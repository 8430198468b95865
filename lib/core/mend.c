/* SPDX-License-Identifier: MIT */
/*
 * In a forked child the nodes are as they were at the moment of the fork. Other threads may have been in the
 * middle of changing them, and those threads are not in the child. lock_acquire() takes over a lock that one
 * of them held, and says so; the functions here repair what the lock guards.
 */
#include "node.h"

/* A thread was in the middle of node_link_member() or unlink_member(): makes the links back anew. */
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
	/* A thread was just ending ctx by its deadline: the text belongs to ctx if that has ended, else still
	 * to the deadline. */
	if (extension->deadline_cause && extension->deadline_cause == ctx->cause_text) {
		if (context_error(ctx))
			extension->deadline_cause = NULL;
		else
			ctx->cause_text = NULL;
	}
}
