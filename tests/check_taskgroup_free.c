/* SPDX-License-Identifier: MIT */
/* Task groups on threads that are freed while others wait in them. AddressSanitizer sees what they touch
 * then. */
#include <pthread.h>
#include <semaphore.h>

#include "support/contexts.h"
#include "taskgroup.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* A group, who frees it and who waits in it. */
struct scene {
	struct ctx_taskgroup *group;
	sem_t begun, go_on;
	int result;
	unsigned waiting; /* for how many await_waiting() looks */
};

static bool wait_in_group(void *data)
{
	struct scene *scene = data;

	lock_acquire(&scene->group->lock);
	bool all = scene->group->waiting == scene->waiting;
	lock_release(&scene->group->lock);
	return all;
}

static void await_waiting(struct scene *scene, unsigned count)
{
	scene->waiting = count;
	ck_assert(test_until(wait_in_group, scene));
}

static void scene_begin(struct scene *scene, unsigned limit)
{
	sem_init(&scene->begun, 0, 0);
	sem_init(&scene->go_on, 0, 0);
	ck_assert_ok(ctx_taskgroup_new(ctx_background(), limit, "scene", &scene->group));
}

static int free_when_told(const struct ctx_context *ctx, void *data)
{
	struct scene *scene = data;

	(void)ctx;
	sem_post(&scene->begun);
	sem_wait(&scene->go_on);
	ctx_taskgroup_free(scene->group);
	return -EPIPE;
}

static int end_when_told(const struct ctx_context *ctx, void *data)
{
	struct scene *scene = data;

	(void)ctx;
	sem_post(&scene->begun);
	sem_wait(&scene->go_on);
	return 0;
}

static void *wait_in_it(void *data)
{
	struct scene *scene = data;

	__atomic_store_n(&scene->result, ctx_taskgroup_wait(scene->group), __ATOMIC_RELAXED);
	return NULL;
}

static void *start_in_it(void *data)
{
	struct scene *scene = data;

	scene->result = ctx_taskgroup_start(scene->group, end_when_told, scene, NULL);
	return NULL;
}

static void *free_it(void *data)
{
	struct scene *scene = data;

	ctx_taskgroup_free(scene->group);
	return NULL;
}

START_TEST(freed_in_a_task_while_another_thread_waits)
{
	struct scene scene;
	pthread_t waiter;

	scene_begin(&scene, 1);
	ck_assert_ok(ctx_taskgroup_start(scene.group, free_when_told, &scene, NULL));
	sem_wait(&scene.begun);
	ck_assert_ok(pthread_create(&waiter, NULL, wait_in_it, &scene));
	await_waiting(&scene, 1);
	sem_post(&scene.go_on);
	ck_assert_ok(pthread_join(waiter, NULL));
	ck_assert_int_eq(scene.result, -EPIPE);
}
END_TEST

/* Goal: neither of two who wait is left with a group that the other one gave up. */
START_TEST(freed_in_a_task_while_two_threads_wait)
{
	for (unsigned i = 0; i < test_scaled(1000); i++) {
		struct scene scene;
		pthread_t waiters[2];
		scene_begin(&scene, 1);
		ck_assert_ok(ctx_taskgroup_start(scene.group, free_when_told, &scene, NULL));
		sem_wait(&scene.begun);
		for (int k = 0; k < 2; k++)
			ck_assert_ok(pthread_create(&waiters[k], NULL, wait_in_it, &scene));
		await_waiting(&scene, 2);
		sem_post(&scene.go_on);
		for (int k = 0; k < 2; k++)
			ck_assert_ok(pthread_join(waiters[k], NULL));
	}
}
END_TEST

START_TEST(freed_by_a_thread_while_another_one_waits)
{
	struct scene scene;
	pthread_t waiter, freer;

	scene_begin(&scene, 1);
	ck_assert_ok(ctx_taskgroup_start(scene.group, end_when_told, &scene, NULL));
	sem_wait(&scene.begun);
	ck_assert_ok(pthread_create(&waiter, NULL, wait_in_it, &scene));
	await_waiting(&scene, 1);
	ck_assert_ok(pthread_create(&freer, NULL, free_it, &scene));
	ck_assert_ok(ctx_wait(ctx_taskgroup_context(scene.group), CTX_FOREVER));
	sem_post(&scene.go_on);
	ck_assert_ok(pthread_join(freer, NULL));
	ck_assert_ok(pthread_join(waiter, NULL));
	ck_assert_int_eq(scene.result, 0);
}
END_TEST

static int count_up(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	atomic_fetch_add((_Atomic unsigned *)data, 1);
	return 0;
}

static void fill_queue(struct scene *scene, _Atomic unsigned *ran)
{
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++)
		ck_assert_ok(ctx_taskgroup_start(scene->group, count_up, ran, NULL));
}

static bool all_ran(void *data)
{
	return atomic_load((_Atomic unsigned *)data) == TASK_QUEUE_MAX;
}

START_TEST(freed_while_a_thread_waits_for_room)
{
	for (unsigned i = 0; i < test_scaled(1000); i++) {
		struct scene scene;
		_Atomic unsigned ran = 0;
		pthread_t starter;
		scene_begin(&scene, 1);
		ck_assert_ok(ctx_taskgroup_start(scene.group, free_when_told, &scene, NULL));
		sem_wait(&scene.begun);
		fill_queue(&scene, &ran);
		ck_assert_ok(pthread_create(&starter, NULL, start_in_it, &scene));
		await_waiting(&scene, 1);
		sem_post(&scene.go_on);
		ck_assert_ok(pthread_join(starter, NULL));
		ck_assert_int_eq(scene.result, -ECANCELED);
		ck_assert(test_until(all_ran, &ran));
	}
}
END_TEST

/* Goal: tasks that wait for a thread run before the group is gone. Method: a thread frees it, or the task
 * before them. */
START_TEST(freed_while_tasks_are_queued)
{
	for (unsigned i = 0; i < test_scaled(1000); i++) {
		struct scene scene;
		_Atomic unsigned ran = 0;
		scene_begin(&scene, 1);
		ck_assert_ok(
			ctx_taskgroup_start(scene.group, _i ? free_when_told : end_when_told, &scene, NULL));
		sem_wait(&scene.begun);
		fill_queue(&scene, &ran);
		sem_post(&scene.go_on);
		if (_i)
			ck_assert(test_until(all_ran, &ran));
		else
			ctx_taskgroup_free(scene.group);
		ck_assert_uint_eq(atomic_load(&ran), TASK_QUEUE_MAX);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup_free");
	TCase *waited = test_case(suite, "waited for");

	tcase_add_test(waited, freed_in_a_task_while_another_thread_waits);
	tcase_add_test(waited, freed_in_a_task_while_two_threads_wait);
	tcase_add_test(waited, freed_by_a_thread_while_another_one_waits);
	tcase_add_test(waited, freed_while_a_thread_waits_for_room);
	tcase_add_loop_test(waited, freed_while_tasks_are_queued, 0, 2);
	return suite;
}
