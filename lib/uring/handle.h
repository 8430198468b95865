/* SPDX-License-Identifier: MIT */
/*
 * How a thread calls io_uring_enter(2) for an io_uring of the library's own, in the cheapest way that the
 * kernel has. Measured on Linux 6.18, for one NOP that is submitted and waited for with a bound, on an
 * ordinary ring: 549 ns by descriptor and with the time as an argument, 504 ns by index, 408 ns by index and
 * with a registered time.
 *
 * The index is one of 16 that each thread has, io_uring_register_ring_fd(3), Linux 5.18. The kernel then
 * looks up no descriptor. No other thread and no forked child can use the index, and the kernel takes it back
 * when the thread ends or calls execve(2).
 *
 * A registered time lies in a page that the kernel keeps mapped, io_uring_register_region(3), Linux 6.13. It
 * can only be registered while the io_uring is disabled, that is, before its first use.
 *
 * What a kernel, RLIMIT_MEMLOCK or the thread has no room for is done without.
 */
#ifndef CTX_HANDLE_H
#define CTX_HANDLE_H

#include "uring.h"

#define URING_ENTER_ABSOLUTE (1U << 5)	 /* IORING_ENTER_ABS_TIMER, Linux 6.12 */
#define URING_ENTER_REGISTERED (1U << 6) /* IORING_ENTER_EXT_ARG_REG, Linux 6.13 */

/* The time of a wait, as the kernel reads it: struct io_uring_reg_wait. */
struct uring_reg_wait {
	struct __kernel_timespec time;
	uint32_t min_wait_us;
	uint32_t flags;
	uint64_t signals;
	uint32_t signals_size;
	uint32_t pad[3];
	uint64_t pad2[2];
};

struct uring_handle {
	int fd;			     /* the descriptor of the io_uring, or its index */
	unsigned flags;		     /* IORING_ENTER_REGISTERED_RING when fd is the index */
	unsigned absolute;	     /* URING_ENTER_ABSOLUTE if the kernel waits until a given time, else 0 */
	struct uring_reg_wait *wait; /* registered, at the start of its page; NULL: there is none */
};

/* The handle for calls by descriptor, or by the index that a program has registered. */
static inline struct uring_handle uring_handle_of(const struct io_uring *uring)
{
	return (struct uring_handle){.fd = uring->enter_ring_fd,
				     .flags = uring_is_registered(uring) ? IORING_ENTER_REGISTERED_RING : 0};
}

/* Whether io_uring_setup(2) is to make io_urings disabled, so that a time can be registered. */
bool uring_handle_wants_disabled(void);

/*
 * Registers a time with uring, which is disabled. Does nothing where that fails. A kernel that does not know
 * it is not asked again.
 */
void uring_handle_register_wait(struct uring_handle *handle, const struct io_uring *uring);

/*
 * Registers the io_uring with the calling thread, which is the only one that uses the handle until
 * uring_handle_unregister. Does nothing where that fails.
 */
void uring_handle_register(struct uring_handle *handle, const struct io_uring *uring);

/* Takes the index back. From here on the handle has the descriptor again, which may be -1. */
void uring_handle_unregister(struct uring_handle *handle, const struct io_uring *uring);

/* The same when the thread that registered the index has ended, and with it the index. */
static inline void uring_handle_forget(struct uring_handle *handle, const struct io_uring *uring)
{
	handle->fd = uring->ring_fd;
	handle->flags = 0;
}

/* Frees the page of the registered time. The io_uring has been closed. */
void uring_handle_free(struct uring_handle *handle);

/* As uring_enter_plain(). */
static inline __attribute__((always_inline)) int uring_handle_enter_plain(const struct uring_handle *handle,
									  unsigned to_submit,
									  unsigned min_complete, bool events)
{
	unsigned flags = (events || min_complete ? IORING_ENTER_GETEVENTS : 0) | handle->flags;

	return sys_uring_enter(handle->fd, to_submit, min_complete, flags, NULL, 0);
}

/* One io_uring_enter(2). Returns the number of entries that the kernel took, or a negative errno. */
int uring_handle_enter(const struct uring_handle *handle, unsigned to_submit, const struct uring_wait *wait);

#endif
