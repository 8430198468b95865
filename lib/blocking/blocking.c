/* SPDX-License-Identifier: MIT */
#include "blocking.h"

#include "op.h"

/* The kernel has no memory for a request, or no room: there is nothing to wait for but time. */
#define PAUSE_NS 1000000ull

static void pause_shortly(void)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	sys_poll(NULL, 0, &pause);
}

/* Whether the kernel has not taken the request yet. Until it has, the buffers are the caller's. */
static bool is_unsent(const struct ctx_ring *ring, const struct operation *op)
{
	const struct io_uring_sq *sq = &ring->uring->sq;
	uint64_t value = ring_user_data(ring, KIND_OP, op->slot, op->generation);

	for (unsigned i = io_uring_smp_load_acquire(sq->khead); i != sq->sqe_tail; i++)
		if (op->phase == OP_KERNEL && sq->sqes[i & sq->ring_mask].user_data == value)
			return true;
	return op->phase == OP_STAGED;
}

/* The kernel serves the ring no more: a seccomp filter was installed since, or the program closed it, perhaps
 * together with all that it did not know. */
static bool is_lost(int error)
{
	return thread_ring_is_forbidden(error) || error == -EBADF || error == -EOPNOTSUPP;
}

/*
 * One request from its preparation to its completion. BLOCKING_NO_RING: the ring works no more, and the
 * kernel has not seen the request.
 */
static ssize_t issue_request(struct thread_ring *taken, const struct ctx_context *ctx,
			     const struct io_uring_sqe *sqe)
{
	struct operation *op = op_from_public(&taken->op);
	struct io_uring_sqe *prepared = ctx_ring_get_sqe(taken->ring, ctx, &taken->op);

	if (!prepared)
		return -EPERM; /* forked within the call */
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

/* The request would block, and nobody said that it must not. 0: try again, with *sqe; or the result. */
static ssize_t wait_ready(struct thread_ring *taken, const struct ctx_context *ctx, struct io_uring_sqe *sqe,
			  short events)
{
	struct io_uring_sqe poll = {0};

	if (blocking_is_on_disk(sqe->fd)) {
		if (sqe->flags & IOSQE_ASYNC)
			return -EAGAIN;
		sqe->flags |= IOSQE_ASYNC; /* a worker of the kernel's waits */
		return 0;
	}
	io_uring_prep_poll_add(&poll, sqe->fd, (unsigned)events);
	ssize_t ready = issue_request(taken, ctx, &poll);
	return ready > 0 ? 0 : ready;
}

/* How the request was ended, if it was. The context itself may be gone with the program's last reference. */
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
		/* Else it was interrupted in the kernel, by nothing of ours. */
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
