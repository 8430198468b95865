/* SPDX-License-Identifier: MIT */
/*
 * lib/uring: io_uring without contexts: what the kernel can do, its queues, operations, and the order of
 * cancels. It may use base.
 *
 * Features: what a kernel can do beyond the least that the library needs. They are found by trying, never by
 * version number. The environment variable CTXRING_FEATURES refuses features that the kernel has, so that the
 * way around a missing feature can be tested on any kernel. The table of their names is in feature.c.
 */
#ifndef CTX_FEATURE_H
#define CTX_FEATURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef IORING_ACCEPT_DONTWAIT
#define IORING_ACCEPT_DONTWAIT (1U << 1) /* Linux 6.10 */
#endif

struct io_uring;

enum feature {
	FEATURE_TIMED_WAIT,
	FEATURE_MULTISHOT_POLL,
	FEATURE_CGROUP_KILL,
	FEATURE_SKIP_SUCCESS,
	FEATURE_SUBMIT_ALL,
	FEATURE_REGISTERED_RING,
	FEATURE_COOP_TASKRUN,
	FEATURE_SINGLE_ISSUER,
	FEATURE_DEFER_TASKRUN,
	FEATURE_RW_NOWAIT,
	FEATURE_WAITID,
	FEATURE_ACCEPT_NOWAIT,
	FEATURE_KEPT_BUFFERS,
	FEATURE_ABSOLUTE_WAIT,
	FEATURE_REGISTERED_WAIT,
	FEATURE_EPOLL_WAIT,
	FEATURE_UNIX_INQ,
	FEATURE_COUNT
};

/* What a ring's kernel can do. */
struct features {
	bool skip_success;   /* IOSQE_CQE_SKIP_SUCCESS */
	bool timed_wait;     /* IORING_ENTER_EXT_ARG */
	bool multishot_poll; /* false after the kernel has refused the first one */
	bool refuse_rw_nowait, refuse_accept_nowait;
};

/* False when the environment refuses the feature. Whether the kernel has it is for the caller to try. Reads
 * the environment, so it is not for hot paths. */
bool feature_allowed(enum feature feature);

/* False when the environment refuses one of these flags of io_uring_setup(2). */
bool features_allow_setup(unsigned setup_flags);

/* True when CTXRING_FEATURES has park-check: parking rings then check that a descriptor is still the same
 * file. */
bool features_park_check(void);

/* True when the kernel knows IORING_OP_EPOLL_WAIT, and the environment allows it. The kernel is asked once in
 * a process. */
bool feature_has_epoll_wait(int ring_fd);

/*
 * False in a time namespace, time_namespaces(7): io_uring takes an absolute time for one of the host's clock,
 * which is another (Linux 6.18). Times are given as durations there.
 */
bool feature_has_absolute_times(void);

/* Fills in which features this ring's kernel has. */
void features_probe(const struct io_uring *uring, struct features *ret_features);

/* The flag that is used for fd instead of RWF_NOWAIT while the environment refuses that: the kernel answers
 * it as a kernel without RWF_NOWAIT would. */
int feature_refused_rw_nowait(int fd);

/* The flag for a read or write of fd that does not wait. The kernel answers -EOPNOTSUPP where fd or the
 * kernel cannot. The first function is for operations of a ring, the second for system calls. */
static inline int feature_rw_nowait(const struct features *features, int fd)
{
	return __builtin_expect(features->refuse_rw_nowait, 0) ? feature_refused_rw_nowait(fd) : RWF_NOWAIT;
}

static inline int feature_of_rw_nowait(int fd)
{
	return feature_allowed(FEATURE_RW_NOWAIT) ? RWF_NOWAIT : feature_refused_rw_nowait(fd);
}

/* The flag for an accept that does not wait. The kernel answers -EINVAL where it does not know it. */
static inline uint16_t feature_accept_nowait(const struct features *features)
{
	const uint16_t unknown = 1U << 15; /* to every kernel */

	return __builtin_expect(features->refuse_accept_nowait, 0) ? unknown : IORING_ACCEPT_DONTWAIT;
}

#endif
