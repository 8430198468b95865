/* SPDX-License-Identifier: MIT */
/* Stopping callbacks whose function may have freed them: what a number of a registration leads to, and when.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* What the function frees, or whoever stops it. */
struct job {
	struct ctx_callback on_end;
	uint64_t id; /* where only the function looks at it */
	sem_t *freed;
};

static _Atomic unsigned freed_by_function;

static void free_job(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct job *job = data;
	sem_t *freed = job->freed;

	(void)ctx;
	ck_assert_ptr_eq(callback, &job->on_end);
	ck_assert(!ctx_callback_stop(job->id));
	memset(job, 0xff, sizeof(*job));
	free(job);
	freed_by_function++;
	if (freed)
		sem_post(freed);
}

static uint64_t job_add(const struct ctx_context *ctx, sem_t *freed)
{
	struct job *job = calloc(1, sizeof(*job));

	ck_assert_ptr_nonnull(job);
	job->freed = freed;
	ck_assert_ok(ctx_callback_add(ctx, &job->on_end, free_job, job, &job->id));
	return job->id;
}

START_TEST(after_the_function_freed_it_stop_says_false)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t id = job_add(ctx, NULL);

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_eq(freed_by_function, 1);
	ck_assert(!ctx_callback_stop(id));
	ck_assert(!ctx_callback_stop_wait(id));
	/* The context may be gone, too. */
	ctx_unref(ctx);
	ck_assert(!ctx_callback_stop(id));
	ck_assert(!ctx_callback_stop_wait(id));
}
END_TEST

START_TEST(after_a_deadlines_callback_freed_it_on_the_worker_stop_says_false)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	sem_t freed;

	sem_init(&freed, 0, 0);
	uint64_t id = job_add(ctx, &freed);
	ck_assert_ok(ctx_set_deadline(ctx, 1));
	sem_wait(&freed);
	ck_assert(!ctx_callback_stop(id));
	ck_assert(!ctx_callback_stop_wait(id));
	ctx_finish(ctx);
}
END_TEST

/* The number is there before the function runs, although it runs within the call that registers. */
START_TEST(on_a_done_context_the_number_is_written_before_the_function_runs)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct job *job = calloc(1, sizeof(*job));

	ck_assert_ptr_nonnull(job);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_callback_add(ctx, &job->on_end, free_job, job, &job->id));
	ck_assert_uint_eq(freed_by_function, 1);
	ctx_finish(ctx);
}
END_TEST

static void count_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback, (void)ctx;
	++*(unsigned *)data;
}

/* Goal: memory that is used again is not taken for what was there. Method: registered anew in place. */
START_TEST(an_old_number_does_not_stop_what_came_into_the_same_memory)
{
	struct ctx_context *first = child_of(ctx_background()), *second = child_of(ctx_background());
	struct ctx_callback callback = {0};
	unsigned calls = 0;
	uint64_t old, stopped, new;

	ck_assert_ok(ctx_callback_add(first, &callback, count_call, &calls, &old));
	ck_assert_ok(ctx_cancel(first));
	ck_assert_uint_eq(calls, 1);
	ck_assert_ok(ctx_callback_add(second, &callback, count_call, &calls, &stopped));
	ck_assert(!ctx_callback_stop(old));
	ck_assert(!ctx_callback_stop_wait(old));
	ck_assert(ctx_callback_stop(stopped));
	ck_assert_ok(ctx_callback_add(second, &callback, count_call, &calls, &new));
	ck_assert(!ctx_callback_stop(old));
	ck_assert(!ctx_callback_stop(stopped));
	ck_assert_ok(ctx_cancel(second));
	ck_assert_uint_eq(calls, 2);
	ck_assert(!ctx_callback_stop(new));
	ctx_finish(first);
	ctx_finish(second);
}
END_TEST

struct held {
	struct ctx_callback callback;
	struct ctx_context *ctx;
	sem_t begun, go_on;
};

static void hold(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct held *held = data;

	(void)callback, (void)ctx;
	sem_post(&held->begun);
	sem_wait(&held->go_on);
}

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

/* Else a stop could wait for a stranger's function, which may wait for the one that stops. */
START_TEST(an_old_number_does_not_wait_for_what_runs_in_the_same_memory)
{
	struct ctx_context *first = child_of(ctx_background());
	struct held held = {.ctx = child_of(ctx_background())};
	unsigned calls = 0;
	pthread_t thread;
	uint64_t old;

	sem_init(&held.begun, 0, 0);
	sem_init(&held.go_on, 0, 0);
	ck_assert_ok(ctx_callback_add(first, &held.callback, count_call, &calls, &old));
	ck_assert_ok(ctx_cancel(first));
	ck_assert_ok(ctx_callback_add(held.ctx, &held.callback, hold, &held, NULL));
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, held.ctx));
	sem_wait(&held.begun);
	ck_assert(!ctx_callback_stop_wait(old));
	sem_post(&held.go_on);
	ck_assert_ok(pthread_join(thread, NULL));
	ctx_finish(first);
	ctx_finish(held.ctx);
}
END_TEST

/* So many that the places grow several times; stopped last first, first first and by their end. */
START_TEST(each_of_many_numbers_leads_to_its_own)
{
	enum {
		COUNT = 3000
	};
	struct ctx_callback *callbacks = calloc(COUNT, sizeof(*callbacks));
	uint64_t *ids = calloc(COUNT, sizeof(*ids));
	struct ctx_context *ctx = child_of(ctx_background());
	unsigned *calls = calloc(COUNT, sizeof(*calls));

	ck_assert(callbacks && ids && calls);
	for (int i = 0; i < COUNT; i++)
		ck_assert_ok(ctx_callback_add(ctx, &callbacks[i], count_call, &calls[i], &ids[i]));
	for (int i = COUNT - 1; i >= 0; i -= 3)
		ck_assert(ctx_callback_stop(ids[i]));
	for (int i = 0; i < COUNT; i += 3)
		ck_assert(ctx_callback_stop_wait(ids[i]));
	ck_assert_ok(ctx_cancel(ctx));
	for (int i = 0; i < COUNT; i++) {
		ck_assert(!ctx_callback_stop(ids[i]));
		ck_assert_uint_eq(calls[i], i % 3 == 1);
	}
	ctx_finish(ctx);
	free(callbacks);
	free(calls);
	free(ids);
}
END_TEST

/* ---- who frees */

struct stopper {
	const uint64_t *ids;
	unsigned count;
	bool wait;
	bool *stopped; /* freed by us */
	struct job **jobs;
};

static void *stop_all(void *data)
{
	struct stopper *stopper = data;

	for (unsigned i = 0; i < stopper->count; i++) {
		stopper->stopped[i] = stopper->wait ? ctx_callback_stop_wait(stopper->ids[i])
						    : ctx_callback_stop(stopper->ids[i]);
		if (stopper->stopped[i])
			free(stopper->jobs[i]);
	}
	return NULL;
}

/*
 * Goal: each job is freed once, by its function or by the one stop that says true, while others come into the
 * same memory. Method: two threads stop what a third ends; AddressSanitizer sees what is freed twice, or read
 * after that, and what is not freed at all.
 */
START_TEST(either_the_function_or_one_stop_frees_it)
{
	enum {
		COUNT = 8
	};

	for (unsigned round = 0; round < test_scaled(2000); round++) {
		struct ctx_context *parent = child_of(ctx_background()), *contexts[COUNT];
		struct job *jobs[COUNT];
		uint64_t ids[COUNT];
		bool stopped[2][COUNT];
		unsigned before = freed_by_function, stops = 0;
		pthread_t canceller, rival;
		for (unsigned i = 0; i < COUNT; i++) {
			contexts[i] = child_of(parent);
			jobs[i] = calloc(1, sizeof(*jobs[i]));
			ck_assert_ptr_nonnull(jobs[i]);
			ck_assert_ok(ctx_callback_add(contexts[i], &jobs[i]->on_end, free_job, jobs[i],
						      &jobs[i]->id));
			ids[i] = jobs[i]->id;
			ctx_unref(contexts[i]);
		}
		struct stopper stoppers[] = {{ids, COUNT, false, stopped[0], jobs},
					     {ids, COUNT, true, stopped[1], jobs}};
		ck_assert_ok(pthread_create(&canceller, NULL, cancel_it, parent));
		ck_assert_ok(pthread_create(&rival, NULL, stop_all, &stoppers[0]));
		stop_all(&stoppers[1]);
		ck_assert_ok(pthread_join(canceller, NULL));
		ck_assert_ok(pthread_join(rival, NULL));
		for (unsigned i = 0; i < COUNT; i++) {
			ck_assert(!(stopped[0][i] && stopped[1][i]));
			stops += stopped[0][i] || stopped[1][i];
		}
		ck_assert_uint_eq(freed_by_function - before + stops, COUNT);
		ctx_unref(parent);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("callback_stop");
	TCase *freed = test_case(suite, "freed"), *again = test_case(suite, "memory that is used again");

	tcase_add_test(freed, after_the_function_freed_it_stop_says_false);
	tcase_add_test(freed, after_a_deadlines_callback_freed_it_on_the_worker_stop_says_false);
	tcase_add_test(freed, on_a_done_context_the_number_is_written_before_the_function_runs);
	tcase_add_test(freed, either_the_function_or_one_stop_frees_it);
	tcase_add_test(again, an_old_number_does_not_stop_what_came_into_the_same_memory);
	tcase_add_test(again, an_old_number_does_not_wait_for_what_runs_in_the_same_memory);
	tcase_add_test(again, each_of_many_numbers_leads_to_its_own);
	return suite;
}
