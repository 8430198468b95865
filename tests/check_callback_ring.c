/* SPDX-License-Identifier: MIT */
/* Callbacks that are bound to a ring: they run in its dispatch, whoever ended the context. */
#include <pthread.h>

#include "support/rings.h"

static pthread_t ran_on;
static unsigned runs;

static void note_run(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	ck_assert_int_ne(ctx_err(ctx), 0);
	ck_assert_ptr_eq(data, &runs);
	ran_on = pthread_self();
	runs++;
}

static void await_runs(struct ctx_ring *ring, unsigned count)
{
	for (uint64_t end = clock_now_ns() + SOON; runs < count;) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 100 * MILLISECOND), 0);
		ck_assert_uint_lt(clock_now_ns(), end);
	}
	ck_assert_uint_eq(runs, count);
}

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

START_TEST(it_runs_in_the_dispatch_when_another_thread_cancels)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	pthread_t thread;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs));
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs), -EINVAL);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(runs, 0);
	await_runs(ring, 1);
	ck_assert(pthread_equal(ran_on, pthread_self()));
	ck_assert(!ctx_callback_stop(&callback));
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

START_TEST(it_runs_in_the_dispatch_when_the_owner_cancels_or_the_deadline_passes)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(runs, 0);
	await_runs(ring, 1);
	struct ctx_context *timed = timed_child_of(ctx_background(), 10 * MILLISECOND);
	ck_assert_ok(ctx_callback_add_on_ring(timed, ring, &callbacks[1], note_run, &runs));
	await_runs(ring, 2);
	ck_assert_expired(timed);
	ck_assert(pthread_equal(ran_on, pthread_self()));
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(timed);
}
END_TEST

START_TEST(on_a_done_context_it_runs_in_the_next_dispatch)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs));
	ck_assert_uint_eq(runs, 0);
	await_runs(ring, 1);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_stopped_one_does_not_run)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs));
	ck_assert(ctx_callback_stop(&callbacks[0]));
	ck_assert(!ctx_callback_stop(&callbacks[0]));
	/* Also between the end and the dispatch. */
	ck_assert_ok(ctx_callback_add_on_ring(other, ring, &callbacks[1], note_run, &runs));
	ck_assert_ok(ctx_cancel(other));
	ck_assert(ctx_callback_stop_wait(&callbacks[1]));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(runs, 0);
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(other);
}
END_TEST

START_TEST(a_ring_that_is_closed_drops_it)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs));
	ck_assert_ok(ctx_callback_add_on_ring(other, ring, &callbacks[1], note_run, &runs));
	ck_assert_ok(ctx_cancel(other));
	ring_end(ring);
	unsigned at_close = runs;
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(runs, at_close);
	ctx_callback_stop(&callbacks[0]);
	ctx_callback_stop(&callbacks[1]);
	ctx_finish(ctx);
	ctx_finish(other);
}
END_TEST

static struct ctx_context *next;
static struct ctx_ring *here;

static void add_again(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	note_run(callback, ctx, data);
	if (runs < 5)
		ck_assert_ok(ctx_callback_add_on_ring(next, here, callback, add_again, data));
}

START_TEST(it_can_be_added_again_inside_itself)
{
	struct ctx_callback callback = {0};

	here = ring_of(_i);
	next = child_of(ctx_background());
	ck_assert_ok(ctx_callback_add_on_ring(next, here, &callback, add_again, &runs));
	ck_assert_ok(ctx_cancel(next));
	await_runs(here, 5);
	ring_end(here);
	ctx_finish(next);
}
END_TEST

START_TEST(null_arguments_are_refused)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_callback callback = {0};

	ck_assert_int_eq(ctx_callback_add_on_ring(NULL, ring, &callback, note_run, NULL), -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), NULL, &callback, note_run, NULL),
			 -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), ring, NULL, note_run, NULL), -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), ring, &callback, NULL, NULL), -EINVAL);
	ring_end(ring);
}
END_TEST

/* A thread that waits in a run is woken by it. */
START_TEST(it_wakes_a_waiting_dispatch)
{
	struct ctx_ring *ring = ring_of(_i);

	for (unsigned i = 0; i < test_scaled(300); i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		struct ctx_callback callback = {0};
		pthread_t thread;
		ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs));
		ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
		while (runs == i)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		ck_assert_uint_eq(runs, i + 1);
		ck_assert_ok(pthread_join(thread, NULL));
		ctx_finish(ctx);
	}
	ring_end(ring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("callback_ring");
	TCase *bound = test_case_ring(suite, "bound");

	ON_EACH_RING(bound, it_runs_in_the_dispatch_when_another_thread_cancels);
	ON_EACH_RING(bound, it_runs_in_the_dispatch_when_the_owner_cancels_or_the_deadline_passes);
	ON_EACH_RING(bound, on_a_done_context_it_runs_in_the_next_dispatch);
	ON_EACH_RING(bound, a_stopped_one_does_not_run);
	ON_EACH_RING(bound, a_ring_that_is_closed_drops_it);
	ON_EACH_RING(bound, it_can_be_added_again_inside_itself);
	ON_EACH_RING(bound, null_arguments_are_refused);
	ON_EACH_RING(bound, it_wakes_a_waiting_dispatch);
	return suite;
}
