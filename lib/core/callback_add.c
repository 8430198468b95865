/* SPDX-License-Identifier: MIT */
/* Registering a function that runs when a context ends. */
#include "callback.h"
#include "debug.h"
#include "sweep.h"

int callback_add(const struct ctx_context *ctx, struct mailbox *mailbox, struct ctx_callback *callback,
		 ctx_callback_fn function, void *data, uint64_t *ret_id)
{
	struct ctx_context *node = node_mutable(ctx);
	struct extension *extension = NULL;
	uint64_t id;
	int result;

	result = callback_begin(callback, &id);
	if (result)
		return result == -ENOMEM
			       ? result
			       : debug_note(
					 result,
					 "the callback is registered already, or its memory was not zeroed",
					 0, 0);
	result = node_serve(node); /* in a forked child the timer may not run yet */
	if (!result && !mailbox && context_deadline(ctx) != CTX_FOREVER && !context_error(ctx))
		result = worker_start();
	if (!result && !(ctx->flags & NODE_STATIC)) {
		extension = node_extend(node);
		result = extension ? 0 : -ENOMEM;
	}
	if (result) {
		callback_undo_begin(callback);
		return result;
	}
	callback_fill(callback, ctx, mailbox, function, data);
	/* Before the function can run: it may free the memory that ret_id points into. */
	if (ret_id)
		*ret_id = id;
	if (!callback_list(callback, extension)) {
		context_spread_end(node); /* the callback keeps node */
		callback_deliver(callback);
	}
	return 0;
}

int ctx_callback_add(const struct ctx_context *ctx, struct ctx_callback *callback, ctx_callback_fn function,
		     void *data, uint64_t *ret_id)
{
	if (!ctx || !callback || !function)
		return debug_invalid(NULL, ctx, callback, function);
	int result = callback_add(ctx, NULL, callback, function, data, ret_id);
	return debug_result(result, "a thread of the library could not be started");
}
