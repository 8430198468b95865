/* SPDX-License-Identifier: MIT */
/* Calls that wait while the program gives the last reference to what they wait for back, in another thread.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/rings.h"
#include "thread_ring.h"

struct scene {
	struct ctx_context *parent, *ctx;
	struct ctx_process *process;
	int pipe[2]; /* nothing comes */
	const struct way *way;
	int result;
	pid_t tid;
};

/* One way of waiting. */
struct way {
	int (*wait)(struct scene *scene);
	bool says_0; /* at the end of the context, where others say why it ended */
	bool needs_process;
};

static int by_wait(struct scene *scene)
{
	return ctx_wait(scene->ctx, CTX_FOREVER);
}

static int by_wait_fd(struct scene *scene)
{
	return ctx_wait_fd(scene->ctx, scene->pipe[0], POLLIN, CTX_FOREVER);
}

static int by_poll(struct scene *scene)
{
	struct pollfd fd = {.fd = scene->pipe[0], .events = POLLIN};

	return ctxio_poll(scene->ctx, &fd, 1, -1);
}

static int by_sleep(struct scene *scene)
{
	return ctxio_sleep_for(scene->ctx, HOUR);
}

static int by_sleep_for_ever(struct scene *scene)
{
	return ctxio_sleep_until(scene->ctx, CTX_FOREVER);
}

static int by_read(struct scene *scene)
{
	char byte;

	return (int)ctxio_read(scene->ctx, scene->pipe[0], &byte, 1);
}

static int by_futex(struct scene *scene)
{
	static const uint32_t word;
	int result = ctxio_futex_wait(scene->ctx, &word, 0, false);

	return result == -ENOTSUP ? -ECANCELED : result; /* a kernel without futex_waitv(2) */
}

static int by_waitid(struct scene *scene)
{
	siginfo_t info;

	return ctxio_waitid(scene->ctx, P_PIDFD, (id_t)ctx_process_fd(scene->process), &info,
			    WEXITED | (int)__WCLONE);
}

static int by_process_wait(struct scene *scene)
{
	return ctx_process_wait(scene->ctx, scene->process, NULL);
}

static const struct way ways[] = {
	{.wait = by_wait, .says_0 = true},
	{.wait = by_wait_fd},
	{.wait = by_poll},
	{.wait = by_sleep},
	{.wait = by_sleep_for_ever},
	{.wait = by_read},
	{.wait = by_futex},
	{.wait = by_waitid, .needs_process = true},
	{.wait = by_process_wait, .needs_process = true},
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static struct ctx_process *sleeper(void)
{
	char *const argv[] = {"sleep", "3600", NULL};
	struct ctx_spawn_options options = {.argv = argv, .flags = CTX_SPAWN_NO_CGROUP};
	struct ctx_process *process;

	ck_assert_ok(ctx_spawn(ctx_background(), &options, &process));
	return process;
}

static void *wait_in(void *data)
{
	struct scene *scene = data;

	__atomic_store_n(&scene->tid, gettid(), __ATOMIC_RELEASE);
	scene->result = scene->way->wait(scene);
	return NULL;
}

static void scene_begin(struct scene *scene, int way, pthread_t *ret_thread)
{
	*scene = (struct scene){.way = &ways[way]};
	ck_assert_ok(pipe(scene->pipe));
	scene->parent = child_of(ctx_background());
	scene->ctx = child_of(scene->parent);
	if (scene->way->needs_process)
		scene->process = sleeper();
	ck_assert_ok(pthread_create(ret_thread, NULL, wait_in, scene));
	ck_assert(test_until(test_thread_sleeps, &scene->tid));
}

static void scene_end(struct scene *scene, pthread_t thread)
{
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(scene->result, scene->way->says_0 ? 0 : -ECANCELED);
	ctx_process_free(scene->process);
	ctx_finish(scene->parent);
	close(scene->pipe[0]);
	close(scene->pipe[1]);
	thread_ring_trim(); /* the one that the thread left */
}

/* AddressSanitizer sees what a call that wakes touches afterwards. */
START_TEST(ended_and_released_by_another_thread)
{
	struct scene scene;
	pthread_t thread;

	scene_begin(&scene, _i, &thread);
	ctx_finish(scene.ctx);
	scene_end(&scene, thread);
}
END_TEST

/* Goal: one that is waited for stays, so that the end of its parent still reaches who waits. */
START_TEST(released_by_another_thread_and_ended_through_its_parent)
{
	struct scene scene;
	pthread_t thread;

	scene_begin(&scene, _i, &thread);
	ctx_unref(scene.ctx);
	ck_assert_ok(ctx_cancel(scene.parent));
	scene_end(&scene, thread);
}
END_TEST

/* ---- drains */

struct walk {
	struct ctx_context *busy; /* has an operation on a ring */
	_Atomic bool inside, go_on;
};

static void stay(struct watch *watch, void *data)
{
	struct walk *walk = data;

	(void)watch;
	atomic_store(&walk->inside, true);
	while (!atomic_load(&walk->go_on))
		sched_yield();
}

static void *walk_slowly(void *data)
{
	struct walk *walk = data;

	context_each_watch(walk->busy, WATCH_BELOW, &group_watch_ops, stay, walk);
	return NULL;
}

static bool is_inside(void *data)
{
	return atomic_load(&((struct walk *)data)->inside);
}

static void *drain_it(void *data)
{
	struct scene *scene = data;
	struct ctx_ring *ring;

	scene->result = ctx_ring_open(8, NULL, &ring);
	if (!scene->result)
		scene->result = ctx_ring_dispatch(ring, 0);
	__atomic_store_n(&scene->tid, gettid(), __ATOMIC_RELEASE);
	if (!scene->result)
		scene->result = ctx_ring_drain(ring, scene->ctx, SOON, NULL, 0, NULL);
	ctx_ring_close(ring, SOON, NULL, 0, NULL);
	return NULL;
}

/* Goal: a drain keeps its context also while it waits for its turn to look at what is below it. Method: a
 * walk of another thread stands still. */
START_TEST(released_while_a_drain_waits_for_its_turn)
{
	struct scene scene = {.ctx = child_of(ctx_background())};
	struct walk walk = {.busy = child_of(ctx_background())};
	struct ctx_ring *ring = ring_with(0, 8, NULL);
	struct pair pair = pair_new();
	struct probe probe;
	pthread_t walker, drainer;
	char byte;

	probe_recv(ring, walk.busy, &probe, pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(pthread_create(&walker, NULL, walk_slowly, &walk));
	ck_assert(test_until(is_inside, &walk));
	ck_assert_ok(pthread_create(&drainer, NULL, drain_it, &scene));
	ck_assert(test_until(test_thread_sleeps, &scene.tid));
	ctx_unref(scene.ctx);
	atomic_store(&walk.go_on, true);
	ck_assert_ok(pthread_join(walker, NULL));
	ck_assert_ok(pthread_join(drainer, NULL));
	ck_assert_ok(scene.result);
	ctx_finish(walk.busy);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* ---- processes */

static void *wait_for_process(void *data)
{
	struct scene *scene = data;

	__atomic_store_n(&scene->tid, gettid(), __ATOMIC_RELEASE);
	scene->result = ctx_process_wait(ctx_background(), scene->process, NULL);
	return NULL;
}

START_TEST(a_process_that_another_thread_frees)
{
	struct scene scene = {.process = sleeper()};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, wait_for_process, &scene));
	ck_assert(test_until(test_thread_sleeps, &scene.tid));
	ctx_process_free(scene.process);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(scene.result);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("wait_released");
	TCase *contexts = test_case(suite, "contexts"), *drains = test_case_ring(suite, "drains"),
	      *processes = test_case(suite, "processes");

	tcase_add_loop_test(contexts, ended_and_released_by_another_thread, 0, WAYS);
	tcase_add_loop_test(contexts, released_by_another_thread_and_ended_through_its_parent, 0, WAYS);
	tcase_add_test(drains, released_while_a_drain_waits_for_its_turn);
	tcase_add_test(processes, a_process_that_another_thread_frees);
	return suite;
}
