/* SPDX-License-Identifier: MIT */
/*
 * An io_uring made with the raw system calls, as today's liburing makes it, so that an older one on this
 * machine hides nothing: with IORING_SETUP_NO_SQARRAY, in the program's own memory, with a registered
 * descriptor.
 */
#ifndef TEST_URING_H
#define TEST_URING_H

#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/harness.h"

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1U << 14)
#endif
#ifndef IORING_SETUP_REGISTERED_FD_ONLY
#define IORING_SETUP_REGISTERED_FD_ONLY (1U << 15)
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

/* What liburing notes of a registered descriptor: up to 2.9, and from 2.10 on (also that such a one serves
 * io_uring_register(2), Linux 6.3). */
#define URING_HAND_REGISTERED_OLD 1u
#define URING_HAND_REGISTERED_NEW 16u
#define URING_HAND_REGISTERED_BOTH 17u

struct hand {
	struct io_uring uring;
	void *rings, *sqes;
	size_t rings_size, sqes_size;
	bool own_memory; /* of the program, not of the kernel's */
};

static inline void hand_map(struct hand *hand, const struct io_uring_params *params)
{
	const int access = PROT_READ | PROT_WRITE;
	int fd = hand->uring.ring_fd;

	hand->rings_size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	size_t array_end = params->sq_off.array + params->sq_entries * sizeof(unsigned);
	if (array_end > hand->rings_size)
		hand->rings_size = array_end;
	hand->sqes_size = params->sq_entries * sizeof(struct io_uring_sqe);
	hand->rings = mmap(NULL, hand->rings_size, access, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	hand->sqes = mmap(NULL, hand->sqes_size, access, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	ck_assert_ptr_ne(hand->rings, MAP_FAILED);
	ck_assert_ptr_ne(hand->sqes, MAP_FAILED);
}

/* One page each, which holds the queues of up to 64 entries. */
static inline void hand_lend(struct hand *hand, struct io_uring_params *params)
{
	const int access = PROT_READ | PROT_WRITE, kind = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;

	hand->own_memory = true;
	hand->rings_size = hand->sqes_size = (size_t)sysconf(_SC_PAGESIZE);
	hand->rings = mmap(NULL, hand->rings_size, access, kind, -1, 0);
	hand->sqes = mmap(NULL, hand->sqes_size, access, kind, -1, 0);
	ck_assert_ptr_ne(hand->rings, MAP_FAILED);
	ck_assert_ptr_ne(hand->sqes, MAP_FAILED);
	/* user_addr, the last member, has another name in older headers. */
	uint64_t rings = (uintptr_t)hand->rings, sqes = (uintptr_t)hand->sqes;
	memcpy((char *)(&params->cq_off + 1) - sizeof(rings), &rings, sizeof(rings));
	memcpy((char *)(&params->sq_off + 1) - sizeof(sqes), &sqes, sizeof(sqes));
}

static inline void hand_point(struct hand *hand, const struct io_uring_params *params)
{
	struct io_uring_sq *sq = &hand->uring.sq;
	struct io_uring_cq *cq = &hand->uring.cq;
	char *rings = hand->rings;

#define AT(offset) ((void *)(rings + (offset)))
	sq->khead = AT(params->sq_off.head);
	sq->ktail = AT(params->sq_off.tail);
	sq->kring_mask = AT(params->sq_off.ring_mask);
	sq->kring_entries = AT(params->sq_off.ring_entries);
	sq->kflags = AT(params->sq_off.flags);
	sq->kdropped = AT(params->sq_off.dropped);
	cq->khead = AT(params->cq_off.head);
	cq->ktail = AT(params->cq_off.tail);
	cq->kring_mask = AT(params->cq_off.ring_mask);
	cq->kring_entries = AT(params->cq_off.ring_entries);
	cq->kflags = AT(params->cq_off.flags);
	cq->koverflow = AT(params->cq_off.overflow);
	cq->cqes = AT(params->cq_off.cqes);
	if (!(params->flags & IORING_SETUP_NO_SQARRAY)) {
		sq->array = AT(params->sq_off.array);
		for (unsigned i = 0; i < params->sq_entries; i++)
			sq->array[i] = i;
	}
#undef AT
	sq->sqes = hand->sqes;
	sq->ring_ptr = cq->ring_ptr = hand->rings;
	sq->ring_sz = cq->ring_sz = hand->rings_size;
	sq->ring_mask = *sq->kring_mask;
	sq->ring_entries = *sq->kring_entries;
	cq->ring_mask = *cq->kring_mask;
	cq->ring_entries = *cq->kring_entries;
}

/* False: this kernel does not know these flags. */
static inline bool hand_make(struct hand *hand, unsigned entries, unsigned flags)
{
	struct io_uring_params params = {.flags = flags};

	*hand = (struct hand){0};
	if (flags & IORING_SETUP_NO_MMAP)
		hand_lend(hand, &params);
	int fd = (int)syscall(__NR_io_uring_setup, entries, &params);
	if (fd < 0) {
		ck_assert_int_eq(errno, EINVAL);
		if (hand->own_memory) {
			munmap(hand->rings, hand->rings_size);
			munmap(hand->sqes, hand->sqes_size);
		}
		return false;
	}
	hand->uring.flags = params.flags;
	hand->uring.features = params.features;
	hand->uring.ring_fd = hand->uring.enter_ring_fd = fd;
	if (flags & IORING_SETUP_REGISTERED_FD_ONLY) {
		hand->uring.ring_fd = -1;
		hand->uring.int_flags = URING_HAND_REGISTERED_BOTH;
	}
	if (!hand->own_memory)
		hand_map(hand, &params);
	hand_point(hand, &params);
	return true;
}

/* As io_uring_register_ring_fd(3), in the words of one liburing or the other. */
static inline void hand_register(struct hand *hand, unsigned mark)
{
	struct io_uring_rsrc_update update = {.offset = -1U, .data = (unsigned)hand->uring.ring_fd};

	ck_assert_int_eq(
		syscall(__NR_io_uring_register, hand->uring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1),
		1);
	hand->uring.enter_ring_fd = (int)update.offset;
	hand->uring.int_flags = (uint8_t)(hand->uring.int_flags | mark);
}

/* The program's own call, which knows nothing of liburing's marks. */
static inline int hand_enter(struct hand *hand, unsigned min_complete)
{
	struct io_uring_sq *sq = &hand->uring.sq;
	unsigned flags = IORING_ENTER_GETEVENTS;

	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	if (hand->uring.enter_ring_fd != hand->uring.ring_fd)
		flags |= IORING_ENTER_REGISTERED_RING;
	return (int)syscall(__NR_io_uring_enter, hand->uring.enter_ring_fd,
			    sq->sqe_tail - io_uring_smp_load_acquire(sq->khead), min_complete, flags, NULL,
			    0);
}

static inline void hand_end(struct hand *hand)
{
	munmap(hand->rings, hand->rings_size);
	munmap(hand->sqes, hand->sqes_size);
	if (hand->uring.enter_ring_fd != hand->uring.ring_fd) {
		struct io_uring_rsrc_update update = {.offset = (unsigned)hand->uring.enter_ring_fd};
		unsigned index_only = hand->uring.ring_fd < 0 ? 1u << 31 : 0;
		int fd = index_only ? hand->uring.enter_ring_fd : hand->uring.ring_fd;
		ck_assert_int_eq(syscall(__NR_io_uring_register, fd, IORING_UNREGISTER_RING_FDS | index_only,
					 &update, 1),
				 1);
	}
	if (hand->uring.ring_fd >= 0)
		close(hand->uring.ring_fd);
}

#endif
