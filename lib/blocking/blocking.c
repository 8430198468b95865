/* SPDX-License-Identifier: MIT */
#include "blocking.h"

#include "op.h"

/* How long to wait when the kernel has no memory or no room for a request: nothing reports when it has. */
#define PAUSE_NS 1000000ull

void blocking_explain(const void *site, const char *function, const struct ctx_context *ctx, int error)
{
	if (!ctx)
		debug_tell_invalid(site, function, NULL, DEBUG_PAIRS(ctx), NULL);
	else if (error == -ECANCELED || error == -ETIME)
		debug_tell(site, function, error, "the context is done");
	else if (error == -ENOTSUP)
		debug_tell(site, function, error,
			   "the call is not possible without io_uring, or with this kernel");
	else if (error == -EDEADLK)
		debug_tell(site, function, error, "the context never ends, and the time is CTX_FOREVER");
	else if (error == -EINVAL)
		debug_tell(site, function, error, "an argument is out of range, or the kernel refused it");
}

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
	struct io_uring_sqe *prepared = ring_get_sqe(taken->ring, ctx, &taken->op);

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

/* ---- the attempt before a request */

/*
 * Most calls find their data, or room for it, and then one system call that does not wait costs less than a
 * request: a receive of 64 bytes 0.6 of it. Calls that have to wait pay for the attempt. So after one in vain
 * the next calls make none: 1, 3, 7, 15, and 31 from then on.
 */
#define ATTEMPT_PAUSE_MAX 31

/* These answers come before the call has done anything: the ring is to do it. */
static bool is_for_ring(ssize_t result)
{
	return result == -EAGAIN || result == -EINTR || result == -EOPNOTSUPP || result == -ESPIPE ||
	       result == -EPERM || result == -ENOSYS;
}

/* Tries a read without waiting. Results as try_once(). */
static ssize_t try_read(const struct ctx_ring *ring, struct io_uring_sqe *sqe)
{
	const struct iovec part = {(void *)(uintptr_t)sqe->addr, sqe->len};
	bool own_position = sqe->off == (uint64_t)-1;
	ssize_t result = sys_preadv2(sqe->fd, &part, 1, own_position ? -1 : (off_t)sqe->off,
				     feature_rw_nowait(&ring->features, sqe->fd));

	if (result <= 0 || result == (ssize_t)sqe->len)
		return result;
	/*
	 * Of a file on disk that is only what is in memory. Pipes and sockets have no position, and are told
	 * by that. eventfds, timerfds and other files that give less than was asked for have one.
	 */
	if (lseek(sqe->fd, 0, SEEK_CUR) < 0 || !blocking_is_on_disk(sqe->fd))
		return result;
	if (!own_position)
		return -EAGAIN;
	sqe->addr += (uint64_t)result;
	sqe->len -= (uint32_t)result;
	return -EAGAIN;
}

/*
 * Tries the call of *sqe without waiting. Returns its result, or an error of is_for_ring(): then *sqe is what
 * is left to do.
 */
static ssize_t try_once(const struct ctx_ring *ring, struct io_uring_sqe *sqe)
{
	void *buffer = (void *)(uintptr_t)sqe->addr;

	switch (sqe->opcode) {
	case IORING_OP_RECV:
		return sys_receive(sqe->fd, buffer, sqe->len, MSG_DONTWAIT);
	case IORING_OP_SEND:
		return sys_send(sqe->fd, buffer, sqe->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	default:
		return try_read(ring, sqe);
	}
}

/* Whether a call of this kind is to be tried now. */
static bool is_to_be_tried(struct thread_ring *taken, const struct io_uring_sqe *sqe)
{
	bool socket = sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_SEND;

	if (!(socket || sqe->opcode == IORING_OP_READ) || (socket && sqe->msg_flags) || !sqe->len)
		return false;
	if (!taken->attempts[sqe->opcode == IORING_OP_SEND].left)
		return true;
	taken->attempts[sqe->opcode == IORING_OP_SEND].left--;
	return false;
}

/* As run_request(), but tries without a request first. */
static ssize_t run_call(struct thread_ring *taken, const struct ctx_context *ctx,
			const struct io_uring_sqe *sqe, short events)
{
	struct io_uring_sqe rest;
	ssize_t result, done;
	bool tried = is_to_be_tried(taken, sqe);

	if (tried) {
		unsigned kind = sqe->opcode == IORING_OP_SEND;
		rest = *sqe;
		result = try_once(taken->ring, &rest);
		if (!is_for_ring(result)) {
			taken->attempts[kind].pause = 0;
			return result;
		}
		if (taken->attempts[kind].pause < ATTEMPT_PAUSE_MAX)
			taken->attempts[kind].pause = (uint8_t)(2 * taken->attempts[kind].pause + 1);
		taken->attempts[kind].left = taken->attempts[kind].pause;
	}
	ring_begin_call(taken->ring, ctx);
	result = run_request(taken, ctx, tried ? &rest : sqe, events);
	ring_end_call(taken->ring);
	done = tried ? (ssize_t)(sqe->len - rest.len) : 0;
	if (__builtin_expect(!done || result == BLOCKING_NO_RING, 1))
		return done ? done : result;
	return result > 0 ? done + result : done;
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
		result = run_call(taken, ctx, sqe, events);
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
