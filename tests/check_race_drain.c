/* SPDX-License-Identifier: MIT */
/* Drains against the ends that they wait for: whenever one comes, the drain hears of it. */
#include <pthread.h>
#include <stdatomic.h>

#include "support/rings.h"

struct round {
	struct ctx_context *other, *drained;
};

struct ender {
	_Atomic(struct round *) next; /* taken by the thread; (void *)1: it is to end */
	unsigned seed;
};

static void *end_both(void *data)
{
	struct ender *ender = data;
	struct round *round;

	for (;;) {
		while (!(round = atomic_exchange(&ender->next, NULL)))
			sched_yield();
		if (round == (void *)1)
			return NULL;
		spin(&ender->seed, 3000);
		ctx_cancel(round->other);
		spin(&ender->seed, 1000);
		ctx_cancel(round->drained);
	}
}

/*
 * Goal: no end is missed, though the wake for it, or for the one before it, is taken out of the queue with
 * other completions. Method: another thread ends two contexts, one of them waited for, at any moment of a
 * drain without a bound, which would hang; on a new ring each time, so that the wake is armed at any moment
 * too.
 */
START_TEST(a_drain_hears_of_an_end_at_any_moment)
{
	unsigned rounds = test_scaled(1000);
	struct ender ender = {.seed = test_seed()};
	struct pair pair = pair_new();
	unsigned seed = ender.seed;
	pthread_t thread;
	char sink[8];

	ck_assert_ok(pthread_create(&thread, NULL, end_both, &ender));
	for (unsigned i = 0; i < rounds; i++) {
		struct ctx_ring *ring = ring_of(_i);
		struct round round = {child_of(ctx_background()), child_of(ctx_background())};
		struct probe probes[2];
		probe_recv(ring, round.other, &probes[0], pair.near, sink, sizeof(sink));
		probe_recv(ring, round.drained, &probes[1], pair.near, sink, sizeof(sink));
		atomic_store(&ender.next, &round);
		spin(&seed, 3000);
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		ck_assert_ok(ctx_ring_drain(ring, round.drained, CTX_FOREVER, NULL, 0, NULL));
		await_probes(ring, probes, 2);
		ring_end(ring);
		ctx_unref(round.other);
		ctx_unref(round.drained);
	}
	atomic_store(&ender.next, (struct round *)1);
	ck_assert_ok(pthread_join(thread, NULL));
	pair_end(pair);
}
END_TEST

/* The same for deadlines, which the timer of the library and that of the ring find at about the same time. */
START_TEST(a_drain_hears_of_a_deadline_at_any_moment)
{
	unsigned rounds = test_scaled(1000), seed = test_seed();
	struct pair pair = pair_new();
	char sink[8];

	for (unsigned i = 0; i < rounds; i++) {
		seed = seed * 1103515245u + 12345u;
		struct ctx_ring *ring = ring_of(_i);
		struct ctx_context *ctx = timed_child_of(ctx_background(), 50000 + (seed >> 8) % 200000);
		struct probe probe;
		probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		ck_assert_ok(ctx_ring_drain(ring, ctx, CTX_FOREVER, NULL, 0, NULL));
		await_probes(ring, &probe, 1);
		ck_assert_expired(ctx);
		ring_end(ring);
		ctx_unref(ctx);
	}
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("races of drains");
	TCase *drains = test_case_ring(suite, "drains");

	ON_EACH_RING(drains, a_drain_hears_of_an_end_at_any_moment);
	ON_EACH_RING(drains, a_drain_hears_of_a_deadline_at_any_moment);
	return suite;
}
