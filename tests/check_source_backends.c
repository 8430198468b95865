/* SPDX-License-Identifier: MIT */
/* What waits for the events that end contexts: the poller and its worker, rings, adopted rings, and other
 * people's loops; and what their callbacks and forks see. */
#include <pthread.h>

#include "poller.h"
#include "support/sources.h"

/* Under ThreadSanitizer only the poller's: see backends_here(). */
TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- callbacks, forks */

static void note_thread(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	__atomic_store_n((pid_t *)data, gettid(), __ATOMIC_RELEASE);
}

static bool is_noted(void *data)
{
	return __atomic_load_n((pid_t *)data, __ATOMIC_ACQUIRE) != 0;
}

/* On a ring in its dispatch; else on the worker, so that a slow one delays no other event. */
START_TEST(callbacks_run_in_the_dispatch_or_on_the_worker)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct ctx_callback callback = {0};
	pid_t where = 0;

	ck_assert_ok(ctx_callback_add(ctx, &callback, note_thread, &where, NULL));
	close(pair.far);
	await_end(ring, ctx);
	ck_assert(test_until(is_noted, &where));
	if (ring)
		ck_assert_int_eq(where, gettid());
	else
		ck_assert_int_ne(where, gettid());
	ctx_finish(ctx);
	close(pair.near);
	backend_end(ring);
}
END_TEST

struct forked {
	struct ctx_context *ctx;
	struct pair pair;
};

static int watch_anew(void *data)
{
	struct forked *forked = data;
	struct pair pair = pair_new();
	struct ctx_context *ctx;

	if (ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &ctx))
		return 1;
	close(pair.far);
	if (ctx_wait(ctx, SOON))
		return 2;
	/* The inherited one is watched by nobody, and goes without touching the parent's. */
	if (ctx_err(forked->ctx))
		return 3;
	ctx_finish(forked->ctx);
	ctx_finish(ctx);
	close(forked->pair.far);
	return 0;
}

START_TEST(a_forked_child_has_a_poller_of_its_own)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct forked forked = {.pair = pair_new()};

	forked.ctx = hangup_of(ring, forked.pair.near, 0);
	/* The library's threads have come to rest: AddressSanitizer's allocator may be locked by one that
	 * starts. */
	struct ctx_context *timed = timed_child_of(ctx_background(), MILLISECOND);
	ck_assert_ok(ctx_wait(timed, SOON));
	ctx_finish(timed);
	handle_what_came(ring);
	ck_assert_int_eq(test_in_child(watch_anew, &forked), 0);
	handle_what_came(ring);
	ck_assert_live(forked.ctx);
	close(forked.pair.far);
	await_end(ring, forked.ctx);
	ctx_finish(forked.ctx);
	close(forked.pair.near);
	backend_end(ring);
}
END_TEST

static void nothing_gone(struct poller_entry *watched)
{
	(void)watched;
}

static void nothing_ready(struct poller_entry *watched, uint32_t events)
{
	(void)watched;
	(void)events;
}

static int stop_twice(void *data)
{
	struct poller_entry *watched = data;

	/* Who gets true frees it: that is one. */
	return poller_stop(watched) && !poller_stop(watched) ? 0 : 1;
}

/* Goal: a cancel in one thread of a forked child and a release in another do not both free the source. */
START_TEST(an_inherited_watch_is_stopped_by_one)
{
	struct pair pair = pair_new();
	struct poller_entry watched = {
		.fd = pair.near, .events = POLLIN, .ready = nothing_ready, .gone = nothing_gone};

	ck_assert_ok(poller_add(&watched));
	ck_assert_int_eq(test_in_child(stop_twice, &watched), 0);
	ck_assert(poller_stop(&watched));
	ck_assert(!poller_stop(&watched));
	pair_end(pair);
}
END_TEST

/* ---- rings: the poll is no operation of the program's */

START_TEST(a_ring_counts_drains_and_runs_as_if_there_were_no_watch)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);

	ck_assert_uint_eq(test_count_operations(), 0);
	ck_assert_ok(ctx_ring_run(ring, NULL));
	ck_assert_ok(ctx_ring_drain(ring, ctx, 0, NULL, 0, NULL));
	ck_assert_ok(ctx_ring_drain(ring, ctx_background(), 0, NULL, 0, NULL));
	ck_assert_live(ctx);
	ring_end(ring);
	/* Nobody watches it any more. */
	close(pair.far);
	ck_assert_live(ctx);
	ck_assert_ok(ctx_cancel(ctx));
	ctx_unref(ctx);
	close(pair.near);
}
END_TEST

/* An event that draining meets is kept for the next dispatch: drain calls nobody. */
START_TEST(draining_ends_no_context)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new(), busy = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct probe probe;
	char sink[1];

	probe_recv(ring, ctx_background(), &probe, busy.near, sink, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	close(pair.far);
	ck_assert_int_eq(ctx_ring_drain(ring, ctx_background(), 20 * MILLISECOND, NULL, 0, NULL), -ETIMEDOUT);
	ck_assert_live(ctx);
	await_end(ring, ctx);
	ck_assert_int_eq(write(busy.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ctx_finish(ctx);
	ring_end(ring);
	pair_end(busy);
	close(pair.near);
}
END_TEST

START_TEST(a_run_until_a_source_ends_with_it)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct probe probe;
	char sink[1];

	probe_recv(ring, ctx, &probe, pair.near, sink, 1);
	ck_assert_ok(shutdown(pair.far, SHUT_RD));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	close(pair.far);
	ck_assert_ok(ctx_ring_run(ring, ctx));
	await_probes(ring, &probe, 1);
	ck_assert_cancelled(ctx);
	ctx_finish(ctx);
	ring_end(ring);
	close(pair.near);
}
END_TEST

static void *make_here(void *ring)
{
	struct ctx_context *ctx;
	struct pair pair = pair_new();
	intptr_t result = ctx_with_hangup(ctx_background(), ring, pair.near, 0, NULL, &ctx);

	pair_end(pair);
	return (void *)result;
}

START_TEST(only_the_owner_makes_one_on_a_ring)
{
	struct ctx_ring *ring = ring_of(_i);
	pthread_t thread;
	void *result;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(pthread_create(&thread, NULL, make_here, ring));
	pthread_join(thread, &result);
	ck_assert_int_eq((intptr_t)result, -EPERM);
	ring_end(ring);
}
END_TEST

/* More than the queue has room for, and more than one table of polls. */
START_TEST(many_on_a_small_ring)
{
	struct ctx_ring *ring = ring_with(_i, 2, NULL);
	struct ctx_context *contexts[100];
	struct pair pairs[100];

	for (int i = 0; i < 100; i++) {
		pairs[i] = pair_new();
		contexts[i] = hangup_of(ring, pairs[i].near, 0);
	}
	for (int i = 0; i < 100; i++)
		close(pairs[i].far);
	for (int i = 0; i < 100; i++)
		await_end(ring, contexts[i]);
	for (int i = 0; i < 100; i++) {
		ctx_finish(contexts[i]);
		close(pairs[i].near);
	}
	ring_end(ring);
}
END_TEST

/* ---- adopted rings and other people's loops */

START_TEST(in_an_adopted_ring_the_watch_is_internal)
{
	struct io_uring uring;
	struct ctx_ring *ring;
	struct pair pair = pair_new(), idle = pair_new();
	struct io_uring_cqe *cqe;

	ck_assert_ok(io_uring_queue_init(8, &uring, setup_flags_of(_i)));
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &ring));
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0), *released = hangup_of(ring, idle.near, 0);
	close(pair.far);
	while (!ctx_err(ctx)) {
		ck_assert_ok(io_uring_wait_cqe(&uring, &cqe));
		ck_assert_int_eq(ctx_ring_filter(ring, cqe, NULL, NULL), CTX_FILTER_INTERNAL);
		io_uring_cqe_seen(&uring, cqe);
	}
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_HANGUP);
	/* A loop that waits for completions learns of the release, and lets the file go. */
	ctx_unref(released);
	close(idle.near);
	struct pollfd poll_fd = {.fd = idle.far, .events = POLLIN};
	uint64_t end_ns = clock_now_ns() + SOON;
	while (poll(&poll_fd, 1, 0) == 0) {
		struct __kernel_timespec moment = {.tv_nsec = MILLISECOND};
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		if (io_uring_wait_cqe_timeout(&uring, &cqe, &moment))
			continue;
		ck_assert_int_eq(ctx_ring_filter(ring, cqe, NULL, NULL) == CTX_FILTER_OP, 0);
		io_uring_cqe_seen(&uring, cqe);
	}
	struct ctx_context *left = hangup_of(ring, idle.far, 0);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	/* Nothing of ours is left in it: what comes is the program's. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
	io_uring_prep_nop(sqe);
	sqe->user_data = 1;
	ck_assert_int_eq(io_uring_submit_and_wait(&uring, 1), 1);
	unsigned head, ours = 0;
	io_uring_for_each_cqe(&uring, head, cqe) ours += cqe->user_data >> 48 == 0xc781;
	ck_assert_uint_eq(ours, 0);
	io_uring_queue_exit(&uring);
	ctx_finish(left);
	ctx_finish(ctx);
	close(pair.near);
	close(idle.far);
}
END_TEST

START_TEST(an_outer_loop_is_woken_by_the_event)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct pollfd poll_fd = {.fd = ctx_ring_fd(ring), .events = POLLIN};
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);

	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	close(pair.far);
	while (!ctx_err(ctx)) {
		ck_assert_int_eq(poll(&poll_fd, 1, 30000), 1);
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	ctx_finish(ctx);
	ring_end(ring);
	close(pair.near);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("source_backends");
	TCase *tests = source_case(suite, "everywhere");

	ON_EACH_BACKEND(tests, callbacks_run_in_the_dispatch_or_on_the_worker);
	ON_EACH_BACKEND(tests, a_forked_child_has_a_poller_of_its_own);
	tcase_add_test(tests, an_inherited_watch_is_stopped_by_one);
	if (test_mode() == TEST_TSAN)
		return suite;
	TCase *rings = test_case_ring(suite, "rings");
	tcase_add_checked_fixture(rings, warm_poller, NULL);
	ON_EACH_RING(rings, a_ring_counts_drains_and_runs_as_if_there_were_no_watch);
	ON_EACH_RING(rings, draining_ends_no_context);
	ON_EACH_RING(rings, a_run_until_a_source_ends_with_it);
	ON_EACH_RING(rings, only_the_owner_makes_one_on_a_ring);
	ON_EACH_RING(rings, many_on_a_small_ring);
	ON_EACH_RING(rings, in_an_adopted_ring_the_watch_is_internal);
	ON_EACH_RING(rings, an_outer_loop_is_woken_by_the_event);
	return suite;
}
