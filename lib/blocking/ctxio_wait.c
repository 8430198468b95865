/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls that wait for something else than data. What the kernel can wait for together with the end
 * of a context needs no ring. One poll(2) waits for many descriptors and the done descriptor, where a ring
 * would need a request, and a cancel, for each. And one futex_waitv(2) waits for a futex and for the
 * context's own.
 */
#include <string.h>
#include <sys/wait.h>

#include "blocking.h"
#include "feature.h"
#include "memory.h"
#include "node.h"

#define NS_PER_MS (NS_PER_SECOND / 1000)
#define POLL_ON_STACK 31u

/* Newer than liburing 2.3. */
#define OP_WAITID 50 /* IORING_OP_WAITID, Linux 6.7 */

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef FUTEX_32
#define FUTEX_32 2
#endif

/* ---- poll */

static int poll_with(const struct ctx_context *ctx, struct pollfd *all, unsigned count, uint64_t until_ns)
{
	for (;;) {
		uint64_t now_ns = until_ns == CTX_FOREVER ? 0 : clock_now_ns();
		struct timespec left = clock_timespec(now_ns < until_ns ? until_ns - now_ns : 0);
		int ready = sys_poll(all, count + 1, until_ns == CTX_FOREVER ? NULL : &left);
		if (ready < 0 && ready != -EINTR)
			return ready;
		if (ready > (all[count].revents ? 1 : 0))
			return ready - (all[count].revents ? 1 : 0);
		int error = blocking_check(ctx);
		if (error || !ready)
			return error;
		if (ready > 0)
			return -EBADF; /* the program closed the done descriptor, see blocking_poll_fd() */
	}
}

int ctxio_poll(const struct ctx_context *ctx, struct pollfd *fds, unsigned long count, int timeout_ms)
{
	struct pollfd few[POLL_ON_STACK + 1], *all = few;
	uint64_t until_ns = timeout_ms < 0 ? CTX_FOREVER
					   : clock_after_ns(clock_now_ns(), (unsigned)timeout_ms * NS_PER_MS);
	int done_fd = blocking_check(ctx);

	if (done_fd)
		return blocking_result(ctx, done_fd);
	if (count && !fds)
		return blocking_result(ctx, -EFAULT);
	if (count >= INT_MAX / sizeof(*fds))
		return blocking_result(ctx, -EINVAL);
	context_hold(ctx);
	done_fd = ctx_done_fd(ctx);
	if (done_fd >= 0 && count > POLL_ON_STACK && !(all = memory_allocate((count + 1) * sizeof(*all))))
		done_fd = -ENOMEM;
	if (done_fd < 0) {
		context_unhold(ctx);
		return blocking_result(ctx, done_fd);
	}
	if (count)
		memcpy(all, fds, count * sizeof(*fds));
	all[count] = (struct pollfd){.fd = done_fd, .events = POLLIN};
	int result = poll_with(ctx, all, (unsigned)count, until_ns);
	for (unsigned long i = 0; result >= 0 && i < count; i++)
		fds[i].revents = all[i].revents;
	if (all != few)
		memory_release(all);
	context_unhold(ctx);
	return blocking_result(ctx, result);
}

/* ---- sleep */

static int sleep_until(const struct ctx_context *ctx, uint64_t when_ns)
{
	for (;;) {
		int error = blocking_check(ctx);
		if (error)
			return error;
		uint64_t now_ns = clock_now_ns();
		if (when_ns <= now_ns)
			return 0;
		if (when_ns == CTX_FOREVER && ctx->flags & NODE_ENDLESS)
			return -EDEADLK;
		error = ctx_wait(ctx, when_ns == CTX_FOREVER ? CTX_FOREVER : when_ns - now_ns);
		if (error && error != -ETIMEDOUT)
			return error;
	}
}

int blocking_sleep_until(const struct ctx_context *ctx, uint64_t when_ns)
{
	context_hold(ctx);
	int result = sleep_until(ctx, when_ns);

	context_unhold(ctx);
	return result;
}

int ctxio_sleep_until(const struct ctx_context *ctx, uint64_t when_ns)
{
	return blocking_result(ctx, blocking_sleep_until(ctx, when_ns));
}

int ctxio_sleep_for(const struct ctx_context *ctx, uint64_t duration_ns)
{
	return blocking_result(ctx, blocking_sleep_until(ctx, clock_after_ns(clock_now_ns(), duration_ns)));
}

/* ---- waitid */

static _Atomic bool waitid_unknown; /* this kernel's io_uring has no IORING_OP_WAITID */

/*
 * Waits on a ring, which works for all options and all kinds of children. BLOCKING_NO_RING: there is no ring,
 * or the kernel has no such request.
 */
static ssize_t waitid_on_ring(const struct ctx_context *ctx, int id_type, id_t id, siginfo_t *ret_info,
			      int options)
{
	struct io_uring_sqe sqe = {
		.opcode = OP_WAITID,
		.fd = (int)id,
		.len = (unsigned)id_type,
		.file_index = (unsigned)options,
		.addr2 = (uint64_t)(uintptr_t)ret_info,
	};

	if (atomic_load_explicit(&waitid_unknown, memory_order_relaxed) || !feature_allowed(FEATURE_WAITID))
		return BLOCKING_NO_RING;
	ssize_t result = blocking_call(ctx, &sqe, 0);
	if (result != -EINVAL)
		return result;
	/*
	 * Either the arguments are invalid or the kernel does not know the operation. The system call tells
	 * which, without waiting.
	 */
	siginfo_t info;
	if (sys_waitid((idtype_t)id_type, id, &info, options | WNOHANG | WNOWAIT) == -EINVAL)
		return -EINVAL;
	atomic_store_explicit(&waitid_unknown, true, memory_order_relaxed);
	return BLOCKING_NO_RING;
}

static int open_child(id_t id, int *ret_pidfd)
{
	int pidfd = sys_pidfd_open((pid_t)id);

	if (pidfd == -ENOSYS || pidfd == -EPERM)
		return -ENOTSUP;
	if (pidfd < 0)
		return pidfd == -ESRCH ? -ECHILD : pidfd;
	*ret_pidfd = pidfd;
	return 0;
}

/* Waits by a pidfd, which works for the end of one child. */
static int waitid_by_pidfd(const struct ctx_context *ctx, int id_type, id_t id, siginfo_t *ret_info,
			   int options)
{
	siginfo_t info;
	int result = blocking_check(ctx), pidfd = -1;

	while (!result) {
		memset(&info, 0, sizeof(info));
		result = sys_waitid((idtype_t)id_type, id, &info, options | WNOHANG);
		if (result == -EINTR)
			result = 0;
		if (result || info.si_pid || (options & WNOHANG))
			break;
		if ((options & (WSTOPPED | WCONTINUED)) || (id_type != P_PID && id_type != P_PIDFD))
			result = -ENOTSUP;
		else if (id_type == P_PID && pidfd < 0)
			result = open_child(id, &pidfd);
		if (!result)
			result = blocking_poll_fd(ctx, id_type == P_PID ? pidfd : (int)id, POLLIN,
						  CTX_FOREVER);
	}
	if (pidfd >= 0)
		sys_close(pidfd);
	*ret_info = info;
	return result;
}

int ctxio_waitid(const struct ctx_context *ctx, int id_type, id_t id, siginfo_t *ret_info, int options)
{
	siginfo_t info;
	context_hold(ctx);
	ssize_t result = waitid_on_ring(ctx, id_type, id, &info, options);

	if (result == BLOCKING_NO_RING)
		result = waitid_by_pidfd(ctx, id_type, id, &info, options);
	if (!result && ret_info)
		*ret_info = info;
	context_unhold(ctx);
	return blocking_result(ctx, (int)result);
}

/* ---- futex */

/*
 * Waits for a wake of the word and for the end of ctx. When both wake at once the kernel reports the last
 * one, so the word is last: its waker has counted this thread as woken.
 */
static int wait_for_either(const struct ctx_context *ctx, const uint32_t *word, uint32_t expected,
			   bool shared)
{
	struct ctx_context *node = node_mutable(ctx);
	uint64_t deadline_ns = context_deadline(ctx);
	struct timespec deadline = clock_timespec(deadline_ns);
	uint32_t state = atomic_fetch_or(&node->state, STATE_WAITERS) | STATE_WAITERS;
	struct futex_waitv waiters[] = {
		{.val = state, .uaddr = (uintptr_t)&node->state, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG},
		{.val = expected,
		 .uaddr = (uintptr_t)word,
		 .flags = FUTEX_32 | (shared ? 0 : FUTEX_PRIVATE_FLAG)},
	};

	if (state & STATE_ERRNO)
		return 0;
	int woken = sys_futex_waitv(waiters, 2, deadline_ns == CTX_FOREVER ? NULL : &deadline);
	if (woken == -ETIMEDOUT)
		context_expire(ctx, clock_now_ns());
	return woken;
}

static int futex_until_done(const struct ctx_context *ctx, const uint32_t *word, uint32_t expected,
			    bool shared)
{
	for (;;) {
		int error = blocking_check(ctx);
		if (error)
			return error;
		int woken = wait_for_either(ctx, word, expected, shared);
		if (woken == 1)
			return 0;
		if (woken == -ENOSYS || woken == -EPERM)
			return -ENOTSUP;
		if (woken == -EAGAIN && !context_error(ctx) &&
		    atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_acquire) != expected)
			return -EAGAIN;
		if (woken < 0 && woken != -EAGAIN && woken != -EINTR && woken != -ETIMEDOUT)
			return woken;
	}
}

int ctxio_futex_wait(const struct ctx_context *ctx, const uint32_t *word, uint32_t expected, bool shared)
{
	if (!word || (uintptr_t)word % sizeof(*word))
		return blocking_result(ctx, -EINVAL);
	context_hold(ctx);
	int result = futex_until_done(ctx, word, expected, shared);

	context_unhold(ctx);
	return blocking_result(ctx, result);
}
