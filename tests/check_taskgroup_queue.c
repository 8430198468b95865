/* SPDX-License-Identifier: MIT */
/*
 * The queue of a task group on threads: a start does not wait while there is room, up to limit tasks run
 * beside each other whatever they do, and what was queued is called, and once.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/contexts.h"
#include "support/threads.h"
#include "taskgroup.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static struct ctx_taskgroup *group_of(unsigned limit)
{
	struct ctx_taskgroup *group = NULL;

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), limit, "group", &group));
	return group;
}

static int count_up(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	atomic_fetch_add((_Atomic unsigned *)data, 1);
	return 0;
}

struct hold {
	sem_t begun, go;
};

static void hold_init(struct hold *hold)
{
	sem_init(&hold->begun, 0, 0);
	sem_init(&hold->go, 0, 0);
}

static int hold_up(const struct ctx_context *ctx, void *data)
{
	struct hold *hold = data;

	(void)ctx;
	sem_post(&hold->begun);
	sem_wait(&hold->go);
	return 0;
}

/* ---- room */

struct start {
	struct ctx_taskgroup *group;
	_Atomic unsigned *ran;
	_Atomic int tid;
	int result;
};

static void *start_one(void *data)
{
	struct start *start = data;

	atomic_store(&start->tid, gettid());
	start->result = ctx_taskgroup_start(start->group, count_up, start->ran, NULL);
	return NULL;
}

static bool starter_sleeps(void *data)
{
	struct start *start = data;
	pid_t tid = atomic_load(&start->tid);

	return tid && test_thread_sleeps(&tid);
}

START_TEST(a_start_waits_only_while_the_queue_is_full)
{
	struct ctx_taskgroup *group = group_of(1);
	_Atomic unsigned ran = 0;
	struct start start = {.group = group, .ran = &ran};
	pthread_t thread;
	struct hold hold;

	hold_init(&hold);
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++) {
		ck_assert_int_eq(ctx_taskgroup_try_start(group, count_up, &ran, NULL), -EAGAIN);
		ck_assert_ok(ctx_taskgroup_start(group, count_up, &ran, NULL));
	}
	ck_assert_ok(pthread_create(&thread, NULL, start_one, &start));
	ck_assert(test_until(starter_sleeps, &start));
	ck_assert_uint_eq(ran, 0);
	sem_post(&hold.go);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(start.result);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_uint_eq(ran, TASK_QUEUE_MAX + 1);
	ctx_taskgroup_free(group);
}
END_TEST

struct crowd {
	struct ctx_taskgroup *group;
	unsigned count;
};

static bool crowd_waits(void *data)
{
	struct crowd *crowd = data;
	unsigned count = 0;

	lock_acquire(&crowd->group->lock);
	for (struct list *link = crowd->group->starters.next; link != &crowd->group->starters;
	     link = link->next)
		count++;
	lock_release(&crowd->group->lock);
	return count == crowd->count;
}

/* Goal: the queue takes no more tasks than it has places, also from starts that need no wake, because they
 * still look. */
START_TEST(starts_that_still_look_do_not_overfill_the_queue)
{
	enum {
		COUNT = TASK_QUEUE_MAX / 2 + 16
	};
	struct crowd crowd = {.group = group_of(1), .count = COUNT};
	const unsigned spins = taskgroup_spins;
	_Atomic unsigned queued = 0, ran = 0;
	struct start starts[COUNT];
	pthread_t threads[COUNT];
	struct hold hold;

	hold_init(&hold);
	ck_assert_ok(ctx_taskgroup_start(crowd.group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++)
		ck_assert_ok(ctx_taskgroup_start(crowd.group, count_up, &queued, NULL));
	taskgroup_spins = 1u << 30; /* no start sleeps */
	for (unsigned i = 0; i < COUNT; i++) {
		starts[i] = (struct start){.group = crowd.group, .ran = &ran};
		ck_assert_ok(pthread_create(&threads[i], NULL, start_one, &starts[i]));
	}
	ck_assert(test_until(crowd_waits, &crowd));
	sem_post(&hold.go);
	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert_ok(pthread_join(threads[i], NULL));
		ck_assert_ok(starts[i].result);
	}
	ck_assert_ok(ctx_taskgroup_wait(crowd.group));
	taskgroup_spins = spins;
	ck_assert_uint_eq(queued, TASK_QUEUE_MAX);
	ck_assert_uint_eq(ran, COUNT);
	ctx_taskgroup_free(crowd.group);
}
END_TEST

/* ---- beside each other */

static int meet(const struct ctx_context *ctx, void *data)
{
	int result = pthread_barrier_wait(data);

	(void)ctx;
	return result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : -EPROTO;
}

/* Goal: limit tasks that wait for each other all run, whatever the threads are at when they are started:
 * asleep, on their way, looking for a task or running short ones. Method: some short tasks first, without a
 * wait. */
START_TEST(tasks_that_wait_for_each_other_run)
{
	const unsigned limit = (unsigned)_i, rounds = test_scaled(2000);
	struct ctx_taskgroup *group = group_of(limit);
	_Atomic unsigned ran = 0;
	unsigned started = 0;
	pthread_barrier_t barrier;

	ck_assert_ok(pthread_barrier_init(&barrier, NULL, limit));
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < round % 20; i++, started++)
			ck_assert_ok(ctx_taskgroup_start(group, count_up, &ran, NULL));
		for (unsigned i = 0; i < limit; i++)
			ck_assert_ok(ctx_taskgroup_start(group, meet, &barrier, NULL));
		if (round % 3 == 0)
			ck_assert_ok(ctx_taskgroup_wait(group));
	}
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_uint_eq(ran, started);
	ck_assert_uint_le(count_threads("ctx-task"), limit);
	ctx_taskgroup_free(group);
	pthread_barrier_destroy(&barrier);
}
END_TEST

static int post(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	sem_post(data);
	return 0;
}

/* Goal: a task that blocks holds up none that is started after it, nor one that was queued before. */
START_TEST(a_task_that_blocks_holds_up_no_other)
{
	for (unsigned round = 0; round < test_scaled(1000); round++) {
		struct ctx_taskgroup *group = group_of(3);
		struct hold holds[2];
		sem_t ran;
		sem_init(&ran, 0, 0);
		for (int i = 0; i < 2; i++) {
			hold_init(&holds[i]);
			ck_assert_ok(ctx_taskgroup_start(group, post, &ran, NULL));
			ck_assert_ok(ctx_taskgroup_start(group, hold_up, &holds[i], NULL));
			ck_assert_ok(ctx_taskgroup_start(group, post, &ran, NULL));
		}
		for (int i = 0; i < 4; i++)
			sem_wait(&ran);
		for (int i = 0; i < 10; i++) {
			ck_assert_ok(ctx_taskgroup_start(group, post, &ran, NULL));
			sem_wait(&ran);
		}
		for (int i = 0; i < 2; i++)
			sem_post(&holds[i].go);
		ck_assert_ok(ctx_taskgroup_wait(group));
		ctx_taskgroup_free(group);
	}
}
END_TEST

/* ---- the end of the context */

struct call {
	_Atomic unsigned count, *ended;
};

static int see_end(const struct ctx_context *ctx, void *data)
{
	struct call *call = data;

	atomic_fetch_add(&call->count, 1);
	atomic_fetch_add(call->ended, ctx_err(ctx) != 0);
	return ctx_err(ctx);
}

/* Goal: a task for which start returned 0 is called once, so that it can free what it was given. */
START_TEST(what_was_queued_is_called_after_the_end)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct call calls[TASK_QUEUE_MAX] = {0};
	_Atomic unsigned ended = 0;
	struct ctx_taskgroup *group;
	struct hold hold;

	hold_init(&hold);
	ck_assert_ok(ctx_taskgroup_new(parent, 1, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++) {
		calls[i].ended = &ended;
		ck_assert_ok(ctx_taskgroup_start(group, see_end, &calls[i], "queued"));
	}
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_int_eq(ctx_taskgroup_start(group, see_end, &calls[0], NULL), -ECANCELED);
	sem_post(&hold.go);
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECANCELED);
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++)
		ck_assert_uint_eq(calls[i].count, 1);
	ck_assert_uint_eq(ended, TASK_QUEUE_MAX);
	struct ctx_failure failure;
	ck_assert_int_eq(ctx_taskgroup_failures(group, &failure, 1), (int)TASK_QUEUE_MAX);
	ck_assert(failure.consequence);
	ck_assert_str_eq(failure.text, "queued");
	ctx_taskgroup_free(group);
	ctx_finish(parent);
}
END_TEST

/* ---- many at once */

struct crew {
	struct ctx_taskgroup *group;
	_Atomic unsigned ran, started;
};

static int start_another(const struct ctx_context *ctx, void *data)
{
	struct crew *crew = data;

	count_up(ctx, &crew->ran);
	if (!ctx_taskgroup_try_start(crew->group, count_up, &crew->ran, NULL))
		atomic_fetch_add(&crew->started, 1);
	return 0;
}

static void *start_many(void *data)
{
	struct crew *crew = data;
	unsigned count = test_scaled(20000);

	for (unsigned i = 0; i < count; i++) {
		ck_assert_ok(ctx_taskgroup_start(crew->group, i % 8 ? count_up : start_another,
						 i % 8 ? (void *)&crew->ran : crew, "task"));
		atomic_fetch_add(&crew->started, 1);
	}
	return NULL;
}

/* Goal: no task is lost or called twice, and no start sleeps for ever, when many threads start and some wait
 * for room. */
START_TEST(many_threads_start_tasks)
{
	struct crew crew = {.group = group_of((unsigned)_i)};
	pthread_t threads[10];

	for (int i = 0; i < 10; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, start_many, &crew));
	for (int i = 0; i < 10; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	ck_assert_ok(ctx_taskgroup_wait(crew.group));
	ck_assert_uint_eq(crew.ran, crew.started);
	ck_assert_uint_le(count_threads("ctx-task"), (unsigned)_i);
	ctx_taskgroup_free(crew.group);
}
END_TEST

static int say_thread(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	atomic_store((_Atomic int *)data, gettid());
	return 0;
}

static bool task_thread_sleeps(void *data)
{
	pid_t tid = atomic_load((_Atomic int *)data);

	return tid && test_thread_sleeps(&tid);
}

/* Goal: no thread keeps looking for a task. */
START_TEST(a_thread_without_a_task_sleeps)
{
	struct ctx_taskgroup *group = group_of(2);
	_Atomic int tid = 0;

	ck_assert_ok(ctx_taskgroup_start(group, say_thread, &tid, NULL));
	ck_assert(test_until(task_thread_sleeps, &tid));
	ctx_taskgroup_free(group);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup_queue");
	TCase *queue = test_case(suite, "queue");

	tcase_add_test(queue, a_start_waits_only_while_the_queue_is_full);
	tcase_add_test(queue, starts_that_still_look_do_not_overfill_the_queue);
	tcase_add_loop_test(queue, tasks_that_wait_for_each_other_run, 2, 6);
	tcase_add_test(queue, a_task_that_blocks_holds_up_no_other);
	tcase_add_test(queue, what_was_queued_is_called_after_the_end);
	tcase_add_loop_test(queue, many_threads_start_tasks, 1, 4);
	tcase_add_test(queue, a_thread_without_a_task_sleeps);
	return suite;
}
