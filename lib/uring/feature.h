/* SPDX-License-Identifier: MIT */
/*
 * lib/uring: what a ring stands on, without contexts: the kernel, its queues, operations and plans. It may use base.
 *
 * What the kernel can do beyond the least that the library needs. Found by use, never by version number.
 * CTXRING_FEATURES in the environment refuses what the kernel could do, so that each way around a missing
 * feature can be tested on a kernel that has it. The one table of names is in feature.c.
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
	FEATURE_COOP_TASKRUN,
	FEATURE_SINGLE_ISSUER,
	FEATURE_DEFER_TASKRUN,
	FEATURE_RW_NOWAIT,
	FEATURE_WAITID,
	FEATURE_ACCEPT_NOWAIT,
	FEATURE_KEPT_BUFFERS,
	FEATURE_EPOLL_WAIT,
	FEATURE_UNIX_INQ,
	FEATURE_COUNT
};

/* What a ring's kernel can do. */
struct features {
	bool skip_success;   /* IOSQE_CQE_SKIP_SUCCESS */
	bool timed_wait;     /* IORING_ENTER_EXT_ARG */
	bool multishot_poll; /* found out when the first one is armed */
	bool refuse_rw_nowait, refuse_accept_nowait;
};

/* False when the environment refuses it; whether the kernel has it is for the caller to try. Reads the
 * environment, so not for hot paths. */
bool feature_allowed(enum feature feature);

/* False when the environment refuses one of these flags of io_uring_setup(2). */
bool features_allow_setup(unsigned setup_flags);

/* True when CTXRING_FEATURES says park-check: parking rings look whether a descriptor is still the same file.
 */
bool features_park_check(void);

/* Whether requests to wait for an epoll set are known here: asked of the kernel once in a process. */
bool feature_has_epoll_wait(int ring_fd);

void features_probe(const struct io_uring *uring, struct features *ret_features);

/* What takes the place of RWF_NOWAIT for fd while the environment refuses that: the kernel answers as one
 * that does not know it. */
int feature_refused_rw_nowait(int fd);

/* The flag of a read or write of fd that does not wait, -EOPNOTSUPP answers it where there is no such: once
 * for a ring, and for calls without one. */
static inline int feature_rw_nowait(const struct features *features, int fd)
{
	return __builtin_expect(features->refuse_rw_nowait, 0) ? feature_refused_rw_nowait(fd) : RWF_NOWAIT;
}

static inline int feature_of_rw_nowait(int fd)
{
	return feature_allowed(FEATURE_RW_NOWAIT) ? RWF_NOWAIT : feature_refused_rw_nowait(fd);
}

/* The flag of an accept that does not wait. -EINVAL answers it where there is no such. */
static inline uint16_t feature_accept_nowait(const struct features *features)
{
	const uint16_t unknown = 1U << 15; /* to every kernel */

	return __builtin_expect(features->refuse_accept_nowait, 0) ? unknown : IORING_ACCEPT_DONTWAIT;
}

#endif
