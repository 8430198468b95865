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
	uint64_t id;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, &id));
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, NULL), -EINVAL);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(runs, 0);
	await_runs(ring, 1);
	ck_assert(pthread_equal(ran_on, pthread_self()));
	ck_assert(!ctx_callback_stop(id));
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

START_TEST(it_runs_in_the_dispatch_when_the_owner_cancels_or_the_deadline_passes)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs, NULL));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(runs, 0);
	await_runs(ring, 1);
	struct ctx_context *timed = timed_child_of(ctx_background(), 10 * MILLISECOND);
	ck_assert_ok(ctx_callback_add_on_ring(timed, ring, &callbacks[1], note_run, &runs, NULL));
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
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, NULL));
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
	uint64_t ids[2];

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs, &ids[0]));
	ck_assert(ctx_callback_stop(ids[0]));
	ck_assert(!ctx_callback_stop(ids[0]));
	/* Also between the end and the dispatch. */
	ck_assert_ok(ctx_callback_add_on_ring(other, ring, &callbacks[1], note_run, &runs, &ids[1]));
	ck_assert_ok(ctx_cancel(other));
	ck_assert(ctx_callback_stop_wait(ids[1]));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(runs, 0);
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(other);
}
END_TEST

START_TEST(on_a_ring_that_is_closed_it_never_runs_and_can_be_stopped)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};
	uint64_t ids[2];

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs, &ids[0]));
	ck_assert_ok(ctx_callback_add_on_ring(other, ring, &callbacks[1], note_run, &runs, &ids[1]));
	ck_assert_ok(ctx_cancel(other));
	ring_end(ring);
	unsigned at_close = runs;
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(runs, at_close);
	ck_assert(ctx_callback_stop(ids[0]));
	ck_assert(!ctx_callback_stop(ids[0]));
	ck_assert_int_eq(ctx_callback_stop(ids[1]), at_close == 0);
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
		ck_assert_ok(ctx_callback_add_on_ring(next, here, callback, add_again, data, NULL));
}

START_TEST(it_can_be_added_again_inside_itself)
{
	struct ctx_callback callback = {0};

	here = ring_of(_i);
	next = child_of(ctx_background());
	ck_assert_ok(ctx_callback_add_on_ring(next, here, &callback, add_again, &runs, NULL));
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

	ck_assert_int_eq(ctx_callback_add_on_ring(NULL, ring, &callback, note_run, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), NULL, &callback, note_run, NULL, NULL),
			 -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), ring, NULL, note_run, NULL, NULL),
			 -EINVAL);
	ck_assert_int_eq(ctx_callback_add_on_ring(ctx_background(), ring, &callback, NULL, NULL, NULL),
			 -EINVAL);
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
		ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, NULL));
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

/* ---- stopping what may be gone */

static void free_it(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	++*(unsigned *)data;
	memset(callback, 0xff, sizeof(*callback));
	free(callback);
}

START_TEST(after_the_function_freed_it_stop_says_false)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback *callback = calloc(1, sizeof(*callback));
	uint64_t id;

	ck_assert_ptr_nonnull(callback);
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, callback, free_it, &runs, &id));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(runs, 1);
	ck_assert(!ctx_callback_stop(id));
	ring_end(ring);
	ctx_finish(ctx);
	ck_assert(!ctx_callback_stop(id));
	ck_assert(!ctx_callback_stop_wait(id));
}
END_TEST

/* The same context, the same memory, and posted: only the number tells the two apart. */
START_TEST(an_old_number_does_not_stop_what_is_posted_from_the_same_memory)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	uint64_t old, new;

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, &old));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, note_run, &runs, &new));
	ck_assert(!ctx_callback_stop(old));
	ck_assert(!ctx_callback_stop_wait(old));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(runs, 2);
	ck_assert(!ctx_callback_stop(new));
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

static int stop_in_child(void *data)
{
	const uint64_t *ids = data;

	alarm(100);
	/* Posted before the fork, and ended in the child: neither runs in a ring that is the parent's. */
	for (int i = 0; i < 2; i++)
		if (!ctx_callback_stop_wait(ids[i]) || ctx_callback_stop(ids[i]))
			return 1;
	return 0;
}

static int add_in_child(void *data)
{
	struct ctx_callback callback = {0};
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t id = 0;

	return ctx_callback_add_on_ring(ctx, data, &callback, note_run, &runs, &id) != -EPERM || id;
}

START_TEST(in_a_forked_child_none_is_bound_to_the_parents_ring)
{
	struct ctx_ring *ring = ring_of(_i);

	ck_assert_int_eq(test_in_child(add_in_child, ring), 0);
	ring_end(ring);
}
END_TEST

START_TEST(in_a_forked_child_what_is_bound_to_the_parents_ring_can_be_stopped)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	struct ctx_callback callbacks[2] = {0};
	uint64_t ids[2];

	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callbacks[0], note_run, &runs, &ids[0]));
	ck_assert_ok(ctx_callback_add_on_ring(other, ring, &callbacks[1], note_run, &runs, &ids[1]));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(test_in_child(stop_in_child, ids), 0);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(runs, 1);
	ck_assert(!ctx_callback_stop(ids[0]));
	ck_assert(ctx_callback_stop(ids[1]));
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(other);
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
	ON_EACH_RING(bound, on_a_ring_that_is_closed_it_never_runs_and_can_be_stopped);
	ON_EACH_RING(bound, after_the_function_freed_it_stop_says_false);
	ON_EACH_RING(bound, an_old_number_does_not_stop_what_is_posted_from_the_same_memory);
	ON_EACH_RING(bound, in_a_forked_child_none_is_bound_to_the_parents_ring);
	ON_EACH_RING(bound, in_a_forked_child_what_is_bound_to_the_parents_ring_can_be_stopped);
	ON_EACH_RING(bound, it_can_be_added_again_inside_itself);
	ON_EACH_RING(bound, null_arguments_are_refused);
	ON_EACH_RING(bound, it_wakes_a_waiting_dispatch);
	return suite;
}
