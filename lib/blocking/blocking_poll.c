/* SPDX-License-Identifier: MIT */
#include "blocking.h"

/*
 * Another thread may take the data first. That is allowed so many times in a row before the call slows down.
 */
#define CALM_TURNS 16u

bool blocking_is_on_disk(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

int blocking_poll_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns)
{
	int done_fd = ctx_done_fd(ctx);
	struct timespec timeout = clock_timespec(timeout_ns);

	if (done_fd < 0)
		return done_fd;
	struct pollfd fds[2] = {{.fd = done_fd, .events = POLLIN}, {.fd = fd, .events = events}};
	int ready = sys_poll(fds, 2, timeout_ns == CTX_FOREVER ? NULL : &timeout);
	if (ready < 0 && ready != -EINTR)
		return ready;
	if (fds[1].revents)
		return 0;
	int error = blocking_check(ctx);
	/*
	 * The done descriptor is ready although ctx has not ended: the program has closed it, see
	 * ctx_wait_fd().
	 */
	return error || ready < 0 || !fds[0].revents ? error : -EBADF;
}

void blocking_calm(const struct ctx_context *ctx, unsigned turns)
{
	if (turns > CALM_TURNS)
		ctx_wait(ctx, BLOCKING_RETRY_NS);
}

static ssize_t try_until_done(const struct ctx_context *ctx, const struct blocking_attempt *attempt)
{
	for (unsigned turns = 0;; turns++) {
		int error = blocking_check(ctx);
		if (error)
			return error;
		ssize_t result = attempt->attempt(attempt);
		if (result == -EINTR)
			continue;
		bool would_wait = result == -EAGAIN || result == -EOPNOTSUPP;
		if (would_wait && attempt->perform && blocking_is_on_disk(attempt->fd))
			return attempt->perform(attempt);
		if (result != -EAGAIN)
			return result;
		blocking_calm(ctx, turns);
		error = blocking_poll_fd(ctx, attempt->fd, attempt->events, CTX_FOREVER);
		if (error)
			return error;
	}
}

ssize_t blocking_poll(const struct ctx_context *ctx, const struct blocking_attempt *attempt)
{
	context_hold(ctx);
	ssize_t result = try_until_done(ctx, attempt);

	context_unhold(ctx);
	return result;
}
