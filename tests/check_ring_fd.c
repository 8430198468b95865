/* SPDX-License-Identifier: MIT */
/*
 * ctx_ring_fd in the loop of somebody else, for a long time: what a kernel announces once must be announced
 * the second time as well.
 */
#include <poll.h>
#include <pthread.h>

#include "support/rings.h"

#define ROUNDS 5

static bool is_ready(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* As the loop does: a dispatch whenever it is told of something, and none otherwise. */
static void settle(struct ctx_ring *ring, int fd)
{
	while (is_ready(fd, 20))
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
}

static void await_told(struct ctx_ring *ring, int fd, struct probe *probe)
{
	while (!probe->finals) {
		ck_assert(is_ready(fd, 20000));
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
}

static void *cancel(void *ctx)
{
	ctx_cancel(ctx);
	return NULL;
}

START_TEST(each_completion_is_told_of)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	int fd = ctx_ring_fd(ring);
	struct probe probe;
	char byte;

	for (int i = 0; i < ROUNDS; i++) {
		probe_recv(ring, ctx_background(), &probe, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		settle(ring, fd);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_told(ring, fd, &probe);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* Between completions other threads wake the ring, by a write to its eventfd. */
START_TEST(each_cancel_by_another_thread_is_told_of)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	int fd = ctx_ring_fd(ring);
	struct probe probe, other;
	pthread_t thread;
	char byte;

	for (int i = 0; i < ROUNDS; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		probe_recv(ring, ctx, &probe, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		settle(ring, fd);
		ck_assert_ok(pthread_create(&thread, NULL, cancel, ctx));
		ck_assert_ok(pthread_join(thread, NULL));
		await_told(ring, fd, &probe);
		ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
		ctx_unref(ctx);

		probe_recv(ring, ctx_background(), &other, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		settle(ring, fd);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_told(ring, fd, &other);
		ck_assert_probe(&other, 1, CTX_OP_FINISHED);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("ring_fd");
	TCase *loop = test_case_ring(suite, "loop");

	ON_EACH_RING(loop, each_completion_is_told_of);
	ON_EACH_RING(loop, each_cancel_by_another_thread_is_told_of);
	return suite;
}
