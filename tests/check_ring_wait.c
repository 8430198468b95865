/* SPDX-License-Identifier: MIT */
/* Waiting on a ring: runs, wakes from other threads, and the descriptor for other event loops. */
#include <pthread.h>
#include <sys/epoll.h>

#include "support/rings.h"

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

static void cancel_from_thread(struct ctx_context *ctx)
{
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
	ck_assert_ok(pthread_join(thread, NULL));
}

START_TEST(a_dispatch_waits_no_longer_than_asked)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	uint64_t before = clock_now_ns();
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 20 * MILLISECOND), 0);
	ck_assert_uint_ge(clock_now_ns() - before, 20 * MILLISECOND);
	ck_assert_uint_eq(probe.finals, 0);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_run_ends_when_nothing_is_left)
{
	struct ctx_ring *ring = ring_of(_i);
	struct __kernel_timespec time = {.tv_nsec = 5000000};
	struct probe probes[3];

	ck_assert_ok(ctx_ring_run(ring, NULL));
	io_uring_prep_nop(probe_start(ring, ctx_background(), &probes[0]));
	io_uring_prep_timeout(probe_start(ring, ctx_background(), &probes[1]), &time, 0, 0);
	io_uring_prep_nop(probe_start(ring, ctx_background(), &probes[2]));
	ck_assert_ok(ctx_ring_run(ring, NULL));
	ck_assert_probe(&probes[0], 0, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], -ETIME, CTX_OP_FINISHED);
	ck_assert_probe(&probes[2], 0, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

static void *cancel_after_spin(void *ctx)
{
	unsigned seed = 1;

	spin(&seed, 2000000);
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

START_TEST(a_run_ends_with_its_context_whoever_ends_it)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *by_thread = child_of(ctx_background()),
			   *by_deadline = timed_child_of(ctx_background(), 10 * MILLISECOND);
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, cancel_after_spin, by_thread));
	ck_assert_ok(ctx_ring_run(ring, by_thread));
	ck_assert_cancelled(by_thread);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(ctx_ring_run(ring, by_deadline));
	ck_assert_expired(by_deadline);
	ck_assert_ok(ctx_ring_run(ring, by_deadline));
	ring_end(ring);
	ctx_finish(by_thread);
	ctx_finish(by_deadline);
}
END_TEST

START_TEST(an_owner_that_computes_finds_the_cancel_when_it_comes_back)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	cancel_from_thread(ctx);
	ck_assert_cancelled(ctx);
	ck_assert_uint_eq(probe.finals, 0);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* The wake of a closed ring reaches nobody, least of all a stranger who got its descriptors' numbers. */
START_TEST(a_cancel_after_close_writes_to_no_stranger)
{
	for (int i = 0; i < 50; i++) {
		struct ctx_ring *ring = ring_of(_i);
		struct ctx_context *ctx = child_of(ctx_background());
		struct probe probe;
		struct pair pairs[4];
		io_uring_prep_nop(probe_start(ring, ctx, &probe));
		await_probes(ring, &probe, 1);
		ring_end(ring);
		for (int n = 0; n < 4; n++)
			pairs[n] = pair_new();
		cancel_from_thread(ctx);
		for (int n = 0; n < 4; n++) {
			struct pollfd fds[] = {{.fd = pairs[n].near, .events = POLLIN},
					       {.fd = pairs[n].far, .events = POLLIN}};
			ck_assert_int_eq(poll(fds, 2, 0), 0);
			pair_end(pairs[n]);
		}
		ctx_finish(ctx);
	}
}
END_TEST

/* ---- the descriptor */

static bool ready_within(int fd, int timeout_ms)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	int count = poll(&entry, 1, timeout_ms);

	ck_assert_int_ge(count, 0);
	return count == 1;
}

/* An epoll instance in an epoll instance, as outer loops do. */
static int nested(int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int outer = epoll_create1(EPOLL_CLOEXEC);

	ck_assert_ok(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event));
	return outer;
}

/* Dispatches until the descriptor is quiet for so long. */
static void settle_for(struct ctx_ring *ring, int fd, int quiet_ms)
{
	for (int i = 0; ready_within(fd, quiet_ms); i++) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		ck_assert_int_lt(i, 100);
	}
}

static void settle(struct ctx_ring *ring, int fd)
{
	settle_for(ring, fd, 0);
}

START_TEST(the_descriptor_is_ready_when_a_dispatch_has_something_to_do)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *timed;
	struct pair pair = pair_new();
	struct probe probes[4];
	char sink[8];
	int fd = ctx_ring_fd(ring), outer = nested(fd);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ctx_ring_fd(ring), fd);
	settle(ring, outer);

	/* a completion of the kernel's */
	probe_recv(ring, ctx, &probes[0], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	/* An attempt was in vain. What the kernel signals from within the wake-up of an eventfd it defers
	 * until RCU lets it: that comes when the dispatch has long been. */
	if (parks(_i))
		settle_for(ring, outer, 100);
	ck_assert(!ready_within(outer, 20));
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	ck_assert(ready_within(outer, 30000));
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 1);
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	settle(ring, outer);

	/* one that completes inline, in submit */
	io_uring_prep_nop(probe_start(ring, ctx, &probes[1]));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert(ready_within(outer, 30000));
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 1);
	settle(ring, outer);

	/* a cancel by another thread */
	probe_recv(ring, ctx, &probes[2], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	cancel_from_thread(ctx);
	while (!probes[2].finals) {
		ck_assert(ready_within(outer, 30000));
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_CANCELLED);
	settle(ring, outer);

	/* a refusal, that never was in the kernel's queue */
	io_uring_prep_nop(probe_start(ring, ctx, &probes[3]));
	ck_assert_int_eq(ctx_ring_submit(ring), 0);
	ck_assert(ready_within(outer, 30000));
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 1);
	ck_assert_probe(&probes[3], -ECANCELED, CTX_OP_CANCELLED);
	settle(ring, outer);

	/* a deadline */
	timed = timed_child_of(ctx_background(), 10 * MILLISECOND);
	probe_recv(ring, timed, &probes[0], pair.near, sink, sizeof(sink));
	ck_assert_int_ge(ctx_ring_submit(ring), 0); /* on a busy machine the deadline may be first */
	while (!probes[0].finals) {
		ck_assert(ready_within(outer, 30000));
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_DEADLINE);
	close(outer);
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(timed);
	pair_end(pair);
}
END_TEST

START_TEST(the_descriptor_is_ready_after_a_cancel_by_the_owner)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe, staged;
	char sink[8];
	int fd = ctx_ring_fd(ring);

	settle(ring, fd);
	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	io_uring_prep_nop(probe_start(ring, ctx, &staged));
	ck_assert_ok(ctx_cancel(ctx));
	while (!probe.finals || !staged.finals) {
		ck_assert(ready_within(fd, 30000));
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&staged, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* What a drain has taken out of the kernel's queue is announced all the same. */
START_TEST(the_descriptor_is_ready_for_what_a_drain_has_kept)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];
	int fd = ctx_ring_fd(ring);

	settle(ring, fd);
	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	ck_assert(ready_within(fd, 30000));
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("ring_wait");
	TCase *waits = test_case_ring(suite, "waits"), *descriptor = test_case_ring(suite, "descriptor");

	ON_EACH_RING(waits, a_dispatch_waits_no_longer_than_asked);
	ON_EACH_RING(waits, a_run_ends_when_nothing_is_left);
	ON_EACH_RING(waits, a_run_ends_with_its_context_whoever_ends_it);
	ON_EACH_RING(waits, an_owner_that_computes_finds_the_cancel_when_it_comes_back);
	ON_EACH_RING(waits, a_cancel_after_close_writes_to_no_stranger);
	ON_EACH_RING(descriptor, the_descriptor_is_ready_when_a_dispatch_has_something_to_do);
	ON_EACH_RING(descriptor, the_descriptor_is_ready_after_a_cancel_by_the_owner);
	ON_EACH_RING(descriptor, the_descriptor_is_ready_for_what_a_drain_has_kept);
	return suite;
}
