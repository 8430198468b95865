/* SPDX-License-Identifier: MIT */
#include "blocking.h"

#include "op.h"

/* How long to wait when the kernel has no memory or no room for a request: nothing reports when it has. */
#define PAUSE_NS 1000000ull

static void pause_shortly(void)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	sys_poll(NULL, 0, &pause);
}

/* Whether the kernel has not taken the request of op yet. Until it has, the buffers are the caller's. */
static bool is_unsent(const struct ctx_ring *ring, const struct operation *op)
{
	const struct io_uring_sq *sq = &ring->uring->sq;
	uint64_t value = ring_user_data(ring, KIND_OP, op->slot, op->generation);

	for (unsigned i = io_uring_smp_load_acquire(sq->khead); i != sq->sqe_tail; i++)
		if (op->phase == OP_KERNEL && sq->sqes[i & sq->ring_mask].user_data == value)
			return true;
	return op->phase == OP_STAGED;
}

/*
 * Whether error means that the kernel serves the ring no more. A seccomp filter was installed since, or the
 * program closed the ring's descriptor, perhaps together with all that it did not know.
 */
static bool is_lost(int error)
{
	return thread_ring_is_forbidden(error) || error == -EBADF || error == -EOPNOTSUPP;
}

/*
 * Makes one request and waits for its completion. Returns its result. BLOCKING_NO_RING: the ring works no
 * more, and the kernel has not seen the request.
 */
static ssize_t issue_request(struct thread_ring *taken, const struct ctx_context *ctx,
			     const struct io_uring_sqe *sqe)
{
	struct operation *op = op_from_public(&taken->op);
	struct io_uring_sqe *prepared = ctx_ring_get_sqe(taken->ring, ctx, &taken->op);

	if (!prepared)
		return -EPERM; /* the call forked, and this is the child */
	*prepared = *sqe;
	do {
		int error = ctx_ring_dispatch(taken->ring, CTX_FOREVER);
		if (__builtin_expect(error >= 0 || error == -EINTR, 1))
			continue;
		if (taken->ring->fork_count != thread_fork_count)
			return error;
		if (is_lost(error) && is_unsent(taken->ring, op)) {
			taken->error = error;
			return BLOCKING_NO_RING;
		}
		pause_shortly();
	} while (op->phase != OP_IDLE);
	return op->res;
}

/*
 * Waits until a request that would block can be tried again, by changing *sqe or by a poll. 0: try again.
 * Else the result of the call.
 */
static ssize_t wait_ready(struct thread_ring *taken, const struct ctx_context *ctx, struct io_uring_sqe *sqe,
			  short events)
{
	struct io_uring_sqe poll = {0};

	if (blocking_is_on_disk(sqe->fd)) {
		if (sqe->flags & IOSQE_ASYNC)
			return -EAGAIN;
		sqe->flags |= IOSQE_ASYNC; /* a worker of the kernel waits for the disk */
		return 0;
	}
	io_uring_prep_poll_add(&poll, sqe->fd, (unsigned)events);
	ssize_t ready = issue_request(taken, ctx, &poll);
	return ready > 0 ? 0 : ready;
}

/*
 * The error of a call whose request was ended, 0 if the request was not. It is taken from the operation,
 * since the context may be gone with the program's last reference.
 */
static ssize_t end_error(const struct thread_ring *taken)
{
	switch (((const struct operation *)&taken->op)->end) {
	case CTX_OP_DEADLINE:
		return -ETIME;
	case CTX_OP_FINISHED:
		return 0;
	default:
		return -ECANCELED;
	}
}

static ssize_t run_request(struct thread_ring *taken, const struct ctx_context *ctx,
			   const struct io_uring_sqe *sqe, short events)
{
	ssize_t result = issue_request(taken, ctx, sqe);
	struct io_uring_sqe again;
	unsigned turns = 0;

	if (__builtin_expect(result >= 0, 1))
		return result;
	again = *sqe;
	while (result != BLOCKING_NO_RING && (op_ended_early((int)result) || (result == -EAGAIN && events))) {
		ssize_t end = end_error(taken);
		if (end || context_error(ctx))
			return end ? end : -context_error(ctx);
		/*
		 * The request was not ended by the library, but interrupted in the kernel: it is made again.
		 */
		if (result == -EAGAIN)
			blocking_calm(ctx, turns++);
		ssize_t waited = result == -EAGAIN ? wait_ready(taken, ctx, &again, events) : 0;
		if (waited == -EAGAIN)
			return waited;
		result = waited ? waited : issue_request(taken, ctx, &again);
	}
	return result;
}

static ssize_t call_on_ring(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events,
			    bool now, int *ret_error)
{
	struct thread_ring *taken;
	ssize_t result = blocking_check(ctx);

	if (result)
		return result;
	for (;;) {
		result = BLOCKING_NO_RING;
		*ret_error = thread_ring_take(now, &taken);
		if (*ret_error)
			break;
		ring_begin_call(taken->ring, ctx);
		result = run_request(taken, ctx, sqe, events);
		ring_end_call(taken->ring);
		if (__builtin_expect(result != BLOCKING_NO_RING, 1)) {
			thread_ring_give(taken);
			break;
		}
		thread_ring_discard(taken, taken->error);
	}
	return result;
}

ssize_t blocking_call(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events)
{
	int error;

	return call_on_ring(ctx, sqe, events, false, &error);
}

ssize_t blocking_call_on_ring(const struct ctx_context *ctx, const struct io_uring_sqe *sqe, short events)
{
	int error;
	ssize_t result = call_on_ring(ctx, sqe, events, true, &error);

	if (result != BLOCKING_NO_RING)
		return result;
	return thread_ring_is_forbidden(error) ? -ENOTSUP : error;
}
