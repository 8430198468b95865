/* SPDX-License-Identifier: MIT */
/*
 * Load for the service: shares, joins and cancels as fast as it goes, whatever becomes of ctxd meanwhile.
 * Prints "ready" when the first one is over. Exit 1: an end did not reach who had joined.
 */
#include <ctxring.h>
#include <poll.h>
#include <stdio.h>

#define SECOND_NS 1000000000ull

int main(void)
{
	struct ctxd_client *owner, *joiner;

	if (ctxd_connect(NULL, &owner) || ctxd_connect(NULL, &joiner))
		return 2;
	for (unsigned rounds = 0;;) {
		struct ctx_context *ctx, *joined = NULL;
		struct ctxd_id id;
		if (ctx_with_cancel(ctx_background(), "busy", &ctx))
			return 2;
		if (!ctxd_share(owner, ctx, NULL, 0, &id))
			ctxd_join(joiner, id, &joined);
		ctx_cancel(ctx);
		if (joined) {
			if (ctx_wait(joined, 10 * SECOND_NS))
				return 1;
			ctx_unref(joined);
			if (!rounds++) {
				puts("ready");
				fflush(stdout);
			}
		}
		ctx_unref(ctx);
		if (!joined)
			poll(NULL, 0, 1);
	}
}
