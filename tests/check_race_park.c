/* SPDX-License-Identifier: MIT */
/*
 * Contexts that other threads end while a ring parks, attempts and delivers what is under them. Each
 * operation ends once, with its byte or as cancelled, and no byte is lost: those that a cancelled receive did
 * not take are there for the next.
 */
#include <pthread.h>

#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

#define WIDTH 16u
#define THREADS 4u

/* ---- one ring, one thread that writes and cancels */

struct race {
	struct ctx_context *ctx;
	struct pair pairs[WIDTH];
	unsigned seed;
	bool stop;
	pthread_barrier_t barrier;
};

/* In each round a byte to each, and an end to all at a moment that chance finds. */
static void *write_and_cancel(void *data)
{
	struct race *race = data;
	unsigned seed = race->seed;

	for (;;) {
		pthread_barrier_wait(&race->barrier);
		if (race->stop)
			return NULL;
		unsigned moment = (seed >> 8) % (2 * WIDTH);
		spin(&seed, 3000);
		for (unsigned i = 0; i < WIDTH; i++) {
			if (i == moment)
				ck_assert_ok(ctx_cancel(race->ctx));
			ck_assert_int_eq(write(race->pairs[i].far, "x", 1), 1);
		}
		if (moment >= WIDTH) {
			spin(&seed, 3000);
			if (moment % 4 == 0) /* on a busy machine the owner gets no turn before */
				usleep(300);
			ck_assert_ok(ctx_cancel(race->ctx));
		}
		pthread_barrier_wait(&race->barrier);
	}
}

static unsigned one_round(struct ctx_ring *ring, struct race *race)
{
	struct probe probes[WIDTH], rest;
	char sinks[WIDTH], byte;
	unsigned finished = 0;

	race->ctx = child_of(ctx_background());
	for (unsigned i = 0; i < WIDTH; i++) {
		probe_recv(ring, race->ctx, &probes[i], race->pairs[i].near, &sinks[i], 1);
		if (i % 4 == 3)
			ck_assert_ok(ctx_op_set_timeout(&probes[i].op, HOUR));
	}
	if (race->seed & 0x100)
		ck_assert_int_eq(ctx_ring_submit(ring), (int)WIDTH);
	pthread_barrier_wait(&race->barrier);
	spin(&race->seed, 3000);
	await_probes(ring, probes, WIDTH);
	pthread_barrier_wait(&race->barrier);
	for (unsigned i = 0; i < WIDTH; i++) {
		if (probes[i].last.res == 1) {
			ck_assert_int_eq(probes[i].last.end, CTX_OP_FINISHED);
			finished++;
			continue;
		}
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
		probe_recv(ring, ctx_background(), &rest, race->pairs[i].near, &byte, 1);
		await_probes(ring, &rest, 1);
		ck_assert_probe(&rest, 1, CTX_OP_FINISHED);
	}
	ctx_finish(race->ctx);
	return finished;
}

START_TEST(another_thread_cancels_what_is_parked_or_attempted)
{
	struct race race = {.seed = test_seed()};
	unsigned rounds = test_scaled(1500), finished = 0;
	struct ctx_ring *ring = ring_of(parking_kind(_i));
	pthread_t thread;

	ck_assert_ok(pthread_barrier_init(&race.barrier, NULL, 2));
	for (unsigned i = 0; i < WIDTH; i++)
		race.pairs[i] = pair_new();
	ck_assert_ok(pthread_create(&thread, NULL, write_and_cancel, &race));
	/* Until both ends have been seen. */
	unsigned round = 0;
	for (; round < rounds || !finished || finished == round * WIDTH; round++)
		finished += one_round(ring, &race);
	race.stop = true;
	pthread_barrier_wait(&race.barrier);
	ck_assert_ok(pthread_join(thread, NULL));
	ring_end(ring);
	for (unsigned i = 0; i < WIDTH; i++)
		pair_end(race.pairs[i]);
	pthread_barrier_destroy(&race.barrier);
}
END_TEST

/* ---- a ring for each thread, one context above all */

struct worker {
	const struct ctx_context *above;
	pthread_barrier_t *opened;
	int kind;
	unsigned received;
	pthread_t thread;
};

/* Sends to itself, some of it parked, until all ends. */
static void *work(void *data)
{
	struct worker *worker = data;
	struct ctx_ring *ring = ring_of(worker->kind);
	struct ctx_context *ctx = child_of(worker->above);
	struct probe idle[WIDTH], busy;
	struct pair pairs[WIDTH];
	char sinks[WIDTH], byte;

	/* ThreadSanitizer does not see a closed ring's memory go, and would take its successor there for it.
	 */
	pthread_barrier_wait(worker->opened);
	for (unsigned i = 0; i < WIDTH; i++) {
		pairs[i] = pair_new();
		probe_recv(ring, i % 2 ? ctx : worker->above, &idle[i], pairs[i].near, &sinks[i], 1);
	}
	do {
		probe_recv(ring, ctx, &busy, pairs[0].far, &byte, 1);
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		ck_assert_int_eq(write(pairs[0].near, "x", 1), 1);
		await_probes(ring, &busy, 1);
		worker->received++;
	} while (busy.last.res == 1);
	ck_assert_probe(&busy, -ECANCELED, CTX_OP_CANCELLED);
	await_probes(ring, idle, WIDTH);
	for (unsigned i = 0; i < WIDTH; i++)
		ck_assert_probe(&idle[i], -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	for (unsigned i = 0; i < WIDTH; i++)
		pair_end(pairs[i]);
	return NULL;
}

START_TEST(one_cancel_ends_the_rings_of_many_threads)
{
	pthread_barrier_t opened;

	ck_assert_ok(pthread_barrier_init(&opened, NULL, THREADS));
	for (unsigned round = test_scaled(50); round; round--) {
		struct ctx_context *above = child_of(ctx_background());
		struct worker workers[THREADS];
		for (unsigned i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){
				.above = above, .opened = &opened, .kind = parking_kind(i % 2)};
			ck_assert_ok(pthread_create(&workers[i].thread, NULL, work, &workers[i]));
		}
		usleep(2000);
		ck_assert_ok(ctx_cancel(above));
		for (unsigned i = 0; i < THREADS; i++)
			ck_assert_ok(pthread_join(workers[i].thread, NULL));
		ctx_finish(above);
	}
	pthread_barrier_destroy(&opened);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("race_park");
	TCase *races = test_case_ring(suite, "races");

	tcase_add_loop_test(races, another_thread_cancels_what_is_parked_or_attempted, 0, 2);
	tcase_add_test(races, one_cancel_ends_the_rings_of_many_threads);
	return suite;
}
