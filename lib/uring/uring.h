/* SPDX-License-Identifier: MIT */
/*
 * The submission and completion queue of a struct io_uring. They are not handled by liburing's submit
 * functions, because each io_uring_enter(2) must be countable, be able to wait as well, and be able to fail
 * in tests.
 */
#ifndef CTX_URING_H
#define CTX_URING_H

#include <string.h>

#include "clock.h"
#include "sys.h"

#ifndef IORING_SETUP_SQE_MIXED
#define IORING_SETUP_SQE_MIXED (1U << 19)
#endif
#ifndef IORING_SETUP_CQE_MIXED
#define IORING_SETUP_CQE_MIXED (1U << 18)
#endif
#ifndef IORING_SETUP_HYBRID_IOPOLL
#define IORING_SETUP_HYBRID_IOPOLL (1U << 17)
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif
#ifndef IORING_SETUP_REGISTERED_FD_ONLY
#define IORING_SETUP_REGISTERED_FD_ONLY (1U << 15)
#endif
#ifndef IORING_SETUP_SQ_REWIND
#define IORING_SETUP_SQ_REWIND (1U << 20)
#endif
#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1U << 14)
#endif

/* IORING_REGISTER_USE_REGISTERED_RING, which older headers do not have. It is of an enumeration, so #ifndef
 * cannot ask. */
#define URING_REGISTER_USE_REGISTERED_RING (1U << 31)

#define URING_CHAIN_FLAGS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

/* How many entries can be filled before the next io_uring_enter(2). */
static inline unsigned uring_space(const struct io_uring *uring)
{
	return uring->sq.ring_entries - (uring->sq.sqe_tail - io_uring_smp_load_acquire(uring->sq.khead));
}

/* Takes the next free entry. There must be space. */
static inline struct io_uring_sqe *uring_next_sqe(struct io_uring *uring)
{
	return &uring->sq.sqes[uring->sq.sqe_tail++ & uring->sq.ring_mask];
}

/* Takes the next free entry, cleared: newer io_uring_prep_*() set only fields that are not zero. */
static inline struct io_uring_sqe *uring_blank_sqe(struct io_uring *uring)
{
	struct io_uring_sqe *sqe = uring_next_sqe(uring);

	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

/* Makes filled entries visible to the kernel. Returns how many it has not consumed yet. */
static inline unsigned uring_publish(struct io_uring *uring)
{
	struct io_uring_sq *sq = &uring->sq;

	if (sq->sqe_head != sq->sqe_tail) {
		sq->sqe_head = sq->sqe_tail;
		io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	}
	return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

/* True when the last entry that was filled, and not submitted, asks for a successor. */
static inline bool uring_chain_open(const struct io_uring *uring)
{
	const struct io_uring_sq *sq = &uring->sq;

	return sq->sqe_tail != io_uring_smp_load_acquire(sq->khead) &&
	       (sq->sqes[(sq->sqe_tail - 1) & sq->ring_mask].flags & URING_CHAIN_FLAGS);
}

static inline unsigned uring_cq_ready(const struct io_uring *uring)
{
	return io_uring_smp_load_acquire(uring->cq.ktail) - *uring->cq.khead;
}

/* True when the kernel has completions that are not in the queue, because it is full or nobody has asked for
 * them. */
static inline bool uring_keeps_back(const struct io_uring *uring)
{
	return IO_URING_READ_ONCE(*uring->sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

/* True when the kernel keeps completions back as the queue is full. An enter with GETEVENTS brings them. */
static inline bool uring_cq_overflowed(const struct io_uring *uring)
{
	return IO_URING_READ_ONCE(*uring->sq.kflags) & IORING_SQ_CQ_OVERFLOW;
}

static inline const struct io_uring_cqe *uring_cqe(const struct io_uring *uring, unsigned index)
{
	return &uring->cq.cqes[(*uring->cq.khead + index) & uring->cq.ring_mask];
}

static inline void uring_cq_advance(struct io_uring *uring, unsigned count)
{
	io_uring_smp_store_release(uring->cq.khead, *uring->cq.khead + count);
}

/* A time or a duration in the form of io_uring. */
static inline struct __kernel_timespec uring_time(uint64_t ns)
{
	return (struct __kernel_timespec){.tv_sec = (long long)(ns / NS_PER_SECOND),
					  .tv_nsec = (long long)(ns % NS_PER_SECOND)};
}

/* How an io_uring_enter(2) is to wait. */
struct uring_wait {
	unsigned min_complete;
	bool events;	     /* IORING_ENTER_GETEVENTS: also runs task work and flushes an overflow */
	bool absolute;	     /* timeout_ns is a time of CLOCK_MONOTONIC, and no duration */
	uint64_t timeout_ns; /* of a wait for min_complete; CTX_FOREVER: none. Any other needs
				IORING_ENTER_EXT_ARG */
};

/*
 * True when enter_ring_fd is an index of io_uring_register_ring_fd(3), not a descriptor. Found by comparing
 * the two numbers, since liburing's own mark has moved to another bit (2.10). If they are equal by chance,
 * the descriptor is used, which is right as well.
 */
static inline bool uring_is_registered(const struct io_uring *uring)
{
	return uring->enter_ring_fd != uring->ring_fd;
}

/* io_uring_register(2), also for a ring that has an index but no descriptor: IORING_SETUP_REGISTERED_FD_ONLY,
 * and after io_uring_close_ring_fd(3). */
static inline int uring_register(const struct io_uring *uring, unsigned opcode, const void *argument,
				 unsigned count)
{
	if (uring->ring_fd >= 0)
		return sys_uring_register(uring->ring_fd, opcode, argument, count);
	return sys_uring_register(uring->enter_ring_fd, opcode | URING_REGISTER_USE_REGISTERED_RING, argument,
				  count);
}

/*
 * One io_uring_enter(2) without a timeout. Inline, because a system call overwrites the processor's
 * prediction of return addresses, so that each return between here and the caller of the library is
 * mispredicted.
 */
static inline __attribute__((always_inline)) int
uring_enter_plain(const struct io_uring *uring, unsigned to_submit, unsigned min_complete, bool events)
{
	unsigned flags = (events || min_complete ? IORING_ENTER_GETEVENTS : 0) |
			 (uring_is_registered(uring) ? IORING_ENTER_REGISTERED_RING : 0);

	return sys_uring_enter(uring->enter_ring_fd, to_submit, min_complete, flags, NULL, 0);
}

/*
 * One io_uring_enter(2). Returns the number of entries that the kernel took, or a negative errno. For an
 * io_uring of the library's own there is uring_handle_enter(), which is quicker.
 */
int uring_enter(const struct io_uring *uring, unsigned to_submit, const struct uring_wait *wait);

#endif
