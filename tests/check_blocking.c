/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls that work with and without io_uring: what ends them, and that processes and threads that
 * come, fork and go do not harm them. All of it also holds where io_uring is forbidden.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "support/blockers.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define ON_EACH_BLOCKER(test_case, test) tcase_add_loop_test(test_case, test, 0, (int)blocker_count)

/* ---- every call */

START_TEST(cancel_by_another_thread_ends_every_call)
{
	static struct caller caller;
	struct ctx_context *ctx = child_of(ctx_background());

	if (scene_prepare(&caller.scene, &blockers[_i])) {
		caller_start(&caller, &blockers[_i], ctx);
		caller_await_sleep(&caller);
		ck_assert_ok(ctx_cancel(ctx));
		ck_assert_msg(caller_end(&caller) == -ECANCELED, "%s: %zd", blockers[_i].name, caller.result);
	}
	scene_end(&caller.scene);
	ctx_unref(ctx);
}
END_TEST

START_TEST(deadline_ends_every_call)
{
	struct scene scene;
	uint64_t start_ns = clock_now_ns();
	struct ctx_context *ctx = timed_child_of(ctx_background(), 30 * MILLISECOND);

	if (scene_prepare(&scene, &blockers[_i])) {
		ssize_t result = blockers[_i].call(&scene, ctx);
		ck_assert_msg(result == -ETIME, "%s: %zd", blockers[_i].name, result);
		ck_assert_uint_ge(clock_now_ns() - start_ns, 30 * MILLISECOND);
		ck_assert_expired(ctx);
	}
	scene_end(&scene);
	ctx_unref(ctx);
}
END_TEST

/* Moved by another thread while the call waits. */
START_TEST(a_deadline_moved_earlier_ends_every_call)
{
	static struct caller caller;
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);

	if (scene_prepare(&caller.scene, &blockers[_i])) {
		caller_start(&caller, &blockers[_i], ctx);
		caller_await_sleep(&caller);
		ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + MILLISECOND));
		ck_assert_int_eq(caller_end(&caller), -ETIME);
	}
	scene_end(&caller.scene);
	ctx_unref(ctx);
}
END_TEST

START_TEST(end_of_an_ancestor_ends_every_call)
{
	static struct caller caller;
	struct ctx_context *parent = child_of(ctx_background()), *ctx = timed_child_of(parent, HOUR);

	if (scene_prepare(&caller.scene, &blockers[_i])) {
		caller_start(&caller, &blockers[_i], ctx);
		caller_await_sleep(&caller);
		ck_assert_ok(ctx_cancel(parent));
		ck_assert_int_eq(caller_end(&caller), -ECANCELED);
	}
	scene_end(&caller.scene);
	ctx_unref(ctx);
	ctx_unref(parent);
}
END_TEST

/* Whoever owns it ends and releases it in one step, while the call of another thread still needs it. */
START_TEST(a_call_holds_its_context)
{
	static struct caller caller;
	struct ctx_context *ctx = child_of(ctx_background());

	if (scene_prepare(&caller.scene, &blockers[_i])) {
		ctx_ref(ctx); /* the thread's */
		caller_start(&caller, &blockers[_i], ctx);
		caller_await_sleep(&caller);
		ctx_finish(ctx);
		ck_assert_int_eq(caller_end(&caller), -ECANCELED);
	}
	scene_end(&caller.scene);
	ctx_unref(ctx);
}
END_TEST

START_TEST(every_call_comes_to_its_own_end)
{
	static struct caller caller;
	const struct blocker *blocker = &blockers[_i];
	struct ctx_context *ctx =
		_i % 2 ? child_of(ctx_background()) : timed_child_of(ctx_background(), HOUR);

	if (blocker->finish && scene_prepare(&caller.scene, blocker)) {
		caller_start(&caller, blocker, ctx);
		caller_await_sleep(&caller);
		blocker->finish(&caller.scene);
		ssize_t result = caller_end(&caller);
		if (blocker->result < 0) {
			ck_assert_int_ge(result, 0);
			close((int)result);
		} else {
			ck_assert_msg(result == blocker->result, "%s: %zd", blocker->name, result);
		}
		scene_end(&caller.scene);
	}
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_done_context_refuses_every_call)
{
	struct ctx_context *ctx = child_of(ctx_background()), *late = timed_child_of(ctx_background(), 0);
	struct scene scene;

	ck_assert_ok(ctx_cancel(ctx));
	if (scene_prepare(&scene, &blockers[_i])) {
		ck_assert_int_eq(blockers[_i].call(&scene, ctx), -ECANCELED);
		ck_assert_int_eq(blockers[_i].call(&scene, late), -ETIME);
		ck_assert_int_eq(blockers[_i].call(&scene, NULL), -EINVAL);
	}
	scene_end(&scene);
	ctx_unref(ctx);
	ctx_unref(late);
}
END_TEST

static _Atomic unsigned signals;

static void count_signal(int signo)
{
	(void)signo;
	signals++;
}

/* Goal: -EINTR never surfaces. Method: signals whose handler restarts nothing, until some have been handled.
 */
START_TEST(signals_end_no_call)
{
	static struct caller caller;
	struct sigaction action = {.sa_handler = count_signal};
	struct ctx_context *ctx = child_of(ctx_background());

	sigaction(SIGUSR1, &action, NULL);
	if (scene_prepare(&caller.scene, &blockers[_i])) {
		caller_start(&caller, &blockers[_i], ctx);
		caller_await_sleep(&caller);
		for (unsigned handled = 1; handled <= 5; handled++) {
			pthread_kill(caller.thread, SIGUSR1);
			while (signals < handled)
				sched_yield();
			await_sleep(caller.tid);
		}
		ck_assert_ok(ctx_cancel(ctx));
		ck_assert_int_eq(caller_end(&caller), -ECANCELED);
	}
	scene_end(&caller.scene);
	ctx_unref(ctx);
}
END_TEST

/* ---- processes and threads */

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                          \
	do {                                       \
		if (!(condition))                  \
			return __LINE__ % 255 + 1; \
	} while (0)

static int call_in_a_child(void *data)
{
	struct caller *callers = data;
	struct ctx_context *ctx;
	int fds[2];
	char byte;

	EXPECT(!pipe2(fds, O_CLOEXEC));
	EXPECT(!ctx_with_cancel(ctx_background(), NULL, &ctx));
	EXPECT(ctxio_write(ctx, fds[1], "x", 1) == 1);
	EXPECT(ctxio_read(ctx, fds[0], &byte, 1) == 1);
	/* Ending what it inherited ends its own copy, and not what the parent waits for under it. */
	for (unsigned i = 0; i < blocker_count; i++)
		if (callers[i].ctx)
			EXPECT(ctx_cancel((struct ctx_context *)callers[i].ctx) != -EINVAL);
	EXPECT(ctxio_read(callers[0].ctx, fds[0], &byte, 1) == -ECANCELED);
	ctx_finish(ctx);
	EXPECT(!ctx_with_timeout(ctx_background(), MILLISECOND, NULL, &ctx));
	EXPECT(ctxio_read(ctx, fds[0], &byte, 1) == -ETIME);
	ctx_finish(ctx);
	return 0;
}

/* Goal: a child has rings of its own, and the parent's calls do not notice. Method: every call waits while
 * the process forks, and its child forks. */
START_TEST(a_forked_child_makes_calls_of_its_own)
{
	static struct caller callers[32];
	const struct ctx_context *ctx = NULL;
	struct pair pipe = pipe_new();
	char byte;

	ck_assert_uint_le(blocker_count, 32);
	for (unsigned i = 0; i < blocker_count; i++) {
		if (!scene_prepare(&callers[i].scene, &blockers[i]))
			continue;
		caller_start(&callers[i], &blockers[i], child_of(ctx_background()));
		caller_await_sleep(&callers[i]);
	}
	/* So that the thread that forks has a ring, with a context. */
	ctx = child_of(ctx_background());
	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(test_in_child(call_in_a_child, callers), 0);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	for (unsigned i = 0; i < blocker_count; i++) {
		if (callers[i].ctx) {
			ck_assert_live(callers[i].ctx);
			ck_assert_ok(ctx_cancel((struct ctx_context *)callers[i].ctx));
			ck_assert_msg(caller_end(&callers[i]) == -ECANCELED, "%s: %zd", blockers[i].name,
				      callers[i].result);
			ctx_unref(callers[i].ctx);
		}
		scene_end(&callers[i].scene);
	}
	ctx_unref(ctx);
	pair_end(pipe);
}
END_TEST

/* What the child of a child does is the same once more. */
static int fork_again(void *data)
{
	EXPECT(call_in_a_child(data) == 0);
	return test_in_child(call_in_a_child, data);
}

START_TEST(a_childs_child_makes_calls_of_its_own)
{
	static struct caller none[32] = {{0}};
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();

	none[0].ctx = ctx;
	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
	ck_assert_int_eq(test_in_child(fork_again, none), 0);
	ck_assert_live(ctx);
	ctx_finish(ctx);
	pair_end(pipe);
}
END_TEST

static int exit_in_a_call(void *data)
{
	static struct caller caller;
	const struct blocker *blocker = data;
	struct ctx_context *ctx;

	if (!scene_prepare(&caller.scene, blocker))
		return 0;
	ctx_with_cancel(ctx_background(), NULL, &ctx);
	caller_start(&caller, blocker, ctx);
	caller_await_sleep(&caller);
	if (caller.scene.child > 0)
		kill(caller.scene.child, SIGKILL);
	if (caller.scene.path[0])
		scene_end(&caller.scene);
	exit(3);
}

START_TEST(a_process_exits_while_a_call_waits)
{
	test_await_others_asleep();
	int status = test_in_child(exit_in_a_call, (void *)&blockers[_i]);

	ck_assert_int_eq(status, blockers[_i].needs_ring && test_no_uring() ? 0 : 3);
}
END_TEST

static int killed_in_a_call(void *data)
{
	static struct caller caller;
	const struct blocker *blocker = data;
	struct ctx_context *ctx;

	if (!scene_prepare(&caller.scene, blocker))
		raise(SIGKILL);
	ctx_with_cancel(ctx_background(), NULL, &ctx);
	caller_start(&caller, blocker, ctx);
	caller_await_sleep(&caller);
	if (caller.scene.child > 0)
		kill(caller.scene.child, SIGKILL);
	if (caller.scene.path[0])
		scene_end(&caller.scene);
	raise(SIGKILL);
	return 0;
}

START_TEST(a_process_is_killed_while_a_call_waits)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(killed_in_a_call, (void *)&blockers[_i]), 256 + SIGKILL);
}
END_TEST

static void *call_and_exit(void *data)
{
	struct pair_call *call = data;

	call->tid = gettid();
	call->result = ctxio_read(call->ctx, call->pair.near, call->buffer, 5);
	pthread_testcancel();
	call->done = 1;
	pthread_exit(NULL);
}

/* The request is in the kernel, and so may be the buffer: the thread goes when both are back. */
START_TEST(pthread_cancel_takes_effect_behind_a_call)
{
	struct pair_call call = {.ctx = child_of(ctx_background()), .pair = pipe_new(), .result = 99};
	pthread_t thread;
	void *status;

	ck_assert_ok(pthread_create(&thread, NULL, call_and_exit, &call));
	while (!call.tid)
		sched_yield();
	await_sleep(call.tid);
	ck_assert_ok(pthread_cancel(thread));
	await_sleep(call.tid);
	ck_assert_int_eq(write(call.pair.far, "12345", 5), 5);
	ck_assert_ok(pthread_join(thread, &status));
	ck_assert_ptr_eq(status, PTHREAD_CANCELED);
	ck_assert_int_eq(call.result, 5);
	ck_assert_uint_eq(call.done, 0);
	pair_end(call.pair);
	ctx_finish(call.ctx);
}
END_TEST

static void *call_when_cancelled(void *data)
{
	struct pair_call *call = data;
	siginfo_t info;

	pthread_cancel(pthread_self());
	call->result = ctxio_close(ctx_background(), call->pair.near) ||
		       ctxio_waitid(ctx_background(), 99, 0, &info, WEXITED) != -EINVAL ||
		       ctxio_sleep_for(call->ctx, HOUR) != -ECANCELED;
	call->done = 1;
	pthread_testcancel();
	return NULL;
}

/* Also those that make plain system calls are no cancellation points. */
START_TEST(no_call_is_a_cancellation_point)
{
	struct pair_call call = {.ctx = child_of(ctx_background()), .pair = pipe_new(), .result = 99};
	pthread_t thread;
	void *status;

	ck_assert_ok(ctx_cancel(call.ctx));
	ck_assert_ok(pthread_create(&thread, NULL, call_when_cancelled, &call));
	ck_assert_ok(pthread_join(thread, &status));
	ck_assert_ptr_eq(status, PTHREAD_CANCELED);
	ck_assert_uint_eq(call.done, 1);
	ck_assert_int_eq(call.result, 0);
	close(call.pair.far);
	ctx_unref(call.ctx);
}
END_TEST

/* A thread whose last act is to end the context of another's call. */
static void *cancel_and_exit(void *data)
{
	ctx_cancel(data);
	pthread_exit(NULL);
}

START_TEST(a_thread_cancels_and_exits)
{
	for (unsigned i = 0; i < test_scaled(200); i++) {
		struct pair_call call = {.ctx = child_of(ctx_background()), .pair = pipe_new()};
		pthread_t reader, canceller;
		ck_assert_ok(pthread_create(&reader, NULL, call_and_exit, &call));
		ck_assert_ok(pthread_create(&canceller, NULL, cancel_and_exit, call.ctx));
		ck_assert_ok(pthread_join(canceller, NULL));
		ck_assert_ok(pthread_join(reader, NULL));
		ck_assert_int_eq(call.result, -ECANCELED);
		pair_end(call.pair);
		ctx_unref(call.ctx);
	}
}
END_TEST

/*
 * Rings go from thread to thread while contexts end: none may miss the end of its own because the wake was
 * the one of the thread before. A lost one shows as a test that takes for ever.
 */
static void *many_short_threads(void *data)
{
	unsigned seed = (unsigned)(uintptr_t)data;

	for (unsigned i = 0; i < test_scaled(400); i++) {
		struct pair_call call = {.ctx = child_of(ctx_background()), .pair = pipe_new()};
		pthread_t thread;
		ck_assert_ok(pthread_create(&thread, NULL, call_and_exit, &call));
		spin(&seed, 20000);
		ck_assert_ok(ctx_cancel(call.ctx));
		ck_assert_ok(pthread_join(thread, NULL));
		ck_assert_int_eq(call.result, -ECANCELED);
		pair_end(call.pair);
		ctx_unref(call.ctx);
	}
	return NULL;
}

START_TEST(no_wake_is_lost_while_rings_change_hands)
{
	unsigned seed = test_seed();
	pthread_t threads[5];

	for (unsigned i = 0; i < 5; i++)
		ck_assert_ok(
			pthread_create(&threads[i], NULL, many_short_threads, (void *)(uintptr_t)(seed + i)));
	for (unsigned i = 0; i < 5; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
}
END_TEST

/* ---- between calls */

static void note_release(void *value)
{
	++*(unsigned *)value;
}

static const struct ctx_key noted = {.name = "noted", .release = note_release};

/* Goal: no context lives longer because a thread once made a call under it. */
START_TEST(a_thread_between_calls_keeps_no_context)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct pair pipe = pipe_new();
	unsigned released = 0;
	char byte;

	for (unsigned i = 0; i < 3; i++) {
		const struct ctx_context *ctx = value_child_of(parent, &noted, &released);
		ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
		ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
		ck_assert_uint_eq(released, i);
		ctx_unref(ctx);
		ck_assert_uint_eq(released, i + 1);
	}
	ctx_finish(parent);
	pair_end(pipe);
}
END_TEST

static const struct ctx_context *lent;

static void *call_then_wait(void *data)
{
	struct pair_call *call = data;

	call->result = ctxio_read(lent, call->pair.near, call->buffer, 1);
	call->tid = gettid();
	/* Not by a call of ours. */
	call->done = read(call->pair.near, call->buffer, 1) == 1;
	return NULL;
}

START_TEST(another_thread_releases_what_an_idle_one_has_used)
{
	struct pair_call call = {.pair = pipe_new()};
	unsigned released = 0;
	pthread_t thread;

	lent = value_child_of(ctx_background(), &noted, &released);
	ck_assert_int_eq(write(call.pair.far, "x", 1), 1);
	ck_assert_ok(pthread_create(&thread, NULL, call_then_wait, &call));
	while (!call.tid)
		sched_yield();
	await_sleep(call.tid);
	ctx_unref(lent);
	ck_assert_uint_eq(released, 1);
	ck_assert_int_eq(write(call.pair.far, "x", 1), 1);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(call.done, 1);
	pair_end(call.pair);
}
END_TEST

static void *call_then_epoll(void *data)
{
	struct pair_call *call = data;
	struct epoll_event event = {.events = EPOLLIN};
	int set = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(set, EPOLL_CTL_ADD, call->pair.near, &event);
	call->result = ctxio_read(call->ctx, call->pair.near, call->buffer, 1);
	call->tid = gettid();
	call->done = epoll_wait(set, &event, 1, -1) == 1;
	close(set);
	return NULL;
}

/* epoll_wait(2) says EINTR for anything that the kernel has to do in the thread, a signal or not. */
START_TEST(a_thread_between_calls_is_not_disturbed)
{
	struct pair_call call = {.pair = pipe_new(), .ctx = child_of(ctx_background())};
	pthread_t thread;

	ck_assert_int_eq(write(call.pair.far, "x", 1), 1);
	ck_assert_ok(pthread_create(&thread, NULL, call_then_epoll, &call));
	while (!call.tid)
		sched_yield();
	await_sleep(call.tid);
	ck_assert_ok(ctx_cancel(call.ctx));
	await_sleep(call.tid);
	ck_assert_int_eq(write(call.pair.far, "x", 1), 1);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(call.result, 1);
	ck_assert_uint_eq(call.done, 1);
	pair_end(call.pair);
	ctx_unref(call.ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("blocking");
	TCase *every = test_case_calls(suite, "every call"),
	      *threads = test_case_calls(suite, "processes and threads"),
	      *between = test_case_calls(suite, "between calls");

	ON_EACH_BLOCKER(every, cancel_by_another_thread_ends_every_call);
	ON_EACH_BLOCKER(every, deadline_ends_every_call);
	ON_EACH_BLOCKER(every, a_deadline_moved_earlier_ends_every_call);
	ON_EACH_BLOCKER(every, end_of_an_ancestor_ends_every_call);
	ON_EACH_BLOCKER(every, a_call_holds_its_context);
	ON_EACH_BLOCKER(every, every_call_comes_to_its_own_end);
	ON_EACH_BLOCKER(every, a_done_context_refuses_every_call);
	ON_EACH_BLOCKER(every, signals_end_no_call);

	tcase_add_test(threads, a_forked_child_makes_calls_of_its_own);
	tcase_add_test(threads, a_childs_child_makes_calls_of_its_own);
	ON_EACH_BLOCKER(threads, a_process_exits_while_a_call_waits);
	ON_EACH_BLOCKER(threads, a_process_is_killed_while_a_call_waits);
	tcase_add_test(threads, pthread_cancel_takes_effect_behind_a_call);
	tcase_add_test(threads, no_call_is_a_cancellation_point);
	tcase_add_test(threads, a_thread_cancels_and_exits);
	tcase_add_test(threads, no_wake_is_lost_while_rings_change_hands);

	tcase_add_test(between, a_thread_between_calls_keeps_no_context);
	tcase_add_test(between, another_thread_releases_what_an_idle_one_has_used);
	tcase_add_test(between, a_thread_between_calls_is_not_disturbed);
	return suite;
}
