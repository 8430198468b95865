/* SPDX-License-Identifier: MIT */
/* Callbacks: when they run, how often, on which thread, and what stopping them promises. */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* A callback that reports, and can be held up. */
struct probe {
	struct ctx_callback callback;
	uint64_t id;
	struct ctx_context *subtree; /* must be done when it runs */
	sem_t *hold;
	sem_t begun, ended;
	unsigned calls;
	pid_t tid;
};

static void probe_run(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct probe *probe = data;

	ck_assert_ptr_eq(callback, &probe->callback);
	ck_assert_int_ne(ctx_err(ctx), 0);
	if (probe->subtree)
		ck_assert_int_ne(ctx_err(probe->subtree), 0);
	__atomic_fetch_add(&probe->calls, 1, __ATOMIC_RELAXED);
	probe->tid = gettid();
	sem_post(&probe->begun);
	if (probe->hold)
		sem_wait(probe->hold);
	sem_post(&probe->ended);
}

static void probe_add(struct probe *probe, const struct ctx_context *ctx)
{
	sem_init(&probe->begun, 0, 0);
	sem_init(&probe->ended, 0, 0);
	ck_assert_ok(ctx_callback_add(ctx, &probe->callback, probe_run, probe, &probe->id));
}

static unsigned probe_calls(struct probe *probe)
{
	return __atomic_load_n(&probe->calls, __ATOMIC_RELAXED);
}

START_TEST(runs_once_after_the_subtree_is_marked_on_the_cancelling_thread)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent),
			   *leaf = child_of(child);
	struct probe at_parent = {.subtree = leaf}, at_leaf = {.subtree = parent};

	probe_add(&at_parent, parent);
	probe_add(&at_leaf, leaf);
	ck_assert_uint_eq(probe_calls(&at_parent), 0);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_uint_eq(probe_calls(&at_parent), 1);
	ck_assert_uint_eq(probe_calls(&at_leaf), 1);
	ck_assert_int_eq(at_leaf.tid, gettid());
	ck_assert_int_eq(ctx_cancel(leaf), -EALREADY);
	ck_assert_uint_eq(probe_calls(&at_leaf), 1);
	ctx_finish(leaf);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(runs_at_once_when_already_done)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe = {0};

	ck_assert_ok(ctx_cancel(ctx));
	probe_add(&probe, ctx);
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ck_assert_int_eq(probe.tid, gettid());
	ck_assert(!ctx_callback_stop(probe.id));
	ctx_finish(ctx);
}
END_TEST

START_TEST(runs_for_a_deadline_on_a_thread_of_the_library)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *child = child_of(ctx);
	struct probe probe = {.subtree = ctx};

	probe_add(&probe, child);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 5 * MILLISECOND));
	sem_wait(&probe.ended);
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ck_assert_int_ne(probe.tid, gettid());
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

/* Goal: a slow callback delays no deadline. Method: hold one up until another context has expired. */
START_TEST(slow_deadline_callback_delays_no_other_deadline)
{
	sem_t hold;
	struct ctx_context *slow = timed_child_of(ctx_background(), HOUR), *other;
	struct probe probe = {.hold = &hold};

	sem_init(&hold, 0, 0);
	probe_add(&probe, slow);
	ck_assert_ok(ctx_set_deadline(slow, 1));
	sem_wait(&probe.begun);
	other = timed_child_of(ctx_background(), 5 * MILLISECOND);
	ck_assert_ok(ctx_wait(other, CTX_FOREVER));
	ck_assert_expired(other);
	sem_post(&hold);
	sem_wait(&probe.ended);
	ctx_finish(other);
	ctx_finish(slow);
}
END_TEST

START_TEST(stop_before_the_end_means_never)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe = {0};

	probe_add(&probe, ctx);
	ck_assert(ctx_callback_stop(probe.id));
	ck_assert(!ctx_callback_stop(probe.id));
	ck_assert(!ctx_callback_stop_wait(probe.id));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(probe_calls(&probe), 0);
	ctx_finish(ctx);
}
END_TEST

START_TEST(stop_after_the_end_says_false)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe = {0};

	probe_add(&probe, ctx);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert(!ctx_callback_stop(probe.id));
	ck_assert(!ctx_callback_stop_wait(probe.id));
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ctx_finish(ctx);
}
END_TEST

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

/* Goal: a cancel does not wait for a callback that another cancel runs; a stop-and-wait does. */
static void *stop_and_wait(void *data)
{
	struct probe *probe = data;

	ck_assert(!ctx_callback_stop_wait(probe->id));
	ck_assert_int_eq(sem_trywait(&probe->ended), 0);
	return NULL;
}

START_TEST(cancel_does_not_wait_for_a_running_callback_but_stop_wait_does)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	pthread_t canceller, stopper;
	sem_t hold;
	struct probe probe = {.hold = &hold};

	sem_init(&hold, 0, 0);
	probe_add(&probe, child);
	ck_assert_ok(pthread_create(&canceller, NULL, cancel_it, child));
	sem_wait(&probe.begun);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert(!ctx_callback_stop(probe.id));
	ck_assert_int_eq(sem_trywait(&probe.ended), -1);
	ck_assert_ok(pthread_create(&stopper, NULL, stop_and_wait, &probe));
	sem_post(&hold);
	ck_assert_ok(pthread_join(stopper, NULL));
	ck_assert_ok(pthread_join(canceller, NULL));
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

/* Of the registration that runs. */
static uint64_t own_id;

static void stop_oneself(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback, (void)ctx;
	ck_assert(!ctx_callback_stop(own_id));
	ck_assert(!ctx_callback_stop_wait(own_id));
	*(unsigned *)data += 1;
}

START_TEST(stop_wait_from_inside_itself_returns)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	unsigned calls = 0;

	ck_assert_ok(ctx_callback_add(ctx, &callback, stop_oneself, &calls, &own_id));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(calls, 1);
	ctx_finish(ctx);
}
END_TEST

static void free_oneself(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	*(unsigned *)data += 1;
	memset(callback, 0xff, sizeof(*callback));
	free(callback);
}

START_TEST(callback_may_free_its_own_structure)
{
	struct ctx_context *ctx = child_of(ctx_background());
	unsigned calls = 0;

	for (int i = 0; i < 3; i++) {
		struct ctx_callback *callback = calloc(1, sizeof(*callback));
		ck_assert_ptr_nonnull(callback);
		ck_assert_ok(ctx_callback_add(ctx, callback, free_oneself, &calls, NULL));
	}
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(calls, 3);
	ctx_finish(ctx);
}
END_TEST

struct chain {
	struct ctx_callback callback;
	struct ctx_context *next;
	unsigned calls;
};

static void add_again(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct chain *chain = data;

	(void)ctx;
	if (++chain->calls == 1)
		ck_assert_ok(ctx_callback_add(chain->next, callback, add_again, chain, NULL));
}

START_TEST(callback_may_be_added_again_from_inside)
{
	struct ctx_context *first = child_of(ctx_background());
	struct chain chain = {.next = child_of(ctx_background())};

	ck_assert_ok(ctx_callback_add(first, &chain.callback, add_again, &chain, NULL));
	ck_assert_ok(ctx_cancel(first));
	ck_assert_uint_eq(chain.calls, 1);
	ck_assert_ok(ctx_cancel(chain.next));
	ck_assert_uint_eq(chain.calls, 2);
	ctx_finish(chain.next);
	ctx_finish(first);
}
END_TEST

/* Each stops the other: whichever runs first, the other never does. */
struct rivals {
	struct ctx_callback callbacks[2];
	uint64_t ids[2];
	unsigned calls, stopped;
};

static void stop_the_other(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct rivals *rivals = data;

	(void)ctx;
	rivals->calls++;
	rivals->stopped += ctx_callback_stop_wait(rivals->ids[callback == &rivals->callbacks[0]]);
}

START_TEST(callback_may_stop_another_of_the_same_context)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct rivals rivals = {.calls = 0};

	for (int i = 0; i < 2; i++)
		ck_assert_ok(
			ctx_callback_add(ctx, &rivals.callbacks[i], stop_the_other, &rivals, &rivals.ids[i]));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(rivals.calls + rivals.stopped, 2);
	ck_assert_uint_ge(rivals.calls, 1);
	ctx_finish(ctx);
}
END_TEST

START_TEST(registration_is_gone_after_run_or_stop)
{
	counting_allocator_use();
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	unsigned calls = 0, rounds = test_scaled(200000), most = 0;

	for (unsigned i = 0; i < rounds; i++) {
		ck_assert_ok(ctx_callback_add(ctx, &callback, stop_oneself, &calls, &own_id));
		ck_assert(ctx_callback_stop(own_id));
		struct ctx_context *child = child_of(ctx);
		ck_assert_ok(ctx_callback_add(child, &callback, stop_oneself, &calls, &own_id));
		ctx_finish(child);
		if (counting_allocator_blocks() > most)
			most = counting_allocator_blocks();
	}
	ck_assert_uint_eq(calls, rounds);
	ck_assert_uint_lt(most, 200);
	ctx_finish(ctx);
}
END_TEST

START_TEST(registration_keeps_the_context)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct probe probe = {0};

	probe_add(&probe, child);
	ctx_unref(child);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ctx_finish(parent);
}
END_TEST

START_TEST(on_a_context_that_never_ends_it_can_be_stopped)
{
	struct ctx_callback callback = {0};
	const struct ctx_context *detached = detached_child_of(ctx_background());

	ck_assert_ok(ctx_callback_add(ctx_background(), &callback, stop_oneself, NULL, &own_id));
	ck_assert(ctx_callback_stop(own_id));
	ck_assert_ok(ctx_callback_add(detached, &callback, stop_oneself, NULL, &own_id));
	ck_assert(ctx_callback_stop_wait(own_id));
	ctx_unref(detached);
}
END_TEST

START_TEST(callback_on_a_value_context_runs_with_its_ancestor)
{
	static const struct ctx_key key = {"key", NULL, NULL};
	struct ctx_context *parent = child_of(ctx_background());
	const struct ctx_context *value = value_child_of(parent, &key, NULL);
	struct probe probe = {0};

	probe_add(&probe, value);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_uint_eq(probe_calls(&probe), 1);
	ctx_unref(value);
	ctx_finish(parent);
}
END_TEST

START_TEST(misuse_is_refused)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};

	ck_assert_int_eq(ctx_callback_add(NULL, &callback, stop_oneself, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_callback_add(ctx, NULL, stop_oneself, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_callback_add(ctx, &callback, NULL, NULL, NULL), -EINVAL);
	ck_assert_ok(ctx_callback_add(ctx, &callback, stop_oneself, NULL, &own_id));
	uint64_t id = own_id;
	ck_assert_int_eq(ctx_callback_add(ctx, &callback, stop_oneself, NULL, &own_id), -EINVAL);
	ck_assert_uint_eq(own_id, id);
	ck_assert(ctx_callback_stop(id));
	ck_assert(!ctx_callback_stop(0));
	ck_assert(!ctx_callback_stop_wait(0));
	ck_assert(!ctx_callback_stop(UINT64_MAX));
	ctx_finish(ctx);
}
END_TEST

/* ---- adding while the end is being spread */

struct late_add {
	struct ctx_context *ctx;
	struct probe probe;
};

static void *add_at_the_end(void *data)
{
	struct late_add *late = data;

	sem_post(&late->probe.begun);
	while (!ctx_err(late->ctx))
		;
	ck_assert_ok(ctx_callback_add(late->ctx, &late->probe.callback, probe_run, &late->probe, NULL));
	return NULL;
}

/*
 * Goal: added to a context whose end is still being spread it runs after the whole subtree
 * is marked, too. Method: so many children that the spreading takes longer than the adding; the one made
 * first is marked last.
 */
START_TEST(added_while_the_end_spreads_it_runs_after_the_subtree_is_marked)
{
	enum {
		CHILDREN = 20000
	};
	struct ctx_context **children = calloc(CHILDREN, sizeof(struct ctx_context *));
	struct late_add late = {.ctx = child_of(ctx_background())};
	pthread_t thread;

	ck_assert_ptr_nonnull(children);
	for (int i = 0; i < CHILDREN; i++)
		children[i] = child_of(late.ctx);
	late.probe.subtree = children[0];
	sem_init(&late.probe.begun, 0, 0);
	sem_init(&late.probe.ended, 0, 0);
	ck_assert_ok(pthread_create(&thread, NULL, add_at_the_end, &late));
	sem_wait(&late.probe.begun);
	ck_assert_ok(ctx_cancel(late.ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(probe_calls(&late.probe), 1);
	for (int i = 0; i < CHILDREN; i++)
		ctx_unref(children[i]);
	ctx_unref(late.ctx);
	free(children);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("callback");
	TCase *callback = test_case(suite, "callback");

	tcase_add_test(callback, runs_once_after_the_subtree_is_marked_on_the_cancelling_thread);
	tcase_add_test(callback, runs_at_once_when_already_done);
	tcase_add_test(callback, runs_for_a_deadline_on_a_thread_of_the_library);
	tcase_add_test(callback, slow_deadline_callback_delays_no_other_deadline);
	tcase_add_test(callback, stop_before_the_end_means_never);
	tcase_add_test(callback, stop_after_the_end_says_false);
	tcase_add_test(callback, cancel_does_not_wait_for_a_running_callback_but_stop_wait_does);
	tcase_add_test(callback, stop_wait_from_inside_itself_returns);
	tcase_add_test(callback, callback_may_free_its_own_structure);
	tcase_add_test(callback, callback_may_be_added_again_from_inside);
	tcase_add_test(callback, callback_may_stop_another_of_the_same_context);
	tcase_add_test(callback, registration_keeps_the_context);
	tcase_add_test(callback, on_a_context_that_never_ends_it_can_be_stopped);
	tcase_add_test(callback, callback_on_a_value_context_runs_with_its_ancestor);
	tcase_add_test(callback, misuse_is_refused);
	tcase_add_loop_test(callback, added_while_the_end_spreads_it_runs_after_the_subtree_is_marked, 0, 5);
	tcase_add_test(test_case_cold(suite, "memory"), registration_is_gone_after_run_or_stop);
	return suite;
}
