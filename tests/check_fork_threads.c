/* SPDX-License-Identifier: MIT */
/*
 * A fork while other threads are amid the library: what they held and had begun stays behind with them, and
 * the child waits for none of it. First one state at a time, made by hand; then a parent of busy threads and
 * hundreds of children.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "mailbox.h"
#include "node.h"
#include "support/rings.h"
#include "taskgroup.h"
#include "walk.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                      \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 256; \
	} while (0)

/* A child that waits for ever is ended by its alarm, and does not outlive the test's own time. */
static void be_bounded(void)
{
	signal(SIGALRM, SIG_DFL); /* Check has a handler */
	alarm(30);
}

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

/* What a child finds: a context with one below it. */
struct inherited {
	struct ctx_context *ctx, *below;
	struct ctx_callback callback;
	uint64_t id; /* of the callback */
	void *more;
};

static struct inherited inherited_of(uint64_t timeout_ns)
{
	struct inherited inherited = {.ctx = timed_child_of(ctx_background(), timeout_ns)};

	inherited.below = child_of(inherited.ctx);
	ck_assert_ptr_nonnull(node_extend(inherited.ctx));
	return inherited;
}

static void inherited_end(struct inherited *inherited)
{
	ctx_finish(inherited->below);
	ctx_finish(inherited->ctx);
}

/* Forks with lock held by another thread. */
static void fork_with_held(struct lock *lock, int (*use)(void *data), void *data)
{
	struct holder holder;

	holder_begin(&holder, lock);
	ck_assert_int_eq(test_in_child(use, data), 0);
	holder_end(&holder);
}

static void note_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	__atomic_fetch_add((int *)data, 1, __ATOMIC_RELEASE);
}

static bool was_called(void *data)
{
	return __atomic_load_n((int *)data, __ATOMIC_ACQUIRE) != 0;
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

static int wait_for_the_end(const struct ctx_context *ctx, void *data)
{
	(void)data;
	ctx_wait(ctx, CTX_FOREVER);
	return 0;
}

static int fail_at_once(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	(void)data;
	return -EIO;
}

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

/* The child goes on in the task, which is none of its groups'. */
static int fork_in_task(const struct ctx_context *ctx, void *data)
{
	struct inherited *inherited = data;
	struct ctx_taskgroup *group;
	int status;

	(void)ctx;
	pid_t child = fork();
	if (child)
		return child > 0 && waitpid(child, &status, 0) == child && !status ? 0 : -EIO;
	be_bounded();
	ctx_taskgroup_free(inherited->more);
	/* Most likely where the other one was. */
	if (ctx_taskgroup_new(ctx_background(), 1, "own", &group) ||
	    ctx_taskgroup_start(group, fail_at_once, NULL, "task") || ctx_taskgroup_wait(group) != -EIO)
		_exit(1);
	ctx_taskgroup_free(group);
	_exit(0);
}

START_TEST(a_child_of_a_task_has_groups_of_its_own)
{
	struct inherited inherited = inherited_of(HOUR);
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(inherited.ctx, 1, "group", &group));
	inherited.more = group;
	test_settle();
	ck_assert_ok(ctx_taskgroup_start(group, fork_in_task, &inherited, "task"));
	ck_assert_ok(ctx_taskgroup_wait(group));
	ctx_taskgroup_free(group);
	inherited_end(&inherited);
}
END_TEST

struct fork_in_ring {
	struct probe first, second;
	pid_t child;
	int status;
};

static void fork_and_return(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct fork_in_ring *forked = (struct fork_in_ring *)op;

	probe_count(ring, op, completion);
	test_settle();
	forked->child = fork();
	ck_assert_int_ge(forked->child, 0);
	if (forked->child)
		ck_assert_int_eq(waitpid(forked->child, &forked->status, 0), forked->child);
}

/* Goal: the child takes nothing out of the queues, which it shares with the parent. */
START_TEST(a_child_that_returns_to_a_dispatch_leaves_the_queues_alone)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct fork_in_ring forked = {.child = -1};

	ctx_op_init(&forked.first.op, fork_and_return, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &forked.first.op));
	io_uring_prep_nop(probe_start(ring, ctx, &forked.second));
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	int delivered = 0;
	while (delivered >= 0 && !forked.second.finals) {
		delivered = ctx_ring_dispatch(ring, SOON);
		if (forked.child == 0)
			_exit(delivered == -EPERM && ctx_ring_close(ring, 0, NULL, 0, NULL) == 0 ? 0 : 1);
	}
	ck_assert_int_eq(forked.status, 0);
	ck_assert_uint_eq(forked.first.finals, 1);
	ck_assert_uint_eq(forked.second.finals, 1);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

/* The same where nothing is left to deliver when it returns: the child has closed nothing yet. */
START_TEST(a_child_that_returns_to_a_close_leaves_the_queues_alone)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct fork_in_ring forked = {.child = -1};

	ctx_op_init(&forked.first.op, fork_and_return, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &forked.first.op));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	int closed = ctx_ring_close(ring, SOON, NULL, 0, NULL);
	if (forked.child == 0)
		_exit(closed == -EPERM && ctx_ring_close(ring, 0, NULL, 0, NULL) == 0 ? 0 : 1);
	ck_assert_ok(closed);
	ck_assert_int_eq(forked.status, 0);
	ck_assert_uint_eq(forked.first.finals, 1);
	ctx_finish(ctx);
}
END_TEST

/* ---- a function of the program's that forks on a thread of the library's */

static void fork_in_callback(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	pid_t child = fork();
	if (child)
		__atomic_store_n((pid_t *)data, child, __ATOMIC_RELEASE);
	else
		be_bounded();
}

static bool has_forked(void *child)
{
	return __atomic_load_n((pid_t *)child, __ATOMIC_ACQUIRE) != 0;
}

/* Of a deadline that has passed already the callback would run here. */
START_TEST(a_child_of_a_library_thread_ends_when_its_function_returns)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	pid_t child = 0;
	uint64_t id;
	int status;

	ck_assert_ok(ctx_signal_prepare(ctx));
	ck_assert_ok(ctx_callback_add(ctx, &callback, fork_in_callback, &child, &id));
	ck_assert_ok(ctx_cancel_from_signal(ctx, SIGTERM));
	ck_assert(test_until(has_forked, &child));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ctx_callback_stop_wait(id);
	ctx_unref(ctx);
}
END_TEST

static void fork_in_release(void *value)
{
	pid_t child = fork();

	if (child)
		__atomic_store_n((pid_t *)value, child, __ATOMIC_RELEASE);
	else
		be_bounded();
}

/* Method: what keeps the context goes on the timer's thread, and the value with it. */
START_TEST(a_child_of_the_timer_thread_ends_when_a_release_function_returns)
{
	static const struct ctx_key key = {.name = "forks", .release = fork_in_release};
	pid_t child = 0;
	int status;
	const struct ctx_context *value = value_child_of(ctx_background(), &key, &child);
	struct ctx_context *ctx = child_of(value);

	ctx_unref(value);
	ck_assert_ok(ctx_signal_prepare(ctx));
	ctx_unref(ctx);
	ck_assert_ok(ctx_cancel_from_signal(ctx, SIGTERM));
	ck_assert(test_until(has_forked, &child));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
}
END_TEST

/* ---- groups in the child of a function that returns into the library */

struct forks_in_group {
	struct ctx_taskgroup *group;
	struct ctx_callback callback;
	pid_t child, parent;
	sem_t forked;
};

static void fork_at_the_end(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct forks_in_group *forks = data;

	(void)callback;
	(void)ctx;
	test_settle();
	forks->child = fork();
	if (!forks->child)
		be_bounded();
	else
		sem_post(&forks->forked);
}

static int run_until_it_forked(const struct ctx_context *ctx, void *data)
{
	struct forks_in_group *forks = data;

	(void)ctx;
	while (sem_wait(&forks->forked))
		;
	return 0;
}

static void await_success(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* Goal: the child does not wait for the task, which runs in the parent. */
START_TEST(a_child_of_a_callback_that_a_free_runs_returns_from_that)
{
	struct forks_in_group forks = {.parent = getpid()};

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, "group", &forks.group));
	ck_assert_ok(ctx_callback_add(ctx_taskgroup_context(forks.group), &forks.callback, fork_at_the_end,
				      &forks, NULL));
	ck_assert_ok(sem_init(&forks.forked, 0, 0));
	ck_assert_ok(ctx_taskgroup_start(forks.group, run_until_it_forked, &forks, "task"));
	ctx_taskgroup_free(forks.group);
	if (getpid() != forks.parent)
		_exit(0);
	await_success(forks.child);
}
END_TEST

static void free_in_the_child(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct forks_in_group *forks = data;

	fork_at_the_end(callback, ctx, data);
	if (!forks->child)
		ctx_taskgroup_free(forks->group);
}

/* Goal: the child that freed the group does not come back to it. AddressSanitizer sees it. */
START_TEST(a_child_frees_a_group_that_its_thread_waits_in)
{
	struct forks_in_group forks = {.parent = getpid()};
	struct ctx_ring *ring = ring_of(RING_ORDINARY);
	struct ctx_op op;

	ck_assert_ok(ctx_taskgroup_new_on_ring(ctx_background(), ring, "group", &forks.group));
	ck_assert_ok(ctx_callback_add(ctx_taskgroup_context(forks.group), &forks.callback, free_in_the_child,
				      &forks, NULL));
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_read(ctx_taskgroup_get_sqe(forks.group, &op), -1, NULL, 0, 0);
	int result = ctx_taskgroup_wait(forks.group);
	if (getpid() != forks.parent)
		_exit(result == -EPERM ? 0 : 1);
	ck_assert_int_eq(result, -EBADF);
	await_success(forks.child);
	ctx_taskgroup_free(forks.group);
	ring_end(ring);
}
END_TEST

/* What the child has of the parent's is not asked for. */
static void leave_it_at_that(void)
{
	_exit(0);
}

static int free_in_a_child_of_the_task(const struct ctx_context *ctx, void *data)
{
	struct forks_in_group *forks = data;

	free_in_the_child(&forks->callback, ctx, data);
	if (!forks->child)
		atexit(leave_it_at_that);
	return 0;
}

START_TEST(a_child_frees_the_group_whose_task_it_was_forked_in)
{
	struct forks_in_group forks = {0};

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, "group", &forks.group));
	ck_assert_ok(ctx_taskgroup_start(forks.group, free_in_a_child_of_the_task, &forks, "task"));
	ck_assert_ok(ctx_taskgroup_wait(forks.group));
	await_success(forks.child);
	ctx_taskgroup_free(forks.group);
}
END_TEST

/* ---- memory that no fork finds locked */

/*
 * The allocator of ThreadSanitizer is not ready for fork(2): a child hangs in malloc(3) when another thread
 * was in it. This one has no lock: each thread keeps what it released.
 */
#define CLASSES 10 /* 64 bytes to 32 KiB */
#define CHUNK (1ul << 20)

struct block {
	struct block *next;
	size_t class;
	_Alignas(64) char memory[];
};

static __thread struct block *kept[CLASSES];
static __thread char *chunk, *chunk_end;

static void *keep_allocate(size_t size, void *data)
{
	size_t class = 0;
	struct block *block;

	(void)data;
	while (class < CLASSES && (64ul << class) < size)
		class ++;
	size_t whole = sizeof(*block) + (64ul << class);
	if (class == CLASSES || kept[class] == NULL) {
		if ((size_t)(chunk_end - chunk) < whole || class == CLASSES) {
			size_t more = class == CLASSES ? sizeof(*block) + size : CHUNK;
			chunk = mmap(NULL, more, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (chunk == MAP_FAILED)
				abort();
			chunk_end = chunk + more;
		}
		block = (struct block *)chunk;
		chunk = class == CLASSES ? chunk_end : chunk + whole;
	} else {
		block = kept[class];
		kept[class] = block->next;
	}
	block->class = class;
	return block->memory;
}

static void keep_release(void *memory, void *data)
{
	struct block *block = container_of(memory, struct block, memory);

	(void)data;
	if (block->class == CLASSES)
		return;
	memset(memory, 0xa5, 64ul << block->class);
	block->next = kept[block->class];
	kept[block->class] = block;
}

static const struct ctx_allocator keeping = {keep_allocate, keep_release, NULL};

/* ---- the storm */

static struct {
	struct ctx_context *shared;
	struct ctx_ring *ring, *busy; /* of the thread that forks, and of one that uses it meanwhile */
	struct ctx_taskgroup *group;
	struct ctx_callback callback;
	uint64_t id; /* of the callback */
	bool uring;
	int stop;
} storm;

static void release_value(void *value)
{
	ctx_unref(value);
}

static const struct ctx_key storm_key = {.name = "storm", .release = release_value};

static int task(const struct ctx_context *ctx, void *data)
{
	(void)data;
	return ctx_err(ctx) ? 0 : -EIO;
}

static void use_group(const struct ctx_context *parent)
{
	struct ctx_taskgroup *group;

	if (ctx_taskgroup_new(parent, 1, "tasks", &group))
		abort();
	for (int i = 0; i < 3; i++)
		ctx_taskgroup_start(group, task, NULL, "task");
	ctx_taskgroup_wait(group);
	ctx_taskgroup_free(group);
}

/* What threads do to contexts at any time, on one that all share. */
static void use_contexts(unsigned turn, int near)
{
	struct ctx_context *timed, *child, *merged;
	const struct ctx_context *value;
	struct ctx_callback callback = {0};
	uint64_t id;
	int calls = 0;

	if (ctx_with_timeout(storm.shared, turn % 64 * 5000, "timed", &timed) ||
	    ctx_with_value(timed, &storm_key, (void *)ctx_ref(storm.shared), NULL, &value) ||
	    ctx_with_cancel(value, "child", &child))
		abort();
	const struct ctx_context *parents[] = {timed, storm.shared};
	if (ctx_merge(parents, 2, "merged", &merged) ||
	    ctx_callback_add(merged, &callback, note_call, &calls, &id))
		abort();
	if (turn % 8 == 0 && ctx_done_fd(child) < 0)
		abort();
	if (turn % 16 == 0)
		ctx_set_deadline(storm.shared, clock_now_ns() + HOUR);
	if (turn % 4 == 1) {
		struct ctx_context *source;
		if (ctx_with_hangup(child, NULL, near, 0, "source", &source))
			abort();
		ctx_finish(source);
	}
	if (turn % 4 == 2)
		ctxio_sleep_for(child, 20000);
	if (turn % 4 == 3)
		use_group(child);
	ctx_callback_stop_wait(id);
	ctx_finish(merged);
	ctx_finish(child);
	ctx_unref(value);
	ctx_finish(timed);
}

static void use_ring(struct ctx_ring *ring, int near)
{
	struct ctx_context *ctx;
	struct ctx_completion last;
	struct ctx_op op;
	char byte;

	if (ctx_with_timeout(storm.shared, 50000, "on a ring", &ctx))
		abort();
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &op), near, &byte, 1, 0);
	while (ctx_op_result(&op, &last) == -EINPROGRESS)
		ctx_ring_dispatch(ring, SOON);
	ctx_finish(ctx);
}

static void *be_busy(void *data)
{
	struct ctx_ring *ring = NULL;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	if (storm.uring && data && ctx_ring_open(8, NULL, &ring))
		abort();
	if (ring && !__atomic_load_n(&storm.busy, __ATOMIC_ACQUIRE))
		__atomic_store_n(&storm.busy, ring, __ATOMIC_RELEASE);
	for (unsigned turn = 0; !__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE); turn++) {
		use_contexts(turn, pair[0]);
		if (ring)
			use_ring(ring, pair[0]);
	}
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

static int use_what_is_its_own(void)
{
	static struct ctx_callback callback;
	static int calls;
	struct ctx_context *own, *hung_up;
	struct ctx_taskgroup *group;
	int pair[2];
	char byte;

	EXPECT(ctx_with_timeout(ctx_background(), MILLISECOND, "own", &own) == 0);
	EXPECT(ctx_callback_add(own, &callback, note_call, &calls, NULL) == 0);
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	EXPECT(ctxio_recv(own, pair[0], &byte, 1, 0) == -ETIME);
	EXPECT(ctx_wait(own, CTX_FOREVER) == 0 && ctx_err(own) == -ETIME);
	EXPECT(test_until(was_called, &calls));
	ctx_unref(own);
	EXPECT(ctx_with_hangup(ctx_background(), NULL, pair[0], 0, "own", &hung_up) == 0);
	close(pair[1]);
	EXPECT(ctx_wait(hung_up, CTX_FOREVER) == 0);
	ctx_unref(hung_up);
	close(pair[0]);
	EXPECT(ctx_taskgroup_new(ctx_background(), 2, "own", &group) == 0);
	EXPECT(ctx_taskgroup_start(group, task, NULL, "task") == 0);
	EXPECT(ctx_taskgroup_wait(group) == -EIO);
	ctx_taskgroup_free(group);
	return 0;
}

static int use_a_ring_of_its_own(const struct ctx_context *parent)
{
	struct ctx_completion last;
	struct ctx_context *ctx;
	struct ctx_ring *ring;
	struct ctx_op op;
	int pair[2];
	char byte;

	if (!storm.uring)
		return 0;
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	EXPECT(ctx_ring_open(8, NULL, &ring) == 0);
	EXPECT(ctx_with_timeout(parent, MILLISECOND, "own", &ctx) == 0);
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &op), pair[0], &byte, 1, 0);
	while (ctx_op_result(&op, &last) == -EINPROGRESS)
		EXPECT(ctx_ring_dispatch(ring, CTX_FOREVER) >= 0);
	EXPECT(last.end == CTX_OP_DEADLINE);
	EXPECT(ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL) == 0);
	ctx_unref(ctx);
	return 0;
}

static int use_what_is_inherited(void)
{
	struct ctx_context *timed, *below;

	EXPECT(ctx_err(storm.shared) == 0 && ctx_id(storm.shared) == 0);
	EXPECT(ctx_ring_close(storm.ring, 0, NULL, 0, NULL) == 0);
	EXPECT(ctx_ring_close(__atomic_load_n(&storm.busy, __ATOMIC_ACQUIRE), 0, NULL, 0, NULL) == 0);
	EXPECT(ctx_taskgroup_wait(storm.group) == -EPERM);
	ctx_taskgroup_free(storm.group);
	EXPECT(ctx_callback_stop_wait(storm.id));
	EXPECT(ctx_with_timeout(storm.shared, MILLISECOND, "below", &timed) == 0);
	EXPECT(ctx_with_cancel(storm.shared, "below", &below) == 0);
	EXPECT(ctx_wait(timed, CTX_FOREVER) == 0 && ctx_err(timed) == -ETIME);
	EXPECT(ctx_done_fd(storm.shared) >= 0);
	EXPECT(use_a_ring_of_its_own(storm.shared) == 0);
	EXPECT(ctx_cancel(storm.shared) == 0 && ctx_err(below) == -ECANCELED);
	ctx_unref(below);
	ctx_unref(timed);
	ctx_unref(storm.shared);
	return 0;
}

static int be_a_child(unsigned turn)
{
	be_bounded();
	int line = turn % 2 ? use_what_is_its_own() : use_what_is_inherited();
	if (!line)
		line = turn % 2 ? use_what_is_inherited() : use_what_is_its_own();
	if (!line)
		line = use_a_ring_of_its_own(ctx_background());
	if (line || turn % 8)
		return line;
	int status;
	pid_t child = fork();
	if (!child) {
		be_bounded();
		_exit(use_what_is_its_own());
	}
	return child < 0 || waitpid(child, &status, 0) != child || status;
}

static void storm_begin(pthread_t *threads, unsigned count)
{
	storm.uring = !test_no_uring();
	ck_assert_ok(
		ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, "shared", &storm.shared));
	ck_assert_ok(ctx_callback_add(storm.shared, &storm.callback, note_call, &storm.stop, &storm.id));
	ck_assert_ok(ctx_taskgroup_new(storm.shared, 1, "group", &storm.group));
	ck_assert_ok(ctx_taskgroup_start(storm.group, wait_for_the_end, NULL, "waits"));
	for (unsigned i = 0; i < count; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, be_busy, i % 2 ? NULL : &storm));
}

/* Goal: hundreds of children, and none waits for what a thread of the parent had. */
START_TEST(children_of_a_parent_of_busy_threads_never_wait_for_it)
{
	enum {
		THREADS = 4
	};
	pthread_t threads[THREADS];
	struct ctx_context *source;
	struct probe probe;
	char byte;

	ck_assert_ok(ctx_set_allocator(&keeping));
	/* What the library keeps for good. */
	struct pair pair = pair_new();
	ck_assert_ok(ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &source));
	ctx_finish(source);
	test_keep_fd();
	test_keep_fd();
	storm_begin(threads, THREADS);
	if (storm.uring) {
		storm.ring = ring_of(RING_ORDINARY);
		probe_recv(storm.ring, storm.shared, &probe, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(storm.ring), 1);
	}
	for (unsigned turn = 0; turn < test_scaled(300); turn++) {
		int status;
		pid_t child = fork();
		ck_assert_int_ge(child, 0);
		if (!child)
			_exit(be_a_child(turn));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(status == 0, "child %u: status %#x, line %d", turn, status,
			      WEXITSTATUS(status));
	}
	ck_assert(ctx_callback_stop_wait(storm.id));
	__atomic_store_n(&storm.stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	ctx_taskgroup_free(storm.group);
	ctx_cancel(storm.shared);
	ck_assert_ok(ctx_ring_close(storm.ring, SOON, NULL, 0, NULL));
	ctx_unref(storm.shared);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fork_threads");
	TCase *held = test_case(suite, "held");
	TCase *rings = test_case_ring(suite, "rings");
	TCase *storms = test_case_cold(suite, "storm");

	tcase_add_loop_test(held, deadlines_come_though_a_lock_is_held_in_the_parent, 0, LOCKS);
	tcase_add_loop_test(held, an_inherited_context_works_though_a_lock_is_held_in_the_parent, 0, LOCKS);
	tcase_add_loop_test(held, a_grandchild_finds_it_free_too, 0, LOCKS);
	tcase_add_loop_test(held, an_inherited_group_is_freed_though_a_lock_is_held_in_the_parent, 0, 2);
	tcase_add_test(held, a_child_of_a_task_has_groups_of_its_own);
	tcase_add_test(held, half_of_a_link_is_mended);
	tcase_add_test(held, an_end_that_was_claimed_in_the_parent_is_not_waited_for);
	tcase_add_loop_test(held, an_end_that_was_being_spread_in_the_parent_is_carried_on, 0, 2);
	tcase_add_test(held, an_end_that_was_being_spread_is_carried_on_through_every_parent);
	tcase_add_test(held, a_signal_of_before_the_fork_hides_none_of_the_childs);
	tcase_add_test(held, a_callback_of_before_the_fork_is_the_parents);
	tcase_add_test(held, a_stop_that_had_begun_in_the_parent_is_not_waited_for);
	tcase_add_test(held, a_child_of_a_library_thread_ends_when_its_function_returns);
	tcase_add_test(held, a_child_of_the_timer_thread_ends_when_a_release_function_returns);
	tcase_add_test(held, a_child_of_a_callback_that_a_free_runs_returns_from_that);
	tcase_add_test(held, a_child_frees_the_group_whose_task_it_was_forked_in);
	if (test_mode() != TEST_TSAN) {
		tcase_add_test(rings, a_callback_on_its_way_to_a_ring_is_not_waited_for);
		tcase_add_loop_test(rings, an_inherited_ring_is_closed_though_a_lock_is_held_in_the_parent, 0,
				    LOCKS);
		ON_EACH_RING(rings, a_child_that_returns_to_a_dispatch_leaves_the_queues_alone);
		ON_EACH_RING(rings, a_child_that_returns_to_a_close_leaves_the_queues_alone);
		tcase_add_test(rings, a_child_frees_a_group_that_its_thread_waits_in);
	}
	/* Of AddressSanitizer's runtime a child of busy threads inherits held locks, which new threads wait
	 * for. */
	if (test_mode() != TEST_ASAN)
		tcase_add_test(storms, children_of_a_parent_of_busy_threads_never_wait_for_it);
	return suite;
}
