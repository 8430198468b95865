/* SPDX-License-Identifier: MIT */
/* Blocking calls on files of all kinds. */
#include "blocking.h"
#include "blocking_nowait.h"
#include "feature.h"

/* As the offset of an SQE: use the file's own position. */
#define OWN_POSITION ((uint64_t)-1)

#ifndef SPLICE_F_FD_IN_FIXED
#define SPLICE_F_FD_IN_FIXED (1U << 31)
#endif

struct transfer {
	struct blocking_attempt base;
	const struct iovec *buffers;
	int count;
	off_t offset; /* -1: the file's own position */
};

/*
 * On a ring a file without a position ignores the offset. The system call refuses one with -ESPIPE, so it is
 * repeated without.
 */
static ssize_t read_from(const struct transfer *transfer, int fd, int flags)
{
	ssize_t result = sys_preadv2(fd, transfer->buffers, transfer->count, transfer->offset, flags);

	if (result == -ESPIPE && transfer->offset >= 0)
		result = sys_preadv2(fd, transfer->buffers, transfer->count, -1, flags);
	return result;
}

static ssize_t write_to(const struct transfer *transfer, int fd, int flags)
{
	ssize_t result = sys_pwritev2(fd, transfer->buffers, transfer->count, transfer->offset, flags);

	if (result == -ESPIPE && transfer->offset >= 0)
		result = sys_pwritev2(fd, transfer->buffers, transfer->count, -1, flags);
	return result;
}

static bool hold_nothing(const struct iovec *buffers, int count)
{
	for (int i = 0; i < count; i++)
		if (!buffers || buffers[i].iov_len)
			return false;
	return true;
}

/*
 * Reads from a socket as a message, since recvmsg(2) has a flag for not waiting. -ENOTSOCK: fd is no socket.
 */
static ssize_t receive_into(const struct transfer *transfer, int fd)
{
	struct msghdr message = {.msg_iov = (struct iovec *)transfer->buffers,
				 .msg_iovlen = (size_t)transfer->count};

	return sys_recvmsg(fd, &message, MSG_DONTWAIT);
}

static ssize_t send_from(const struct transfer *transfer, int fd)
{
	const struct msghdr message = {.msg_iov = (struct iovec *)transfer->buffers,
				       .msg_iovlen = (size_t)transfer->count};

	return sys_sendmsg(fd, &message, MSG_DONTWAIT); /* raises SIGPIPE, as a write does */
}

/* Makes a transfer that does not wait on a file that knows no RWF_NOWAIT. */
static ssize_t move_otherwise(const struct transfer *transfer, bool out)
{
	int fd = transfer->base.fd;
	struct blocking_nowait nowait;

	if (blocking_is_on_disk(fd))
		return -EOPNOTSUPP;
	ssize_t result = out ? send_from(transfer, fd) : receive_into(transfer, fd);
	if (result != -ENOTSOCK)
		return result;
	result = blocking_nowait_begin(&nowait, fd);
	if (result)
		return result;
	result = out ? write_to(transfer, nowait.fd, 0) : read_from(transfer, nowait.fd, 0);
	blocking_nowait_end(&nowait);
	return result;
}

static ssize_t try_read(const struct blocking_attempt *self)
{
	const struct transfer *transfer = (const struct transfer *)self;
	ssize_t result = read_from(transfer, self->fd, feature_of_rw_nowait(self->fd));

	return result == -EOPNOTSUPP ? move_otherwise(transfer, false) : result;
}

static ssize_t perform_read(const struct blocking_attempt *self)
{
	return read_from((const struct transfer *)self, self->fd, 0);
}

static ssize_t try_write(const struct blocking_attempt *self)
{
	const struct transfer *transfer = (const struct transfer *)self;
	ssize_t result = hold_nothing(transfer->buffers, transfer->count)
				 ? -EOPNOTSUPP
				 : write_to(transfer, self->fd, feature_of_rw_nowait(self->fd));

	return result == -EOPNOTSUPP ? move_otherwise(transfer, true) : result;
}

static ssize_t perform_write(const struct blocking_attempt *self)
{
	return write_to((const struct transfer *)self, self->fd, 0);
}

static __attribute__((cold)) ssize_t poll_read(const struct ctx_context *ctx, int fd,
					       const struct iovec *buffers, int count, off_t offset)
{
	const struct transfer transfer = {
		.base = {.fd = fd, .events = POLLIN, .attempt = try_read, .perform = perform_read},
		.buffers = buffers,
		.count = count,
		.offset = offset,
	};
	return blocking_poll(ctx, &transfer.base);
}

static __attribute__((cold)) ssize_t poll_write(const struct ctx_context *ctx, int fd,
						const struct iovec *buffers, int count, off_t offset)
{
	const struct transfer transfer = {
		.base = {.fd = fd, .events = POLLOUT, .attempt = try_write, .perform = perform_write},
		.buffers = buffers,
		.count = count,
		.offset = offset,
	};
	return blocking_poll(ctx, &transfer.base);
}

/*
 * Makes a transfer of no bytes at once, as the system calls do. On a kernel that cannot try first (before
 * Linux 6.4 on a pipe) a ring would wait for readiness before it looks at the size.
 */
static __attribute__((cold)) ssize_t move_nothing(const struct ctx_context *ctx, int fd, bool out)
{
	const struct iovec nothing = {.iov_len = 0};
	ssize_t error = blocking_check(ctx);

	if (error)
		return error;
	return out ? sys_pwritev2(fd, &nothing, 1, -1, 0) : sys_preadv2(fd, &nothing, 1, -1, 0);
}

/*
 * Whether fd is a socket. There write(2) of no bytes sends an empty message, if the socket has messages.
 * writev(2) of no bytes sends none.
 */
static __attribute__((cold)) bool is_socket(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && S_ISSOCK(status.st_mode);
}

static ssize_t read_at(const struct ctx_context *ctx, int fd, void *buffer, size_t size, off_t offset)
{
	struct io_uring_sqe sqe = {0};

	if (__builtin_expect(!size, 0))
		return move_nothing(ctx, fd, false);
	io_uring_prep_read(&sqe, fd, buffer, blocking_size(size), (uint64_t)offset);
	ssize_t result = blocking_call(ctx, &sqe, POLLIN);
	if (__builtin_expect(result != BLOCKING_NO_RING, 1))
		return result;
	return poll_read(ctx, fd, &(struct iovec){buffer, blocking_size(size)}, 1, offset);
}

static ssize_t write_once(const struct ctx_context *ctx, int fd, const void *buffer, size_t size,
			  off_t offset)
{
	struct io_uring_sqe sqe = {0};

	if (__builtin_expect(!size, 0) && !is_socket(fd))
		return move_nothing(ctx, fd, true);
	io_uring_prep_write(&sqe, fd, buffer, blocking_size(size), (uint64_t)offset);
	ssize_t result = blocking_call(ctx, &sqe, POLLOUT);
	if (__builtin_expect(result != BLOCKING_NO_RING, 1))
		return result;
	return poll_write(ctx, fd, &(struct iovec){(void *)buffer, blocking_size(size)}, 1, offset);
}

/*
 * Writes as write(2) does where it blocks: goes on after a part was written. Returns what was written before
 * an error or the end of ctx.
 */
static ssize_t write_at(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, off_t offset)
{
	ssize_t done = write_once(ctx, fd, buffer, size, offset);

	size = blocking_size(size);
	while (__builtin_expect(done > 0 && (size_t)done < size, 0)) {
		ssize_t more = write_once(ctx, fd, (const char *)buffer + done, size - (size_t)done,
					  offset < 0 ? offset : offset + done);
		if (more <= 0)
			break;
		done += more;
	}
	return done;
}

ssize_t ctxio_read(const struct ctx_context *ctx, int fd, void *buffer, size_t size)
{
	return blocking_result(ctx, read_at(ctx, fd, buffer, size, -1));
}

ssize_t ctxio_write(const struct ctx_context *ctx, int fd, const void *buffer, size_t size)
{
	return blocking_result(ctx, write_at(ctx, fd, buffer, size, -1));
}

ssize_t ctxio_pread(const struct ctx_context *ctx, int fd, void *buffer, size_t size, off_t offset)
{
	return blocking_result(ctx, offset < 0 ? -EINVAL : read_at(ctx, fd, buffer, size, offset));
}

ssize_t ctxio_pwrite(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, off_t offset)
{
	return blocking_result(ctx, offset < 0 ? -EINVAL : write_at(ctx, fd, buffer, size, offset));
}

ssize_t ctxio_readv(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count)
{
	struct io_uring_sqe sqe = {0};

	if (count < 0)
		return blocking_result(ctx, -EINVAL);
	if (__builtin_expect(hold_nothing(buffers, count), 0))
		return blocking_result(ctx, move_nothing(ctx, fd, false));
	io_uring_prep_readv(&sqe, fd, buffers, (unsigned)count, OWN_POSITION);
	ssize_t result = blocking_call(ctx, &sqe, POLLIN);
	return blocking_result(ctx,
			       result != BLOCKING_NO_RING ? result : poll_read(ctx, fd, buffers, count, -1));
}

/* Writes what is left of buffers behind the first done bytes, one buffer after the other. */
static ssize_t write_rest(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count,
			  ssize_t done)
{
	size_t skip = (size_t)done;

	for (int i = 0; i < count; i++) {
		if (skip >= buffers[i].iov_len) {
			skip -= buffers[i].iov_len;
			continue;
		}
		size_t left = buffers[i].iov_len - skip;
		ssize_t more = write_at(ctx, fd, (const char *)buffers[i].iov_base + skip, left, -1);
		skip = 0;
		if (more > 0)
			done += more;
		if (more < 0 || (size_t)more < left)
			break;
	}
	return done;
}

ssize_t ctxio_writev(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count)
{
	struct io_uring_sqe sqe = {0};

	if (count < 0)
		return blocking_result(ctx, -EINVAL);
	if (__builtin_expect(hold_nothing(buffers, count), 0))
		return blocking_result(ctx, move_nothing(ctx, fd, true));
	io_uring_prep_writev(&sqe, fd, buffers, (unsigned)count, OWN_POSITION);
	ssize_t result = blocking_call(ctx, &sqe, POLLOUT);
	if (result == BLOCKING_NO_RING)
		result = poll_write(ctx, fd, buffers, count, -1);
	return blocking_result(ctx, result > 0 ? write_rest(ctx, fd, buffers, count, result) : result);
}

ssize_t ctxio_read_full(const struct ctx_context *ctx, int fd, void *buffer, size_t size, size_t *ret_done)
{
	ssize_t result = blocking_check(ctx);
	size_t done = 0;

	while (!result && done < size) {
		ssize_t more = read_at(ctx, fd, (char *)buffer + done, size - done, -1);
		if (more <= 0) {
			result = more;
			break;
		}
		done += (size_t)more;
	}
	if (ret_done)
		*ret_done = done;
	return blocking_result(ctx, result < 0 ? result : (ssize_t)done);
}

ssize_t ctxio_write_full(const struct ctx_context *ctx, int fd, const void *buffer, size_t size,
			 size_t *ret_done)
{
	ssize_t result = blocking_check(ctx);
	size_t done = 0;

	while (!result && done < size) {
		ssize_t more = write_once(ctx, fd, (const char *)buffer + done, size - done, -1);
		if (more < 0)
			result = more;
		else if (!more)
			result = -EIO; /* no file writes 0 bytes if the size is not 0 */
		else
			done += (size_t)more;
	}
	if (ret_done)
		*ret_done = done;
	return blocking_result(ctx, result < 0 ? result : (ssize_t)done);
}

int ctxio_openat(const struct ctx_context *ctx, int directory, const char *path, int flags, mode_t mode)
{
	struct io_uring_sqe sqe = {0};

	if (!path)
		return blocking_result(ctx, -EFAULT);
	io_uring_prep_openat(&sqe, directory, path, flags, mode);
	/*
	 * A worker of the kernel opens the file at once. Without this flag the kernel first tries with
	 * O_NONBLOCK, which is another thing for a FIFO.
	 */
	sqe.flags |= IOSQE_ASYNC;
	return blocking_result(ctx, (int)blocking_call_on_ring(ctx, &sqe, 0));
}

int ctxio_fsync(const struct ctx_context *ctx, int fd)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_fsync(&sqe, fd, 0);
	return blocking_result(ctx, (int)blocking_call_on_ring(ctx, &sqe, 0));
}

/*
 * Waits until both descriptors of a splice are ready. It said that it would block, which does not tell which
 * of the two is not ready.
 */
static int wait_for_both(const struct ctx_context *ctx, int fd_in, int fd_out)
{
	struct io_uring_sqe sqe = {0};
	ssize_t ready;

	io_uring_prep_poll_add(&sqe, fd_in, POLLIN);
	ready = blocking_call_on_ring(ctx, &sqe, 0);
	if (ready < 0)
		return (int)ready;
	io_uring_prep_poll_add(&sqe, fd_out, POLLOUT);
	ready = blocking_call_on_ring(ctx, &sqe, 0);
	return ready < 0 ? (int)ready : 0;
}

ssize_t ctxio_splice(const struct ctx_context *ctx, int fd_in, off_t *offset_in, int fd_out,
		     off_t *offset_out, size_t size, unsigned flags)
{
	struct io_uring_sqe sqe = {0};
	ssize_t result;

	if ((offset_in && *offset_in < 0) || (offset_out && *offset_out < 0) ||
	    (flags & SPLICE_F_FD_IN_FIXED))
		return blocking_result(ctx, -EINVAL);
	io_uring_prep_splice(&sqe, fd_in, offset_in ? *offset_in : -1, fd_out, offset_out ? *offset_out : -1,
			     blocking_size(size), flags);
	for (;;) {
		result = blocking_call_on_ring(ctx, &sqe, 0);
		if (result != -EAGAIN || (flags & SPLICE_F_NONBLOCK))
			break;
		int error = wait_for_both(ctx, fd_in, fd_out);
		if (error)
			return blocking_result(ctx, error);
	}
	if (result > 0 && offset_in)
		*offset_in += result;
	if (result > 0 && offset_out)
		*offset_out += result;
	return blocking_result(ctx, result);
}

int ctxio_close(const struct ctx_context *ctx, int fd)
{
	struct linger linger;
	socklen_t size = sizeof(linger);

	if (!ctx)
		return blocking_result(ctx, -EINVAL);
	/*
	 * The kernel sends what is left to send without SO_LINGER, too. With it close(2) would wait for that,
	 * and nothing could end the wait.
	 */
	if (!getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) && linger.l_onoff && linger.l_linger) {
		linger.l_onoff = 0;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	/* On Linux the descriptor is closed also after EINTR, see close(2). */
	int result = sys_close(fd);
	return blocking_result(ctx, result == -EINTR ? 0 : result);
}
