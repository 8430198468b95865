/* SPDX-License-Identifier: MIT */
/*
 * A fork while another thread is amid the library: what it held and had begun stays behind with it, and the
 * child waits for none of it. One state at a time, made by hand; check_fork_storm.c has a parent of busy
 * threads.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "node.h"
#include "support/forked.h"
#include "taskgroup.h"
#include "walk.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- a lock that another thread holds */

struct holder {
	struct lock *lock;
	pthread_t thread;
	sem_t held, over;
};

static void *hold(void *data)
{
	struct holder *holder = data;

	lock_acquire(holder->lock);
	sem_post(&holder->held);
	while (sem_wait(&holder->over))
		;
	lock_release(holder->lock);
	return NULL;
}

static void holder_begin(struct holder *holder, struct lock *lock)
{
	holder->lock = lock;
	ck_assert_ok(sem_init(&holder->held, 0, 0));
	ck_assert_ok(sem_init(&holder->over, 0, 0));
	ck_assert_ok(pthread_create(&holder->thread, NULL, hold, holder));
	while (sem_wait(&holder->held))
		;
}

static void holder_end(struct holder *holder)
{
	ck_assert_ok(sem_post(&holder->over));
	ck_assert_ok(pthread_join(holder->thread, NULL));
}

/* Forks with lock held by another thread. */
static void fork_with_held(struct lock *lock, int (*use)(void *data), void *data)
{
	struct holder holder;

	holder_begin(&holder, lock);
	ck_assert_int_eq(test_in_child(use, data), 0);
	holder_end(&holder);
}

/* Deadlines of the child's own come, also behind an inherited one that is due before them. */
static int own_and_inherited_deadlines_come(void *data)
{
	struct inherited *inherited = data;
	static struct ctx_callback callback;
	static int calls;
	struct ctx_context *own;

	be_bounded();
	EXPECT(ctx_wait(inherited->below, CTX_FOREVER) == 0 && ctx_err(inherited->below) == -ETIME);
	EXPECT(ctx_with_timeout(ctx_background(), 5 * MILLISECOND, "own", &own) == 0);
	EXPECT(ctx_callback_add(own, &callback, note_call, &calls, NULL) == 0);
	EXPECT(ctx_wait(own, CTX_FOREVER) == 0 && ctx_err(own) == -ETIME);
	EXPECT(test_until(was_called, &calls));
	ctx_unref(own);
	return 0;
}

static int every_use_of_a_context(void *data)
{
	struct inherited *inherited = data;
	static struct ctx_callback callback;
	static int calls;
	struct ctx_context *made, *merged;

	be_bounded();
	const struct ctx_context *parents[] = {inherited->below, ctx_background()};
	EXPECT(ctx_err(inherited->ctx) == 0 && ctx_deadline_ns(inherited->below) != CTX_FOREVER);
	EXPECT(ctx_with_cancel(inherited->ctx, "in the child", &made) == 0);
	EXPECT(ctx_merge(parents, 2, NULL, &merged) == 0);
	EXPECT(ctx_done_fd(inherited->ctx) >= 0);
	EXPECT(ctx_callback_add(inherited->ctx, &callback, note_call, &calls, NULL) == 0);
	EXPECT(ctx_set_deadline_cause(inherited->ctx, -EIO, "late") == 0);
	EXPECT(ctx_set_deadline(inherited->ctx, clock_now_ns() + HOUR / 2) == 0);
	EXPECT(ctx_signal_prepare(inherited->ctx) == 0);
	EXPECT(ctx_wait(inherited->ctx, MILLISECOND) == -ETIMEDOUT);
	EXPECT(ctx_cancel(inherited->ctx) == 0 && calls == 1);
	EXPECT(ctx_err(made) == -ECANCELED && ctx_err(merged) == -ECANCELED);
	EXPECT(ctx_err(inherited->below) == -ECANCELED);
	ctx_unref(merged);
	ctx_unref(made);
	ctx_unref(inherited->below);
	ctx_unref(inherited->ctx);
	return 0;
}

/* Where the lock lies that is held in the loop tests below. */
static struct lock *lock_of(struct inherited *inherited, int which)
{
	struct lock *locks[] = {&inherited->ctx->lock, &inherited->ctx->children.lock,
				&inherited->below->lock, &walk_lock};

	return locks[which];
}
#define LOCKS 4

START_TEST(deadlines_come_though_a_lock_is_held_in_the_parent)
{
	struct inherited inherited = inherited_of(20 * MILLISECOND);

	fork_with_held(lock_of(&inherited, _i), own_and_inherited_deadlines_come, &inherited);
	inherited_end(&inherited);
}
END_TEST

START_TEST(an_inherited_context_works_though_a_lock_is_held_in_the_parent)
{
	struct inherited inherited = inherited_of(HOUR);

	fork_with_held(lock_of(&inherited, _i), every_use_of_a_context, &inherited);
	ck_assert_live(inherited.below);
	inherited_end(&inherited);
}
END_TEST

static int fork_once_more(void *data)
{
	be_bounded();
	EXPECT(test_in_child(every_use_of_a_context, data) == 0);
	return 0;
}

START_TEST(a_grandchild_finds_it_free_too)
{
	struct inherited inherited = inherited_of(HOUR);

	fork_with_held(lock_of(&inherited, _i), fork_once_more, &inherited);
	inherited_end(&inherited);
}
END_TEST

/* ---- lists that were just being changed */

static int release_both(void *data)
{
	struct inherited *inherited = data;
	struct ctx_context *made;

	be_bounded();
	EXPECT(ctx_with_cancel(inherited->ctx, NULL, &made) == 0);
	ctx_unref(inherited->more);
	ctx_unref(inherited->below);
	EXPECT(ctx_cancel(inherited->ctx) == 0 && ctx_err(made) == -ECANCELED);
	ctx_unref(made);
	ctx_unref(inherited->ctx);
	return 0;
}

/* Goal: the way back is made anew. Method: it leads nowhere while the lock is held. */
START_TEST(half_of_a_link_is_mended)
{
	struct inherited inherited = inherited_of(HOUR);
	struct holder holder;

	inherited.more = child_of(inherited.ctx);
	holder_begin(&holder, &inherited.ctx->children.lock);
	struct ctx_context **before = inherited.below->sibling_prev;
	inherited.below->sibling_prev = NULL;
	ck_assert_int_eq(test_in_child(release_both, &inherited), 0);
	inherited.below->sibling_prev = before;
	holder_end(&holder);
	ctx_unref(inherited.more);
	inherited_end(&inherited);
}
END_TEST

/* ---- ends that had begun */

static int end_it(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_cancel_cause(inherited->ctx, -EPIPE, "by the child") == 0);
	EXPECT(ctx_err(inherited->below) == -ECANCELED);
	return 0;
}

static int end_it_in_a_grandchild(void *data)
{
	be_bounded();
	EXPECT(test_in_child(end_it, data) == 0);
	return end_it(data);
}

/* A thread had claimed the end, and was about to write its cause. */
START_TEST(an_end_that_was_claimed_in_the_parent_is_not_waited_for)
{
	struct inherited inherited = inherited_of(HOUR);

	atomic_fetch_or(&inherited.ctx->state, STATE_CLAIMED);
	ck_assert_int_eq(test_in_child(end_it_in_a_grandchild, &inherited), 0);
	atomic_fetch_and(&inherited.ctx->state, ~STATE_CLAIMED);
	inherited_end(&inherited);
}
END_TEST

static int wait_below(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_err(inherited->ctx) == -ECANCELED);
	EXPECT(ctx_wait(inherited->below, CTX_FOREVER) == 0);
	EXPECT(ctx_err(inherited->below) == -ECANCELED);
	return 0;
}

static int end_again(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_cancel(inherited->ctx) == -EALREADY);
	EXPECT(ctx_err(inherited->below) == -ECANCELED);
	return 0;
}

/* It was marked, and what is below it was not yet. */
START_TEST(an_end_that_was_being_spread_in_the_parent_is_carried_on)
{
	static int (*const uses[])(void *) = {wait_below, end_again};
	struct inherited inherited = inherited_of(HOUR);

	atomic_fetch_or(&inherited.ctx->state, ECANCELED | STATE_OWN);
	ck_assert_int_eq(test_in_child(uses[_i], &inherited), 0);
	atomic_fetch_and(&inherited.ctx->state, ~(ECANCELED | STATE_OWN));
	inherited_end(&inherited);
}
END_TEST

/* So, too, above the last parent of a merged context whose parents are merged, many ways up. */
START_TEST(an_end_that_was_being_spread_is_carried_on_through_every_parent)
{
	struct inherited inherited = inherited_of(HOUR);
	struct ctx_context *ways[40], *end = inherited.ctx, *middle = inherited.below;
	unsigned count = sizeof(ways) / sizeof(ways[0]);

	for (unsigned i = 0; i < count; i++) {
		const struct ctx_context *parents[] = {ctx_background(), i < 2 ? middle : ways[i - 2],
						       i < 1 ? middle : ways[i - 1]};
		ck_assert_ok(ctx_merge(parents, 3, NULL, &ways[i]));
	}
	inherited.below = ways[count - 1];
	atomic_fetch_or(&end->state, ECANCELED | STATE_OWN);
	ck_assert_int_eq(test_in_child(wait_below, &inherited), 0);
	atomic_fetch_and(&end->state, ~(ECANCELED | STATE_OWN));
	inherited.below = middle;
	for (unsigned i = 0; i < count; i++)
		ctx_unref(ways[i]);
	inherited_end(&inherited);
}
END_TEST

static int be_signalled(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_signal_prepare(inherited->ctx) == 0);
	EXPECT(ctx_cancel_from_signal(inherited->ctx, SIGTERM) == 0);
	EXPECT(ctx_wait(inherited->ctx, SOON) == 0);
	struct ctx_cause cause;
	EXPECT(ctx_get_cause(inherited->ctx, &cause) == 0 && cause.code == SIGTERM);
	return 0;
}

/* The parent's timer thread had not come to it. */
START_TEST(a_signal_of_before_the_fork_hides_none_of_the_childs)
{
	struct inherited inherited = inherited_of(HOUR);

	ck_assert_ok(ctx_signal_prepare(inherited.ctx));
	struct signal_request *request = node_extension(inherited.ctx)->signal;
	atomic_store(&request->state, SIGNAL_QUEUED);
	ck_assert_int_eq(test_in_child(be_signalled, &inherited), 0);
	atomic_store(&request->state, SIGNAL_PREPARED);
	inherited_end(&inherited);
}
END_TEST

/* ---- callbacks */

static int calls_of_the_parents;

static int end_without_a_call(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_cancel(inherited->ctx) == 0);
	EXPECT(calls_of_the_parents == 0);
	EXPECT(ctx_callback_stop_wait(inherited->id));
	EXPECT(!ctx_callback_stop_wait(inherited->id));
	return 0;
}

/* Its memory may be on the stack of a thread that is not there, and that a thread of the child's has got. */
START_TEST(a_callback_of_before_the_fork_is_the_parents)
{
	struct inherited inherited = inherited_of(HOUR);

	ck_assert_ok(ctx_callback_add(inherited.ctx, &inherited.callback, note_call, &calls_of_the_parents,
				      &inherited.id));
	ck_assert_int_eq(test_in_child(end_without_a_call, &inherited), 0);
	ck_assert_ok(ctx_cancel(inherited.ctx));
	ck_assert_int_eq(calls_of_the_parents, 1);
	inherited_end(&inherited);
}
END_TEST

static int stop_what_is_being_stopped(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	ctx_callback_stop_wait(inherited->id);
	return 0;
}

static void *stop_in_a_thread(void *data)
{
	struct inherited *inherited = data;

	ctx_callback_stop(inherited->id);
	return NULL;
}

/* Goal: a stop of the parent's is not waited for. Method: it waits for the lock of the context. */
START_TEST(a_stop_that_had_begun_in_the_parent_is_not_waited_for)
{
	struct inherited inherited = inherited_of(HOUR);
	struct holder holder;
	pthread_t thread;

	ck_assert_ok(ctx_callback_add(inherited.ctx, &inherited.callback, note_call, &calls_of_the_parents,
				      &inherited.id));
	holder_begin(&holder, &inherited.ctx->lock);
	ck_assert_ok(pthread_create(&thread, NULL, stop_in_a_thread, &inherited));
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(stop_what_is_being_stopped, &inherited), 0);
	holder_end(&holder);
	ck_assert_ok(pthread_join(thread, NULL));
	inherited_end(&inherited);
}
END_TEST

static int stop_what_is_posted(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_callback_stop_wait(inherited->id));
	return 0;
}

START_TEST(a_callback_on_its_way_to_a_ring_is_not_waited_for)
{
	struct inherited inherited = inherited_of(HOUR);
	struct ctx_ring *ring = ring_of(RING_ORDINARY);

	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_cancel(inherited.ctx));
	ck_assert_ok(ctx_callback_add_on_ring(inherited.ctx, ring, &inherited.callback, note_call,
					      &calls_of_the_parents, &inherited.id));
	ck_assert_int_eq(test_in_child(stop_what_is_posted, &inherited), 0);
	ring_end(ring);
	ck_assert_int_eq(calls_of_the_parents, 1);
	inherited_end(&inherited);
}
END_TEST

/* ---- rings and groups */

static int close_the_ring(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_ring_dispatch(inherited->more, 0) == -EPERM);
	EXPECT(ctx_ring_close(inherited->more, 0, NULL, 0, NULL) == 0);
	EXPECT(ctx_cancel(inherited->ctx) == 0);
	ctx_unref(inherited->below);
	ctx_unref(inherited->ctx);
	return 0;
}

START_TEST(an_inherited_ring_is_closed_though_a_lock_is_held_in_the_parent)
{
	struct inherited inherited = inherited_of(HOUR);
	struct ctx_ring *ring = ring_of(RING_ORDINARY);
	struct pair pair = pair_new();
	struct probe probes[2];
	char bytes[2];

	probe_recv(ring, inherited.ctx, &probes[0], pair.near, &bytes[0], 1);
	probe_recv(ring, inherited.below, &probes[1], pair.near, &bytes[1], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	inherited.more = ring;
	fork_with_held(lock_of(&inherited, _i), close_the_ring, &inherited);
	ck_assert_uint_eq(probes[0].finals, 0);
	ring_end(ring);
	inherited_end(&inherited);
	pair_end(pair);
}
END_TEST

static int free_the_group(void *data)
{
	struct inherited *inherited = data;

	be_bounded();
	EXPECT(ctx_taskgroup_wait(inherited->more) == -EPERM);
	ctx_taskgroup_free(inherited->more);
	return 0;
}

START_TEST(an_inherited_group_is_freed_though_a_lock_is_held_in_the_parent)
{
	struct inherited inherited = inherited_of(HOUR);
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(inherited.ctx, 1, "group", &group));
	ck_assert_ok(ctx_taskgroup_start(group, wait_for_the_end, NULL, "task"));
	inherited.more = group;
	struct ctx_context *own = node_mutable(ctx_taskgroup_context(group));
	fork_with_held(_i ? &group->lock : &own->lock, free_the_group, &inherited);
	ctx_taskgroup_free(group);
	inherited_end(&inherited);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fork_threads");
	TCase *held = test_case(suite, "held"), *rings = test_case_ring(suite, "rings");

	tcase_add_loop_test(held, deadlines_come_though_a_lock_is_held_in_the_parent, 0, LOCKS);
	tcase_add_loop_test(held, an_inherited_context_works_though_a_lock_is_held_in_the_parent, 0, LOCKS);
	tcase_add_loop_test(held, a_grandchild_finds_it_free_too, 0, LOCKS);
	tcase_add_loop_test(held, an_inherited_group_is_freed_though_a_lock_is_held_in_the_parent, 0, 2);
	tcase_add_test(held, half_of_a_link_is_mended);
	tcase_add_test(held, an_end_that_was_claimed_in_the_parent_is_not_waited_for);
	tcase_add_loop_test(held, an_end_that_was_being_spread_in_the_parent_is_carried_on, 0, 2);
	tcase_add_test(held, an_end_that_was_being_spread_is_carried_on_through_every_parent);
	tcase_add_test(held, a_signal_of_before_the_fork_hides_none_of_the_childs);
	tcase_add_test(held, a_callback_of_before_the_fork_is_the_parents);
	tcase_add_test(held, a_stop_that_had_begun_in_the_parent_is_not_waited_for);
	if (test_mode() != TEST_TSAN) {
		tcase_add_test(rings, a_callback_on_its_way_to_a_ring_is_not_waited_for);
		tcase_add_loop_test(rings, an_inherited_ring_is_closed_though_a_lock_is_held_in_the_parent, 0,
				    LOCKS);
	}
	return suite;
}
