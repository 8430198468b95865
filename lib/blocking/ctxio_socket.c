/* SPDX-License-Identifier: MIT */
/* Blocking calls on sockets. */
#include "blocking.h"
#include "blocking_nowait.h"

struct exchange {
	struct blocking_attempt base;
	struct msghdr *message;
	int flags;
};

static ssize_t try_receive(const struct blocking_attempt *self)
{
	const struct exchange *exchange = (const struct exchange *)self;
	return sys_recvmsg(self->fd, exchange->message, exchange->flags | MSG_DONTWAIT);
}

static ssize_t try_send(const struct blocking_attempt *self)
{
	const struct exchange *exchange = (const struct exchange *)self;
	return sys_sendmsg(self->fd, exchange->message, exchange->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
}

static __attribute__((cold)) ssize_t exchange_by_poll(const struct ctx_context *ctx, int fd, short events,
						      struct msghdr *message, int flags)
{
	const struct exchange exchange = {
		.base = {.fd = fd, .events = events, .attempt = events == POLLIN ? try_receive : try_send},
		.message = message,
		.flags = flags,
	};

	if (!(flags & MSG_DONTWAIT))
		return blocking_poll(ctx, &exchange.base);
	int error = blocking_check(ctx);
	return error ? error : exchange.base.attempt(&exchange.base);
}

/* The events to wait for when a receive would block. POLLPRI reports urgent data. */
static short receive_events(int flags)
{
	if (flags & MSG_DONTWAIT)
		return 0;
	return flags & MSG_OOB ? POLLPRI : POLLIN;
}

static ssize_t receive_once(const struct ctx_context *ctx, int fd, void *buffer, size_t size, int flags)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_recv(&sqe, fd, buffer, blocking_size(size), flags);
	ssize_t result = blocking_call(ctx, &sqe, receive_events(flags));
	if (__builtin_expect(result != BLOCKING_NO_RING, 1))
		return result;
	struct iovec part = {buffer, blocking_size(size)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	return exchange_by_poll(ctx, fd, POLLIN, &message, flags);
}

static ssize_t send_once(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, int flags)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_send(&sqe, fd, buffer, blocking_size(size), flags);
	ssize_t result = blocking_call(ctx, &sqe, flags & MSG_DONTWAIT ? 0 : POLLOUT);
	if (__builtin_expect(result != BLOCKING_NO_RING, 1))
		return result;
	struct iovec part = {(void *)buffer, blocking_size(size)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	return exchange_by_poll(ctx, fd, POLLOUT, &message, flags);
}

static bool is_stream(int fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_STREAM;
}

/* Whether the system call would go on after it has moved a part. */
static bool wants_rest(int fd, int flags, bool receive)
{
	if (flags & MSG_DONTWAIT)
		return false;
	return receive ? (flags & MSG_WAITALL) && !(flags & (MSG_PEEK | MSG_OOB)) && is_stream(fd)
		       : is_stream(fd);
}

/*
 * Moves what is left of buffer behind the first done bytes. Returns what was moved in all, whatever ended the
 * transfer.
 */
static ssize_t move_rest(const struct ctx_context *ctx, int fd, char *buffer, size_t size, ssize_t done,
			 int flags, bool receive)
{
	while (done > 0 && (size_t)done < size) {
		size_t left = size - (size_t)done;
		ssize_t more = receive ? receive_once(ctx, fd, buffer + done, left, flags)
				       : send_once(ctx, fd, buffer + done, left, flags);
		if (more <= 0)
			break;
		done += more;
	}
	return done;
}

/* The same for the buffers of a message. The address and control data went with its first part. */
static ssize_t move_rest_of_message(const struct ctx_context *ctx, int fd, const struct msghdr *message,
				    ssize_t done, int flags, bool receive)
{
	size_t skip = (size_t)done;

	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const struct iovec *part = &message->msg_iov[i];
		if (skip >= part->iov_len) {
			skip -= part->iov_len;
			continue;
		}
		size_t left = part->iov_len - skip;
		char *from = (char *)part->iov_base + skip;
		ssize_t more = receive ? receive_once(ctx, fd, from, left, flags)
				       : send_once(ctx, fd, from, left, flags);
		more = move_rest(ctx, fd, from, left, more, flags, receive);
		skip = 0;
		if (more > 0)
			done += more;
		if (more < 0 || (size_t)more < left)
			break;
	}
	return done;
}

ssize_t ctxio_recv(const struct ctx_context *ctx, int fd, void *buffer, size_t size, int flags)
{
	ssize_t done = receive_once(ctx, fd, buffer, size, flags);

	size = blocking_size(size);
	/*
	 * The kernel does not always wait for all: not without io_uring, nor when its own wait was
	 * interrupted.
	 */
	if (__builtin_expect((flags & MSG_WAITALL) && done > 0 && (size_t)done < size, 0) &&
	    !blocking_check(ctx) && wants_rest(fd, flags, true))
		done = move_rest(ctx, fd, buffer, size, done, flags, true);
	return blocking_result(ctx, done);
}

ssize_t ctxio_send(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, int flags)
{
	ssize_t done = send_once(ctx, fd, buffer, size, flags);

	size = blocking_size(size);
	if (__builtin_expect(done > 0 && (size_t)done < size, 0) && wants_rest(fd, flags, false))
		done = move_rest(ctx, fd, (char *)buffer, size, done, flags, false);
	return blocking_result(ctx, done);
}

static size_t message_size(const struct msghdr *message)
{
	size_t size = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++)
		size += message->msg_iov[i].iov_len;
	return blocking_size(size);
}

ssize_t ctxio_recvmsg(const struct ctx_context *ctx, int fd, struct msghdr *message, int flags)
{
	struct io_uring_sqe sqe = {0};

	if (!message)
		return blocking_result(ctx, -EFAULT);
	io_uring_prep_recvmsg(&sqe, fd, message, (unsigned)flags);
	ssize_t done = blocking_call(ctx, &sqe, receive_events(flags));
	if (done == BLOCKING_NO_RING)
		done = exchange_by_poll(ctx, fd, POLLIN, message, flags);
	if ((flags & MSG_WAITALL) && done > 0 && (size_t)done < message_size(message) &&
	    !blocking_check(ctx) && !message->msg_controllen && wants_rest(fd, flags, true))
		done = move_rest_of_message(ctx, fd, message, done, flags, true);
	return blocking_result(ctx, done);
}

ssize_t ctxio_sendmsg(const struct ctx_context *ctx, int fd, const struct msghdr *message, int flags)
{
	struct io_uring_sqe sqe = {0};

	if (!message)
		return blocking_result(ctx, -EFAULT);
	io_uring_prep_sendmsg(&sqe, fd, message, (unsigned)flags);
	ssize_t done = blocking_call(ctx, &sqe, flags & MSG_DONTWAIT ? 0 : POLLOUT);
	if (done == BLOCKING_NO_RING)
		done = exchange_by_poll(ctx, fd, POLLOUT, (struct msghdr *)message, flags);
	if (done > 0 && (size_t)done < message_size(message) && wants_rest(fd, flags, false))
		done = move_rest_of_message(ctx, fd, message, done, flags, false);
	return blocking_result(ctx, done);
}

/* ---- accept */

struct acceptance {
	struct blocking_attempt base;
	struct sockaddr *address;
	socklen_t *size;
	int flags;
};

static ssize_t try_accept(const struct blocking_attempt *self)
{
	const struct acceptance *acceptance = (const struct acceptance *)self;
	struct blocking_nowait nowait;
	int result = blocking_nowait_begin_own(&nowait, self->fd);

	if (result)
		return result;
	result = sys_accept4(self->fd, acceptance->address, acceptance->size, acceptance->flags);
	blocking_nowait_end(&nowait);
	return result;
}

int ctxio_accept(const struct ctx_context *ctx, int fd, struct sockaddr *address, socklen_t *address_size,
		 int flags)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_accept(&sqe, fd, address, address_size, flags);
	ssize_t result = blocking_call(ctx, &sqe, POLLIN);
	if (result != BLOCKING_NO_RING)
		return blocking_result(ctx, (int)result);
	const struct acceptance acceptance = {
		.base = {.fd = fd, .events = POLLIN, .attempt = try_accept},
		.address = address,
		.size = address_size,
		.flags = flags,
	};
	return blocking_result(ctx, (int)blocking_poll(ctx, &acceptance.base));
}

/* ---- connect */

static int start_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	struct blocking_nowait nowait;
	int result = blocking_nowait_begin_own(&nowait, fd);

	if (result)
		return result;
	result = sys_connect(fd, address, size);
	blocking_nowait_end(&nowait);
	return result;
}

/*
 * Waits for the end of a connect that is under way. When connect(2) is called again, it tells how that ended,
 * and leaves the socket as a blocking connect(2) does.
 */
static int await_connect(const struct ctx_context *ctx, int fd, const struct sockaddr *address,
			 socklen_t size)
{
	int result;

	do {
		result = blocking_poll_fd(ctx, fd, POLLOUT, CTX_FOREVER);
		if (!result)
			result = start_connect(fd, address, size);
	} while (result == -EALREADY || result == -EINPROGRESS || result == -EINTR);
	return result == -EISCONN ? 0 : result;
}

static int try_connect(const struct ctx_context *ctx, int fd, const struct sockaddr *address, socklen_t size)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_connect(&sqe, fd, address, size);
	ssize_t result = blocking_call(ctx, &sqe, 0);
	if (__builtin_expect(result != BLOCKING_NO_RING, 1))
		return (int)result;
	result = blocking_check(ctx);
	return result ? (int)result : start_connect(fd, address, size);
}

static int connect_until_done(const struct ctx_context *ctx, int fd, const struct sockaddr *address,
			      socklen_t size)
{
	for (;;) {
		int result = try_connect(ctx, fd, address, size);
		if (result == -EINPROGRESS)
			return await_connect(ctx, fd, address, size);
		if (result != -EAGAIN && result != -EINTR)
			return result;
		/* The backlog of a unix socket is full: nothing reports when there is room again. */
		result = blocking_sleep_until(ctx, clock_after_ns(clock_now_ns(), BLOCKING_RETRY_NS));
		if (result)
			return result;
	}
}

int ctxio_connect(const struct ctx_context *ctx, int fd, const struct sockaddr *address,
		  socklen_t address_size)
{
	context_hold(ctx);
	int result = connect_until_done(ctx, fd, address, address_size);

	context_unhold(ctx);
	return blocking_result(ctx, result);
}
