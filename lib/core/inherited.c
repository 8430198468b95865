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
#include "walk.h"

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

/* An end that had begun above ctx in a thread that is not here, or a deadline that the parent's timer had
 * begun with. */
static void catch_up(struct ctx_context *ctx)
{
	timer_adopt();
	if (context_deadline(ctx) != CTX_FOREVER)
		context_expire(ctx, clock_now_ns());
	struct ctx_context *ended = context_error(ctx) ? NULL : walk_find_ended(ctx);
	if (ended)
		context_spread_end(ended);
}

int node_serve(struct ctx_context *ctx)
{
	if (node_is_inherited(ctx) && !context_error(ctx))
		catch_up(ctx);
	return context_deadline(ctx) != CTX_FOREVER && !context_error(ctx) ? timer_start() : 0;
}
