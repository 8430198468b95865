/* SPDX-License-Identifier: MIT */
/*
 * lib/blocking: calls of threads that end with a context. It may use base, table, core, uring and ring.
 *
 * How blocking calls wait: as one operation on the ring of the calling thread, or, where it can have none, by
 * poll(2) for the descriptor and for the end of the context.
 */
#ifndef CTX_BLOCKING_H
#define CTX_BLOCKING_H

#include <limits.h>

#include "thread_ring.h"

/* As much as the kernel moves in one call (read(2), Notes), and fits an SQE. */
#define BLOCKING_SIZE_MAX 0x7ffff000u

/* No result of any call: there is no ring for this one. */
#define BLOCKING_NO_RING LONG_MIN

/*
 * Makes the request that is prepared in sqe, and waits for it. Returns its result, or the error of ctx if
 * that ended first. Where the request answers that it would block, as on some kernels those on descriptors
 * with O_NONBLOCK do, it waits for events of sqe->fd and tries again; events 0: then -EAGAIN is its result.
 * BLOCKING_NO_RING: nothing has been done.
 */
ssize_t blocking_call(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events);

/* The same for what works in no other way: -ENOTSUP without io_uring, or why there is no ring now. */
ssize_t blocking_call_on_ring(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events);

/* 0 while ctx can be waited under, else what the call is to return. */
static inline int blocking_check(const struct ctx_context *ctx)
{
	return ctx ? -context_error(ctx) : -EINVAL;
}

static inline unsigned blocking_size(size_t size)
{
	return size < BLOCKING_SIZE_MAX ? (unsigned)size : BLOCKING_SIZE_MAX;
}

/* poll(2) says nothing of these: it always finds them ready. */
bool blocking_is_on_disk(int fd);

/* Where nothing tells when to try again. */
#define BLOCKING_RETRY_NS 1000000ull

/*
 * For who has waited that often for a descriptor that was said to be ready and would block all the same, as
 * poll(2) says of an unconnected datagram socket while the receiver that a message names is full: after some
 * turns not at full speed any more.
 */
void blocking_calm(const struct ctx_context *ctx, unsigned turns);

/* ---- without a ring (blocking_poll.c) */

/* One call that can be tried; first in a structure with its arguments. */
struct blocking_attempt {
	int fd;
	short events; /* for which to wait before the next attempt */
	/* Tries it without waiting. -EAGAIN: it would block. -EOPNOTSUPP: on disk, there may be no such
	 * attempt. */
	ssize_t (*attempt)(const struct blocking_attempt *self);
	/* Does it, and may wait for a disk. NULL: it is never on one. */
	ssize_t (*perform)(const struct blocking_attempt *self);
};

/* Tries until it is done or ctx has ended. */
ssize_t blocking_poll(const struct ctx_context *ctx, const struct blocking_attempt *attempt);

/* Waits until fd (-1: none) is ready, ctx ends or the time is over. 0: look again. Or the call's error. */
int blocking_poll_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns);

#endif
