/* SPDX-License-Identifier: MIT */
/* Cancelling a context from a signal handler: the handler queues a request for the timer thread. */
#include "memory.h"
#include "node.h"
#include "thread.h"

int ctx_signal_prepare(struct ctx_context *ctx)
{
	if (!ctx || !node_can_end(ctx))
		return -EINVAL;
	int result = timer_start();
	if (result)
		return result;
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

int ctx_cancel_from_signal(struct ctx_context *ctx, int signo)
{
	if (!ctx)
		return -EINVAL;
	struct extension *extension = node_extension(ctx);
	struct signal_request *request =
		extension ? atomic_load_explicit(&extension->signal, memory_order_acquire) : NULL;
	if (!request)
		return -EINVAL;
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
