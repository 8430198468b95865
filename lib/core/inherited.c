/* SPDX-License-Identifier: MIT */
/*
 * How a forked child goes on with the contexts that it has inherited: it gets their deadlines, and ends that
 * threads of the parent had begun above them.
 */
#include "clock.h"
#include "node.h"
#include "sweep.h"
#include "walk.h"

/* Does what threads of the parent may have left undone: a deadline of ctx, or an end above it, that had begun
 * before the fork. */
static void catch_up_node(struct ctx_context *ctx)
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
		catch_up_node(ctx);
	return context_deadline(ctx) != CTX_FOREVER && !context_error(ctx) ? timer_start() : 0;
}
