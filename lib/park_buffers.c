/* SPDX-License-Identifier: MIT */
/*
 * Up to Linux 6.17 a request that may not wait, and ends -EAGAIN, uses up the provided buffer that was
 * selected for it: io_req_defer_failed() in io_uring/io_uring.c puts it into the completion. An operation
 * that takes such buffers can then not be attempted on suspicion. Whether it is so is found by receiving and
 * reading in vain from a socket of our own.
 */
#include "park_buffers.h"

#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "feature.h"
#include "sys.h"

#define PAGE 4096u

/* One buffer in group 0. */
static bool provide(struct io_uring *uring, struct io_uring_buf_ring *buffers)
{
	static char buffer[8];
	struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)buffers, .ring_entries = 1};

	if (io_uring_register_buf_ring(uring, &registration, 0))
		return false;
	io_uring_buf_ring_add(buffers, buffer, sizeof(buffer), 0, io_uring_buf_ring_mask(1), 0);
	io_uring_buf_ring_advance(buffers, 1);
	return true;
}

static bool stays(struct io_uring *uring, struct io_uring_sqe *sqe)
{
	struct io_uring_cqe *cqe;

	sqe->flags |= IOSQE_BUFFER_SELECT;
	if (io_uring_submit_and_wait(uring, 1) != 1 || io_uring_peek_cqe(uring, &cqe))
		return false;
	bool stays = cqe->res == -EAGAIN && !(cqe->flags & IORING_CQE_F_BUFFER);
	io_uring_cqe_seen(uring, cqe);
	return stays;
}

static bool try_receive_and_read(struct io_uring *uring, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(uring);

	io_uring_prep_recv(sqe, fd, NULL, 0, MSG_DONTWAIT);
	if (!stays(uring, sqe))
		return false;
	sqe = io_uring_get_sqe(uring);
	io_uring_prep_read(sqe, fd, NULL, sizeof(char), 0);
	sqe->rw_flags = RWF_NOWAIT;
	return stays(uring, sqe);
}

static bool try(void)
{
	struct io_uring uring;
	bool stays = false;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return false;
	void *buffers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffers != MAP_FAILED && !io_uring_queue_init(2, &uring, 0)) {
		stays = provide(&uring, buffers) && try_receive_and_read(&uring, fds[0]);
		sys_uring_exit(&uring);
	}
	if (buffers != MAP_FAILED)
		munmap(buffers, PAGE);
	sys_close(fds[0]);
	sys_close(fds[1]);
	return stays;
}

bool park_buffers_stay(void)
{
	enum {
		UNKNOWN,
		NO,
		YES
	};
	static int known;
	int now = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (now == UNKNOWN) {
		now = feature_allowed(FEATURE_KEPT_BUFFERS) && try() ? YES : NO;
		__atomic_store_n(&known, now, __ATOMIC_RELAXED);
	}
	return now == YES;
}
