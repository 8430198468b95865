/* SPDX-License-Identifier: MIT */
/*
 * Finds out whether a receive that does not wait, and ends with -EAGAIN, leaves the provided buffer that was
 * selected for it in its group. On Linux 6.1 io_req_defer_failed() in io_uring/io_uring.c puts the buffer
 * into the completion; 6.12 and 6.18 do not. There are three kinds of groups, and an SQE does not say of
 * which kind its group is. So all kinds that this kernel has are tried on a socket of the library's own: a
 * receive in vain, and then one that has to find the only buffer.
 */
#include "park_buffers.h"

#include "feature.h"
#include "uring.h"

#define PAGE 4096u
#ifndef IOU_PBUF_RING_INC
#define IOU_PBUF_RING_INC 2 /* Linux 6.12 */
#endif

enum group_kind {
	GROUP_LEGACY, /* IORING_OP_PROVIDE_BUFFERS */
	GROUP_RING,   /* IORING_REGISTER_PBUF_RING */
	GROUP_INCREMENTAL,
	GROUP_KINDS
};

/* The ring, sockets and buffer of the trials. */
struct trial {
	struct io_uring uring;
	struct io_uring_buf_ring *buffers;
	int fds[2];
	char byte; /* the buffer */
};

/* Submits one entry and takes its completion. */
static struct io_uring_cqe perform_entry(struct trial *trial, const struct io_uring_sqe *sqe)
{
	const struct uring_wait wait = {.min_complete = 1, .events = true, .timeout_ns = CTX_FOREVER};
	struct io_uring *uring = &trial->uring;
	struct io_uring_cqe cqe = {.res = -EIO};

	*uring_next_sqe(uring) = *sqe;
	for (int taken = 0; taken >= 0 || taken == -EINTR;) {
		if (uring_cq_ready(uring)) {
			cqe.res = uring_cqe(uring, 0)->res;
			cqe.flags = uring_cqe(uring, 0)->flags;
			uring_cq_advance(uring, 1);
			break;
		}
		taken = uring_enter(uring, uring_publish(uring), &wait);
	}
	return cqe;
}

/* struct io_uring_buf_reg since Linux 6.4. Older headers have no flags in it. */
struct group_registration {
	uint64_t ring_addr;
	uint32_t ring_entries;
	uint16_t bgid, flags;
	uint64_t reserved[3];
};

/* Registers a group of this kind. Returns 0; -EINVAL: this kernel has no such groups. */
static int make_group(struct trial *trial, enum group_kind kind)
{
	struct group_registration group = {.ring_addr = (uint64_t)(uintptr_t)trial->buffers,
					   .ring_entries = 1,
					   .bgid = (uint16_t)kind,
					   .flags = kind == GROUP_INCREMENTAL ? IOU_PBUF_RING_INC : 0};

	if (kind == GROUP_LEGACY)
		return 0;
	return sys_uring_register(trial->uring.ring_fd, IORING_REGISTER_PBUF_RING, &group, 1);
}

/* Puts the buffer into the group. */
static bool provide_buffer(struct trial *trial, enum group_kind kind)
{
	struct io_uring_sqe sqe = {0};

	if (kind != GROUP_LEGACY) {
		io_uring_buf_ring_add(trial->buffers, &trial->byte, 1, 0, io_uring_buf_ring_mask(1), 0);
		io_uring_buf_ring_advance(trial->buffers, 1);
		return true;
	}
	io_uring_prep_provide_buffers(&sqe, &trial->byte, 1, 1, (int)kind, 0);
	return perform_entry(trial, &sqe).res >= 0;
}

static struct io_uring_cqe receive_byte(struct trial *trial, enum group_kind kind, bool as_message)
{
	struct io_uring_sqe sqe = {0};
	struct iovec iov = {.iov_len = 1};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (as_message)
		io_uring_prep_recvmsg(&sqe, trial->fds[0], &message, MSG_DONTWAIT);
	else
		io_uring_prep_recv(&sqe, trial->fds[0], NULL, 1, MSG_DONTWAIT);
	sqe.flags |= IOSQE_BUFFER_SELECT;
	sqe.buf_group = (uint16_t)kind;
	return perform_entry(trial, &sqe);
}

/* True when a receive in vain leaves the buffer in its group. */
static bool buffer_stays(struct trial *trial, enum group_kind kind, bool as_message)
{
	struct io_uring_cqe cqe;

	if (!provide_buffer(trial, kind))
		return false;
	cqe = receive_byte(trial, kind, as_message);
	if (cqe.res != -EAGAIN || (cqe.flags & IORING_CQE_F_BUFFER) || sys_write(trial->fds[1], "x", 1) != 1)
		return false;
	cqe = receive_byte(trial, kind, as_message);
	return cqe.res == 1 && (cqe.flags & IORING_CQE_F_BUFFER);
}

static bool try_kind(struct trial *trial, enum group_kind kind)
{
	int error = make_group(trial, kind);

	if (error)
		return error == -EINVAL;
	return buffer_stays(trial, kind, false) && buffer_stays(trial, kind, true);
}

static bool try_kinds(struct trial *trial)
{
	bool stays = true;

	for (int kind = 0; kind < GROUP_KINDS && stays; kind++) {
		void *page = NULL;
		if (sys_mmap(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, &page))
			return false;
		trial->buffers = page;
		stays = try_kind(trial, (enum group_kind)kind);
		munmap(page, PAGE);
	}
	return stays;
}

/* True when all kinds that this kernel has leave the buffer. */
static bool try_on_ring(void)
{
	struct io_uring_params params = {0};
	struct trial trial;
	bool stays = false;

	if (sys_socketpair(SOCK_STREAM | SOCK_CLOEXEC, trial.fds))
		return false;
	if (!sys_uring_setup(2, &trial.uring, &params)) {
		stays = try_kinds(&trial);
		sys_uring_exit(&trial.uring);
	}
	sys_close(trial.fds[0]);
	sys_close(trial.fds[1]);
	return stays;
}

bool park_buffers_stay(void)
{
	enum {
		UNKNOWN,
		NO,
		YES
	};
	static _Atomic int known; /* set to the same by all threads */
	int now = atomic_load_explicit(&known, memory_order_relaxed);

	if (now == UNKNOWN) {
		now = feature_allowed(FEATURE_KEPT_BUFFERS) && try_on_ring() ? YES : NO;
		atomic_store_explicit(&known, now, memory_order_relaxed);
	}
	return now == YES;
}
