/* SPDX-License-Identifier: MIT */
/*
 * lib/blocking: blocking calls of threads, which end with a context. It may use base, table, core, uring and
 * ring.
 *
 * A blocking call waits as one operation on the ring of the calling thread. Where a thread can have no ring
 * it waits by poll(2), for the descriptor and for the end of the context.
 */
#ifndef CTX_BLOCKING_H
#define CTX_BLOCKING_H

#include <limits.h>

#include "debug.h"
#include "thread_ring.h"

/* The most that the kernel moves in one call (read(2), Notes). It fits an SQE. */
#define BLOCKING_SIZE_MAX 0x7ffff000u

/* There is no ring for this call. No call has this result. */
#define BLOCKING_NO_RING LONG_MIN

/*
 * Makes the request that is prepared in sqe, and waits for it. Returns its result, or the error of ctx if
 * that ended first. The request may answer that it would block, as those on descriptors with O_NONBLOCK do on
 * some kernels. Then this waits for events of sqe->fd and tries again; if events is 0, -EAGAIN is the result.
 * BLOCKING_NO_RING: nothing has been done.
 */
ssize_t blocking_call(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events);

/*
 * The same for a request that cannot be made without a ring. -ENOTSUP: there is no io_uring. Or the reason
 * why there is no ring now.
 */
ssize_t blocking_call_on_ring(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events);

/* 0 while ctx has not ended, else the error that a call under ctx returns. */
static inline int blocking_check(const struct ctx_context *ctx)
{
	return ctx ? -context_error(ctx) : -EINVAL;
}

/* The result of a blocking call of the program, explained for CTXRING_DEBUG. ctx may be gone by now. Errors
 * of the system call itself mean what they always mean, and are not explained. */
void blocking_explain(const void *site, const char *function, const struct ctx_context *ctx,
		      int error) DEBUG_COLD;
#define blocking_result(ctx, result)                                       \
	({                                                                 \
		__typeof__(result) result_ = (result);                     \
		if (__builtin_expect(result_ < 0, 0) && debug_is_wanted()) \
			blocking_explain(DEBUG_HERE, (ctx), (int)result_); \
		result_;                                                   \
	})

static inline unsigned blocking_size(size_t size)
{
	return size < BLOCKING_SIZE_MAX ? (unsigned)size : BLOCKING_SIZE_MAX;
}

/* Whether fd is a regular file or a block device. poll(2) always finds those ready. */
bool blocking_is_on_disk(int fd);

/* How long to wait where nothing reports when to try again. */
#define BLOCKING_RETRY_NS 1000000ull

/*
 * Slows a call down that has waited turns times for a descriptor which was said to be ready and would block
 * all the same. poll(2) does so for an unconnected datagram socket while the receiver that a message names is
 * full. Does nothing the first few times.
 */
void blocking_calm(const struct ctx_context *ctx, unsigned turns);

/* ctxio_sleep_until() for other files. */
int blocking_sleep_until(const struct ctx_context *ctx, uint64_t when_ns);

/* ---- without a ring (blocking_poll.c) */

/* A call that can be tried. It is the first member of a structure with its arguments. */
struct blocking_attempt {
	int fd;
	short events; /* to be waited for before the next attempt */
	/*
	 * Tries the call without waiting. -EAGAIN: it would block. -EOPNOTSUPP: a file on disk for which
	 * there may be no such attempt.
	 */
	ssize_t (*attempt)(const struct blocking_attempt *self);
	/* Makes the call, and may wait for a disk. NULL: the call never needs one. */
	ssize_t (*perform)(const struct blocking_attempt *self);
};

/* Tries the call until it is done or ctx has ended. */
ssize_t blocking_poll(const struct ctx_context *ctx, const struct blocking_attempt *attempt);

/*
 * Waits until fd is ready, ctx ends or the time is over. fd is -1 for none. 0: look again. -errno: the call
 * is to return it.
 */
int blocking_poll_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns);

#endif
