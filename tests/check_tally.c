/* SPDX-License-Identifier: MIT */
/* Sums of batches: what became of the operations under one context on all rings. */
#include <pthread.h>

#include "tally.h"
#include "support/rings.h"

struct asked {
	struct tally tally;
	_Atomic unsigned done;
};

static void count_done(struct tally *tally)
{
	struct asked *asked = container_of(tally, struct asked, tally);

	atomic_fetch_add(&asked->done, 1);
}

static void submit_receives(struct ctx_ring *ring, const struct ctx_context *ctx, int fd,
			    struct probe *probes, unsigned count)
{
	static char sink[64];

	for (unsigned i = 0; i < count; i++)
		probe_recv(ring, ctx, &probes[i], fd, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), (int)count);
}

START_TEST(what_a_cancel_reaped_is_summed_up)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx);
	struct pair pair = pair_new();
	struct probe probes[50];
	struct asked asked = {.done = 0};

	submit_receives(ring, ctx, pair.near, probes, 30);
	submit_receives(ring, child, pair.near, probes + 30, 20);
	tally_begin(&asked.tally, ctx, count_done);
	ctx_cancel(ctx);
	tally_end(&asked.tally);
	await_probes(ring, probes, 50);
	ck_assert_uint_eq(asked.done, 1);
	ck_assert_uint_eq(asked.tally.batches, 1);
	ck_assert_uint_eq(asked.tally.sum.operations, 50);
	ck_assert_uint_eq(asked.tally.sum.sqes, in_kernel(_i, 50));
	ck_assert_uint_eq(asked.tally.sum.enters, in_kernel(_i, 1));
	ck_assert_uint_eq(asked.tally.sum.cancelled, 50);
	ck_assert_uint_eq(asked.tally.sum.held, 0);
	ck_assert_uint_ge(asked.tally.sum.reap_ns, asked.tally.sum.submit_ns);
	ring_end(ring);
	ctx_finish(child);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(without_operations_it_is_done_when_asking_ends)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct asked asked = {.done = 0};

	tally_begin(&asked.tally, ctx, count_done);
	ctx_cancel(ctx);
	ck_assert_uint_eq(asked.done, 0);
	tally_end(&asked.tally);
	ck_assert_uint_eq(asked.done, 1);
	ck_assert_uint_eq(asked.tally.batches, 0);
	ctx_finish(ctx);
}
END_TEST

/* Two rings, one context: one reports by itself, the other when its owner comes. */
struct other {
	const struct ctx_context *ctx;
	struct pair pair;
	int kind;
	pthread_barrier_t ready;
};

static void *run_other(void *data)
{
	struct other *other = data;
	struct ctx_ring *ring = ring_of(other->kind);
	struct probe probes[10];

	submit_receives(ring, other->ctx, other->pair.near, probes, 10);
	pthread_barrier_wait(&other->ready);
	await_probes(ring, probes, 10);
	ring_end(ring);
	return NULL;
}

START_TEST(all_rings_report)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct other other = {.ctx = ctx, .pair = pair_new(), .kind = _i};
	struct ctx_ring *ring = ring_of(_i);
	struct probe probes[5];
	struct asked asked = {.done = 0};
	pthread_t thread;

	pthread_barrier_init(&other.ready, NULL, 2);
	ck_assert_ok(pthread_create(&thread, NULL, run_other, &other));
	submit_receives(ring, ctx, other.pair.near, probes, 5);
	pthread_barrier_wait(&other.ready);
	tally_begin(&asked.tally, ctx, count_done);
	ctx_cancel(ctx);
	tally_end(&asked.tally);
	await_probes(ring, probes, 5);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(asked.done, 1);
	ck_assert_uint_eq(asked.tally.batches, 2);
	ck_assert_uint_eq(asked.tally.sum.operations, 15);
	ck_assert_uint_eq(asked.tally.sum.cancelled, 15);
	pthread_barrier_destroy(&other.ready);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(other.pair);
}
END_TEST

static void *cancel_both(void *data)
{
	struct ctx_context **both = data;

	ctx_cancel(both[0]);
	ctx_cancel(both[1]);
	return NULL;
}

/* Both ends reach the ring before its owner looks: still each gets the batch of its own. */
START_TEST(two_that_ask_get_a_batch_each)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *both[2] = {child_of(ctx_background()), child_of(ctx_background())};
	struct pair pair = pair_new();
	struct probe probes[12];
	struct asked asked[2] = {{.done = 0}, {.done = 0}};
	pthread_t thread;

	submit_receives(ring, both[0], pair.near, probes, 4);
	submit_receives(ring, both[1], pair.near, probes + 4, 8);
	for (int i = 0; i < 2; i++)
		tally_begin(&asked[i].tally, both[i], count_done);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_both, both));
	ck_assert_ok(pthread_join(thread, NULL));
	for (int i = 0; i < 2; i++)
		tally_end(&asked[i].tally);
	await_probes(ring, probes, 12);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(asked[i].done, 1);
		ck_assert_uint_eq(asked[i].tally.batches, 1);
		ck_assert_uint_eq(asked[i].tally.sum.operations, i ? 8 : 4);
		ck_assert_uint_eq(asked[i].tally.sum.cancelled, i ? 8 : 4);
		ctx_finish(both[i]);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_ring_that_closes_reports_too)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probes[3];
	struct asked asked = {.done = 0};

	submit_receives(ring, ctx, pair.near, probes, 3);
	tally_begin(&asked.tally, ctx, count_done);
	ring_end(ring);
	tally_end(&asked.tally);
	ck_assert_uint_eq(asked.done, 1);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("tally");
	TCase *tally = test_case_ring(suite, "tally");

	ON_EACH_RING(tally, what_a_cancel_reaped_is_summed_up);
	tcase_add_test(tally, without_operations_it_is_done_when_asking_ends);
	ON_EACH_RING(tally, all_rings_report);
	ON_EACH_RING(tally, two_that_ask_get_a_batch_each);
	ON_EACH_RING(tally, a_ring_that_closes_reports_too);
	return suite;
}
