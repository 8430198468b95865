/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the end of a context. A thread that sleeps here keeps the context, since the program may give
 * its last reference back meanwhile.
 */
#include <poll.h>

#include "cause.h"
#include "clock.h"
#include "done.h"
#include "node.h"
#include "wire.h"

/* Gives ctx a done pipe. With the ctx lock held. */
static int make_done(struct ctx_context *ctx, struct extension *extension)
{
	uint8_t words[WIRE_LAST_WORDS_MAX];
	struct done *done;
	int result = done_new(extension->done, &done);

	if (result)
		return result;
	if (node_attach(ctx))
		done_close(done, words, cause_last_words(ctx, words));
	extension->done = done;
	done_set_known(done);
	return 0;
}

int ctx_done_fd(const struct ctx_context *ctx)
{
	struct ctx_context *node = node_mutable(ctx);

	if (!ctx)
		return debug_invalid(NULL, ctx);
	if (ctx->flags & NODE_ENDLESS)
		return done_endless_fd();
	int result = node_serve(node); /* in a forked child the timer may not run yet */
	if (result)
		return debug_error(result, "the timer thread could not be started in this forked child");
	struct extension *extension = node_extend(node);
	if (!extension)
		return -ENOMEM;
	node_lock(node);
	if (done_fd(extension->done) < 0)
		result = make_done(node, extension);
	if (!result)
		result = done_fd(extension->done);
	lock_release(&node->lock);
	return result;
}

static int sleep_until(struct ctx_context *node, uint64_t until_ns)
{
	struct timespec until = clock_timespec(until_ns);

	for (;;) {
		uint32_t state = atomic_fetch_or(&node->state, STATE_WAITERS) | STATE_WAITERS;
		if (state & STATE_ERRNO)
			return 0;
		if (sys_futex_wait(&node->state, state, until_ns == CTX_FOREVER ? NULL : &until) ==
		    -ETIMEDOUT)
			return context_error(node) ? 0 : -ETIMEDOUT;
	}
}

int ctx_wait(const struct ctx_context *ctx, uint64_t timeout_ns)
{
	if (!ctx)
		return debug_invalid(NULL, ctx);
	if (context_error(ctx))
		return 0;
	if (timeout_ns == 0)
		return -ETIMEDOUT;
	if (ctx->flags & NODE_ENDLESS && timeout_ns == CTX_FOREVER)
		return debug_error(-EDEADLK, "the context never ends, and the wait has no bound");
	int result = node_serve(node_mutable(ctx));
	if (result)
		return result;
	uint64_t until_ns =
		timeout_ns == CTX_FOREVER ? CTX_FOREVER : clock_after_ns(clock_now_ns(), timeout_ns);
	context_hold(ctx);
	result = sleep_until(node_mutable(ctx), until_ns);
	context_unhold(ctx);
	return result;
}

static int wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns)
{
	/* A context that never ends needs no descriptor: poll(2) ignores -1. */
	bool endless = ctx->flags & NODE_ENDLESS;
	int done_fd = endless ? -1 : ctx_done_fd(ctx);
	if (done_fd < 0 && !endless)
		return done_fd;
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = done_fd, .events = POLLIN}};
	struct timespec timeout = clock_timespec(timeout_ns);
	int result = sys_poll(fds, 2, timeout_ns == CTX_FOREVER ? NULL : &timeout);
	if (context_error(ctx))
		return ctx_err(ctx);
	if (result < 0)
		return result;
	if (fds[0].revents)
		return fds[0].revents;
	/* The done descriptor is ready but ctx has not ended: the program closed it, and the number may be
	 * another file's now. */
	return fds[1].revents ? debug_note(-EBADF,
					   "the program closed descriptor %lu, which ctx_done_fd gave and "
					   "which belongs to the context",
					   done_fd, 0)
			      : -ETIMEDOUT;
}

int ctx_wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns)
{
	if (!ctx || fd < 0)
		return debug_invalid("fd is negative", ctx);
	if (context_error(ctx))
		return ctx_err(ctx);
	context_hold(ctx);
	int result = wait_fd(ctx, fd, events, timeout_ns);
	context_unhold(ctx);
	return result == -EBADF ? debug_error(result, "fd is not open") : result;
}
