/* SPDX-License-Identifier: MIT */
/* Cancelling a context from a signal handler: the handler queues a request for the timer thread. */
#include "cause.h"
#include "memory.h"
#include "node.h"
#include "thread.h"

int ctx_signal_prepare(struct ctx_context *ctx)
{
	if (!ctx || !node_can_end(ctx))
		return debug_invalid(NEVER_ENDS, ctx);
	int result = timer_start();
	if (result)
		return debug_error(result, "the timer thread could not be started");
	struct extension *extension = node_extend(ctx);
	if (!extension)
		return -ENOMEM;
	if (atomic_load_explicit(&extension->signal, memory_order_acquire))
		return 0;
	struct signal_request *request = memory_allocate(sizeof(*request));
	if (!request)
		return -ENOMEM;
	*request = (struct signal_request){.ctx = ctx, .state = SIGNAL_PREPARED};

	node_lock(ctx);
	bool first = !atomic_load_explicit(&extension->signal, memory_order_relaxed);
	if (first) {
		if (node_attach(ctx))
			atomic_store_explicit(&request->state, SIGNAL_VOID, memory_order_relaxed);
		else
			node_hold(ctx);
		atomic_store_explicit(&extension->signal, request, memory_order_release);
	}
	lock_release(&ctx->lock);
	if (!first)
		memory_release(request);
	return 0;
}

/* -EINVAL of the next function, which runs in signal handlers, and its explanation. */
#define tell_signal(text) (debug_is_wanted() ? debug_tell_in_handler(DEBUG_HERE, -EINVAL, text) : -EINVAL)

int ctx_cancel_from_signal(struct ctx_context *ctx, int signo)
{
	if (!ctx)
		return tell_signal("argument ctx is NULL");
	struct extension *extension = node_extension(ctx);
	struct signal_request *request =
		extension ? atomic_load_explicit(&extension->signal, memory_order_acquire) : NULL;
	if (!request)
		return tell_signal("the context was not prepared by ctx_signal_prepare");
	/* False after a first signal, and when the context is done: there is nothing to do. */
	if (!signal_request_take(request, SIGNAL_QUEUED))
		return 0;
	request->signal = signo;
	request->site = __builtin_return_address(0);
	int tid = thread_state.tid ? (int)thread_state.tid : gettid();
	request->tid = tid > 0 ? (uint32_t)tid : 0;
	timer_push_signal(request);
	return 0;
}
