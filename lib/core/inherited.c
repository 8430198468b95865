/* SPDX-License-Identifier: MIT */
/*
 * What a forked child needs to go on with the contexts that it has inherited: their deadlines come to it, and
 * ends that had begun above them in threads of the parent.
 */
#include "clock.h"
#include "node.h"
#include "sweep.h"
#include "walk.h"

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
