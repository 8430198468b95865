/* SPDX-License-Identifier: MIT */
/* The threads that tasks run on: used again, gone after a while, and no business of a forked child's. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "pool.h"
#include "support/contexts.h"
#include "support/threads.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* A job that says on which thread it runs, and may be held up. */
struct probe {
	struct pool_job job;
	sem_t begun, ended;
	sem_t *hold;
	pid_t tid;
	sigset_t blocked;
};

static void probe_run(struct pool_job *job, struct pool_thread *thread)
{
	struct probe *probe = (struct probe *)job;

	probe->tid = gettid();
	pthread_sigmask(SIG_SETMASK, NULL, &probe->blocked);
	sem_post(&probe->begun);
	if (probe->hold)
		sem_wait(probe->hold);
	pool_release(thread);
	sem_post(&probe->ended);
}

static void probe_start(struct probe *probe, sem_t *hold)
{
	*probe = (struct probe){.job.run = probe_run, .hold = hold};
	sem_init(&probe->begun, 0, 0);
	sem_init(&probe->ended, 0, 0);
	ck_assert_ok(pool_run(&probe->job));
}

static void probe_await(struct probe *probe)
{
	sem_wait(&probe->begun);
	sem_wait(&probe->ended);
}

START_TEST(a_thread_is_used_again)
{
	struct probe first, next;

	probe_start(&first, NULL);
	probe_await(&first);
	for (int i = 0; i < 100; i++) {
		probe_start(&next, NULL);
		probe_await(&next);
		ck_assert_int_eq(next.tid, first.tid);
	}
	ck_assert_int_ne(first.tid, gettid());
	ck_assert_uint_eq(count_threads("ctx-task"), 1);
}
END_TEST

/* Goal: jobs never wait for each other, and what one burst needed serves the next, the latest idle first. */
START_TEST(each_job_runs_at_once)
{
	static struct probe probes[20];
	sem_t hold;

	sem_init(&hold, 0, 0);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 20; i++)
			probe_start(&probes[i], &hold);
		for (int i = 0; i < 20; i++)
			sem_wait(&probes[i].begun);
		for (int i = 0; i < 20; i++)
			for (int j = 0; j < i; j++)
				ck_assert_int_ne(probes[i].tid, probes[j].tid);
		for (int i = 0; i < 20; i++)
			sem_post(&hold);
		for (int i = 0; i < 20; i++)
			sem_wait(&probes[i].ended);
	}
	ck_assert_uint_eq(count_threads("ctx-task"), 20);
}
END_TEST

START_TEST(the_thread_that_was_busy_last_comes_first)
{
	struct probe early, late, next;
	sem_t hold_early, hold_late;

	sem_init(&hold_early, 0, 0);
	sem_init(&hold_late, 0, 0);
	probe_start(&early, &hold_early);
	probe_start(&late, &hold_late);
	sem_post(&hold_early);
	sem_wait(&early.ended);
	sem_post(&hold_late);
	sem_wait(&late.ended);
	probe_start(&next, NULL);
	probe_await(&next);
	ck_assert_int_eq(next.tid, late.tid);
}
END_TEST

START_TEST(signals_are_left_to_the_program)
{
	struct probe probe;

	probe_start(&probe, NULL);
	probe_await(&probe);
	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGKILL && signo != SIGSTOP && signo != 32 && signo != 33)
			ck_assert_int_eq(sigismember(&probe.blocked, signo), 1);
}
END_TEST

static bool none_left(void *unused)
{
	(void)unused;
	return count_threads("ctx-task") == 0;
}

static bool one_left(void *unused)
{
	(void)unused;
	return count_threads("ctx-task") == 1;
}

START_TEST(idle_threads_end)
{
	static struct probe probes[8], last;
	sem_t hold;

	pool_idle_ns = 20 * MILLISECOND;
	sem_init(&hold, 0, 0);
	for (int i = 0; i < 8; i++)
		probe_start(&probes[i], &hold);
	for (int i = 0; i < 8; i++)
		sem_wait(&probes[i].begun);
	ck_assert_uint_eq(count_threads("ctx-task"), 8);
	for (int i = 0; i < 8; i++)
		sem_post(&hold);
	for (int i = 0; i < 8; i++)
		sem_wait(&probes[i].ended);
	ck_assert(test_until(none_left, NULL));
	probe_start(&last, NULL);
	probe_await(&last);
}
END_TEST

/* Goal: a job given to a thread that is just about to end is not lost. */
START_TEST(no_job_is_lost_to_a_thread_that_ends)
{
	const unsigned count = test_scaled(20000);

	pool_idle_ns = 1;
	for (unsigned i = 0; i < count; i++) {
		static struct probe probe;
		probe_start(&probe, NULL);
		probe_await(&probe);
	}
}
END_TEST

/* Goal: a thread that is set aside neither serves another job nor ends, until its job comes or it is given
 * back. */
START_TEST(a_thread_that_is_set_aside_stays)
{
	_Atomic uint32_t *wake = NULL;
	struct probe first, other, promised;

	pool_idle_ns = MILLISECOND;
	ck_assert(!pool_promise());
	do {
		probe_start(&first, NULL);
		probe_await(&first);
	} while (!pool_promise()); /* the thread may have ended already */
	ck_assert(!pool_promise());
	probe_start(&other, NULL);
	probe_await(&other);
	ck_assert_int_ne(other.tid, first.tid);
	ck_assert(test_until(one_left, NULL));
	promised = (struct probe){.job.run = probe_run};
	sem_init(&promised.begun, 0, 0);
	sem_init(&promised.ended, 0, 0);
	pool_give_promised(&promised.job, &wake);
	pool_wake(wake);
	probe_await(&promised);
	ck_assert(test_until(none_left, NULL));
}
END_TEST

START_TEST(a_thread_that_is_given_back_ends)
{
	struct probe probe;

	pool_idle_ns = MILLISECOND;
	do {
		probe_start(&probe, NULL);
		probe_await(&probe);
	} while (!pool_promise());
	pool_return(1);
	ck_assert(test_until(none_left, NULL));
}
END_TEST

static int run_in_child(void *unused)
{
	static struct probe probe;

	(void)unused;
	if (count_threads("ctx-task") != 0)
		return 1;
	probe_start(&probe, NULL);
	probe_await(&probe);
	return count_threads("ctx-task") == 1 ? 0 : 2;
}

START_TEST(a_forked_child_has_threads_of_its_own)
{
	static struct probe idle, busy, again;
	sem_t hold;

	sem_init(&hold, 0, 0);
	probe_start(&busy, &hold);
	probe_start(&idle, NULL);
	probe_await(&idle);
	ck_assert_int_eq(test_in_child(run_in_child, NULL), 0);
	sem_post(&hold);
	sem_wait(&busy.ended);
	probe_start(&again, NULL);
	probe_await(&again);
	ck_assert_uint_eq(count_threads("ctx-task"), 2);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pool");
	TCase *pool = test_case(suite, "pool");

	tcase_add_test(pool, a_thread_is_used_again);
	tcase_add_test(pool, each_job_runs_at_once);
	tcase_add_test(pool, the_thread_that_was_busy_last_comes_first);
	tcase_add_test(pool, signals_are_left_to_the_program);
	tcase_add_test(pool, idle_threads_end);
	tcase_add_test(pool, no_job_is_lost_to_a_thread_that_ends);
	tcase_add_test(pool, a_thread_that_is_set_aside_stays);
	tcase_add_test(pool, a_thread_that_is_given_back_ends);
	tcase_add_test(pool, a_forked_child_has_threads_of_its_own);
	return suite;
}
