/* SPDX-License-Identifier: MIT */
/* A fork within a function of the program's that the library called: a task, a callback, a release function.
 * The child returns from it into the library, or goes on in it. */
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

#include "support/forked.h"
#include "taskgroup.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- rings and groups */

static int fail_at_once(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	(void)data;
	return -EIO;
}

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

/* What the child has of the parent's is not asked for: no leak checker looks for it. */
static void leave_it_at_that(void)
{
	_exit(0);
}

/* The C library ends the process by exit(3) when the function of its only thread has returned. */
static void return_from_the_thread(void)
{
	be_bounded();
	atexit(leave_it_at_that);
}

static void fork_in_callback(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	pid_t child = fork();
	if (child)
		__atomic_store_n((pid_t *)data, child, __ATOMIC_RELEASE);
	else
		return_from_the_thread();
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
	ck_assert_int_eq(status, 0);
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
		return_from_the_thread();
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
	ck_assert_int_eq(status, 0);
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("fork_inside");
	TCase *functions = test_case(suite, "functions"), *rings = test_case_ring(suite, "rings");

	tcase_add_test(functions, a_child_of_a_task_has_groups_of_its_own);
	tcase_add_test(functions, a_child_of_a_library_thread_ends_when_its_function_returns);
	tcase_add_test(functions, a_child_of_the_timer_thread_ends_when_a_release_function_returns);
	tcase_add_test(functions, a_child_of_a_callback_that_a_free_runs_returns_from_that);
	tcase_add_test(functions, a_child_frees_the_group_whose_task_it_was_forked_in);
	if (test_mode() != TEST_TSAN) {
		ON_EACH_RING(rings, a_child_that_returns_to_a_dispatch_leaves_the_queues_alone);
		ON_EACH_RING(rings, a_child_that_returns_to_a_close_leaves_the_queues_alone);
		tcase_add_test(rings, a_child_frees_a_group_that_its_thread_waits_in);
	}
	return suite;
}
