/* SPDX-License-Identifier: MIT */
/* Rings of both kinds, and operations that count their completions. */
#ifndef TEST_RINGS_H
#define TEST_RINGS_H

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/contexts.h"

/* What the loop variable of a test over all kinds of rings stands for. */
enum ring_kind {
	RING_ORDINARY,
	RING_PARKING,
	RING_DEFER,
	RING_PARKING_DEFER,
	RING_KINDS
};

/*
 * Of the kinds those that a pass uses, from first on and before end. Without optional features there are only
 * the first two; AddressSanitizer, which takes its time, has one that parks and one that defers.
 */
static inline int ring_kind_first(void)
{
	return test_mode() == TEST_ASAN ? RING_PARKING : RING_ORDINARY;
}

static inline int ring_kind_end(void)
{
	return test_mode() == TEST_PLAIN  ? RING_DEFER
	       : test_mode() == TEST_ASAN ? RING_PARKING_DEFER
					  : RING_KINDS;
}

/* Runs test once for each kind of ring, which is _i in it. */
#define ON_EACH_RING(test_case, test) tcase_add_loop_test(test_case, test, ring_kind_first(), ring_kind_end())

/* What it stands for in a test of those that park: 0 an ordinary ring, 1 one with DEFER_TASKRUN. */
static inline int parking_kind(int i)
{
	return i % 2 ? RING_PARKING_DEFER : RING_PARKING;
}

#define ON_EACH_PARKING(test_case, test) \
	tcase_add_loop_test(test_case, test, 0, test_mode() == TEST_PLAIN ? 1 : 2)

/* Long enough for anything that must happen. */
#define SOON (30 * NS_PER_SECOND)

static inline unsigned setup_flags_of(int kind)
{
	return kind == RING_DEFER || kind == RING_PARKING_DEFER
		       ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
		       : 0;
}

static inline bool parks(int kind)
{
	return kind == RING_PARKING || kind == RING_PARKING_DEFER;
}

/* Of so many operations that wait on sockets, those that a ring of this kind has given to the kernel. */
static inline unsigned in_kernel(int kind, unsigned waiting)
{
	return parks(kind) ? 0 : waiting;
}

/* A ring of this kind; options may be NULL, of those given setup_flags is set here. */
static inline struct ctx_ring *ring_with(int kind, unsigned entries, const struct ctx_ring_options *options)
{
	struct ctx_ring_options all = {0};
	struct ctx_ring *ring = NULL;

	if (options)
		all = *options;
	all.setup_flags |= setup_flags_of(kind);
	all.flags |= parks(kind) ? CTX_RING_PARK : 0;
	ck_assert_ok(ctx_ring_open(entries, &all, &ring));
	ck_assert_ptr_nonnull(ring);
	return ring;
}

static inline struct ctx_ring *ring_of(int kind)
{
	return ring_with(kind, 64, NULL);
}

static inline void ring_end(struct ctx_ring *ring)
{
	unsigned stuck = 0;

	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, &stuck));
	ck_assert_uint_eq(stuck, 0);
}

/* An operation and what came of it. */
struct probe {
	struct ctx_op op;
	unsigned finals, mores;
	struct ctx_completion last; /* the last of them */
};

static inline void probe_count(struct ctx_ring *ring, struct ctx_op *op,
			       const struct ctx_completion *completion)
{
	struct probe *probe = (struct probe *)op;

	(void)ring;
	probe->last = *completion;
	if (completion->more)
		probe->mores++;
	else
		probe->finals++;
}

static inline struct io_uring_sqe *probe_start(struct ctx_ring *ring, const struct ctx_context *ctx,
					       struct probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	ctx_op_init(&probe->op, probe_count, 0);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, ctx, &probe->op);
	ck_assert_ptr_nonnull(sqe);
	return sqe;
}

static inline void probe_recv(struct ctx_ring *ring, const struct ctx_context *ctx, struct probe *probe,
			      int fd, void *buffer, size_t size)
{
	io_uring_prep_recv(probe_start(ring, ctx, probe), fd, buffer, size, 0);
}

/* Dispatches until all of count probes have ended, each once. */
static inline void await_probes(struct ctx_ring *ring, struct probe *probes, unsigned count)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	for (unsigned i = 0; i < count; i++)
		while (!probes[i].finals) {
			int delivered = ctx_ring_dispatch(ring, 100 * MILLISECOND);
			if (delivered != -EINTR && delivered != -EBUSY && delivered != -EAGAIN)
				ck_assert_int_ge(delivered, 0);
			ck_assert_msg(clock_now_ns() < end_ns, "operation %u of %u never ended", i, count);
		}
	for (unsigned i = 0; i < count; i++)
		ck_assert_uint_eq(probes[i].finals, 1);
}

static inline void ck_assert_probe(const struct probe *probe, int res, enum ctx_op_end end)
{
	ck_assert_uint_eq(probe->finals, 1);
	ck_assert_int_eq(probe->last.res, res);
	ck_assert_int_eq(probe->last.end, end);
}

/* Submits, and lets first attempts fail. */
static inline void park(struct ctx_ring *ring, int operations)
{
	ck_assert_int_eq(ctx_ring_submit(ring), operations);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
}

struct pair {
	int near, far;
};

static inline struct pair pair_new(void)
{
	int fds[2];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	return (struct pair){fds[0], fds[1]};
}

static inline void pair_end(struct pair pair)
{
	close(pair.near);
	close(pair.far);
}

static inline struct pair pipe_new(void)
{
	int fds[2];

	ck_assert_ok(pipe2(fds, O_CLOEXEC));
	return (struct pair){fds[0], fds[1]};
}

/* As many descriptors as this user may have. */
static inline void raise_descriptor_limit(void)
{
	struct rlimit limit;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

/* Two ends of a TCP connection over loopback. */
static inline struct pair tcp_new(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pair pair;

	ck_assert_ok(bind(listener, (struct sockaddr *)&address, size));
	ck_assert_ok(listen(listener, 1));
	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &size));
	pair.near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(connect(pair.near, (struct sockaddr *)&address, size));
	pair.far = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(pair.far, 0);
	close(listener);
	return pair;
}

/* True when the kernel knows the operation; the ring has been used. */
static inline bool kernel_has(struct ctx_ring *ring, int opcode)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ctx_ring_uring(ring));
	bool has = probe && opcode <= probe->last_op && (probe->ops[opcode].flags & IO_URING_OP_SUPPORTED);

	io_uring_free_probe(probe);
	return has;
}

/* Burns a random while of up to turns loops; for races. */
static inline void spin(unsigned *seed, unsigned turns)
{
	*seed = *seed * 1103515245u + 12345u;
	for (volatile unsigned i = (*seed >> 8) % (turns + 1); i; i--)
		;
}

#endif
