/* SPDX-License-Identifier: MIT */
/* Batches: what one cancellation does, its record, and that no cancel is ever lost. */
#include <pthread.h>

#include "support/rings.h"

static struct ctx_batch last;
static unsigned batches;

static void count_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data)
{
	(void)ring;
	(void)data;
	last = *batch;
	batches++;
}

static struct ctx_ring *counting_ring(int kind, unsigned entries)
{
	struct ctx_ring_options options = {.batch = count_batch};

	batches = 0;
	return ring_with(kind, entries, &options);
}

/* count receives on one socket that nobody writes to. */
static struct probe *receives(struct ctx_ring *ring, const struct ctx_context *ctx, int fd, unsigned count)
{
	static char sink[64];
	struct probe *probes = calloc(count, sizeof(*probes));

	ck_assert_ptr_nonnull(probes);
	for (unsigned i = 0; i < count; i++)
		probe_recv(ring, ctx, &probes[i], fd, sink, sizeof(sink));
	for (unsigned sent = 0; sent < count;) {
		int more = ctx_ring_submit(ring);
		ck_assert_int_gt(more, 0);
		sent += (unsigned)more;
	}
	return probes;
}

static void all_cancelled(const struct probe *probes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
}

START_TEST(a_group_of_256_goes_in_one_enter)
{
	struct ctx_ring *ring = counting_ring(_i, 256);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe *probes = receives(ring, ctx, pair.near, 256);
	struct ctx_batch batch;

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_last_batch(ring, &batch));
	ck_assert_uint_eq(batch.ctx_id, ctx_id(ctx));
	ck_assert_uint_eq(batch.operations, 256);
	ck_assert_uint_eq(batch.sqes, in_kernel(_i, 256));
	ck_assert_uint_eq(batch.enters, in_kernel(_i, 1));
	ck_assert_uint_gt(batch.submit_ns, 0);
	await_probes(ring, probes, 256);
	all_cancelled(probes, 256);
	ck_assert_uint_eq(batches, 1);
	ck_assert_ok(ctx_ring_last_batch(ring, &batch));
	ck_assert_int_eq(memcmp(&batch, &last, sizeof(batch)), 0);
	ck_assert_uint_eq(last.operations, 256);
	ck_assert_uint_eq(last.cancelled, 256);
	ck_assert_uint_eq(last.finished + last.held + last.timed, 0);
	ck_assert_uint_eq(last.unsent, 256 - in_kernel(_i, 256));
	ck_assert_uint_ge(last.reap_ns, last.submit_ns);
	free(probes);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_subtree_goes_in_one_batch)
{
	struct ctx_ring *ring = counting_ring(_i, 256);
	struct ctx_context *parent = child_of(ctx_background()), *children[100];
	struct pair pair = pair_new();
	static struct probe probes[200];
	char sink[8];

	for (int i = 0; i < 100; i++) {
		children[i] = child_of(i ? children[i / 2] : parent);
		probe_recv(ring, children[i], &probes[2 * i], pair.near, sink, 8);
		probe_recv(ring, children[i], &probes[2 * i + 1], pair.near, sink, 8);
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 200);
	ck_assert_ok(ctx_cancel(parent));
	await_probes(ring, probes, 200);
	all_cancelled(probes, 200);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(last.operations, 200);
	ck_assert_uint_eq(last.sqes, in_kernel(_i, 200));
	ck_assert_uint_eq(last.enters, in_kernel(_i, 1));
	for (int i = 0; i < 100; i++)
		ctx_finish(children[i]);
	ring_end(ring);
	ctx_finish(parent);
	pair_end(pair);
}
END_TEST

static void small_queues(int kind, unsigned entries, unsigned cq_entries, unsigned count)
{
	struct ctx_ring_options options = {.batch = count_batch, .cq_entries = cq_entries};
	struct ctx_ring *ring = ring_with(kind, entries, &options);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe *probes = receives(ring, ctx, pair.near, count);

	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probes, count);
	all_cancelled(probes, count);
	ck_assert_uint_eq(last.operations, count);
	ck_assert_uint_eq(last.cancelled, count);
	ck_assert_uint_eq(last.held, 0);
	free(probes);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}

START_TEST(no_cancel_is_lost_with_a_queue_of_8_and_10000_pending)
{
	small_queues(_i, 8, 0, test_scaled(10000));
}
END_TEST

START_TEST(no_cancel_is_lost_with_a_completion_queue_of_16_and_4000_pending)
{
	small_queues(_i, 16, 16, 4000);
}
END_TEST

START_TEST(timeouts_of_the_program_are_cancelled_in_a_batch)
{
	struct ctx_ring *ring = counting_ring(_i, 64);
	struct ctx_context *ctx = child_of(ctx_background());
	static struct __kernel_timespec time = {.tv_sec = 3600};
	static struct probe probes[1000];

	for (int i = 0; i < 1000; i++)
		io_uring_prep_timeout(probe_start(ring, ctx, &probes[i]), &time, 0, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 1000);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probes, 1000);
	all_cancelled(probes, 1000);
	ck_assert_uint_eq(last.sqes, 1000);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

#define VICTIMS 60u

static int by_random(const void *a, const void *b)
{
	return ((*(const unsigned *)a * 2654435761u) >> 7) < ((*(const unsigned *)b * 2654435761u) >> 7) ? -1
													 : 1;
}

/* Goal: in whatever order contexts end, each takes its own operations and no other. */
static void victims_in_order(int kind, int order)
{
	struct ctx_ring *ring = counting_ring(kind, 64);
	struct ctx_context *contexts[VICTIMS];
	struct pair pair = pair_new();
	static struct probe probes[VICTIMS][20];
	unsigned victim[VICTIMS];
	char sink[8];

	for (unsigned i = 0; i < VICTIMS; i++) {
		contexts[i] = child_of(ctx_background());
		victim[i] = order == 0 ? i : order == 1 ? VICTIMS - 1 - i : i;
	}
	for (unsigned n = 0; n < 20; n++)
		for (unsigned i = 0; i < VICTIMS; i++)
			probe_recv(ring, contexts[i], &probes[i][n], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 20 * VICTIMS);
	if (order == 2)
		qsort(victim, VICTIMS, sizeof(victim[0]), by_random);
	for (unsigned i = 0; i < VICTIMS; i++) {
		ck_assert_ok(ctx_cancel(contexts[victim[i]]));
		await_probes(ring, probes[victim[i]], 20);
		all_cancelled(probes[victim[i]], 20);
		if (i + 1 < VICTIMS)
			for (unsigned n = 0; n < 20; n++)
				ck_assert_uint_eq(probes[victim[i + 1]][n].finals, 0);
		ck_assert_uint_eq(last.operations, 20);
		ck_assert_uint_eq(last.enters, in_kernel(kind, 1));
	}
	for (unsigned i = 0; i < VICTIMS; i++)
		ctx_finish(contexts[i]);
	ring_end(ring);
	pair_end(pair);
}

START_TEST(victims_oldest_first_newest_first_and_at_random_end_alike)
{
	for (int order = 0; order < 3; order++)
		victims_in_order(_i, order);
}
END_TEST

static struct ctx_context *in_callback[10];

static void cancel_them(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct ctx_batch batch;

	for (int i = 0; i < 10; i++)
		ck_assert_ok(ctx_cancel(in_callback[i]));
	ck_assert_int_eq(ctx_ring_last_batch(ring, &batch), -ENOENT);
	probe_count(ring, op, completion);
}

START_TEST(what_a_callback_cancels_goes_at_the_end_of_the_dispatch)
{
	struct ctx_ring *ring = counting_ring(_i, 64);
	struct pair pair = pair_new();
	struct probe probes[10], trigger = {0};
	char sink[8];

	for (int i = 0; i < 10; i++) {
		in_callback[i] = child_of(ctx_background());
		probe_recv(ring, in_callback[i], &probes[i], pair.near, sink, sizeof(sink));
	}
	ctx_op_init(&trigger.op, cancel_them, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &trigger.op));
	await_probes(ring, &trigger, 1);
	await_probes(ring, probes, 10);
	all_cancelled(probes, 10);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(last.operations, 10);
	ck_assert_uint_eq(last.enters, in_kernel(_i, 1));
	for (int i = 0; i < 10; i++)
		ctx_finish(in_callback[i]);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

static void *cancel_from_outside(void *data)
{
	struct ctx_context **contexts = data;

	for (int i = 0; i < 100; i++)
		ck_assert_ok(ctx_cancel(contexts[i]));
	return NULL;
}

/* The owner computes meanwhile; when it comes back all of it is one batch. */
START_TEST(many_cancels_of_another_thread_are_one_batch)
{
	struct ctx_ring *ring = counting_ring(_i, 128);
	struct ctx_context *contexts[100];
	struct pair pair = pair_new();
	static struct probe probes[100];
	pthread_t thread;
	char sink[8];

	for (int i = 0; i < 100; i++) {
		contexts[i] = child_of(ctx_background());
		probe_recv(ring, contexts[i], &probes[i], pair.near, sink, sizeof(sink));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 100);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_from_outside, contexts));
	ck_assert_ok(pthread_join(thread, NULL));
	for (int i = 0; i < 100; i++)
		ck_assert_cancelled(contexts[i]);
	await_probes(ring, probes, 100);
	all_cancelled(probes, 100);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(last.operations, 100);
	ck_assert_uint_eq(last.enters, in_kernel(_i, 1));
	for (int i = 0; i < 100; i++)
		ctx_finish(contexts[i]);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(outcomes_are_counted_apart)
{
	struct ctx_ring *ring = counting_ring(_i, 64);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair quiet = pair_new(), pair = pair_new();
	struct probe waiting[3], ready[2], staged[4];
	char sink[8];

	for (int i = 0; i < 3; i++)
		probe_recv(ring, ctx, &waiting[i], quiet.near, sink, 8);
	for (int i = 0; i < 2; i++)
		io_uring_prep_recv(probe_start(ring, ctx, &ready[i]), pair.near, sink, 8, MSG_WAITALL);
	ck_assert_int_eq(ctx_ring_submit(ring), 5);
	ck_assert_int_eq(write(pair.far, "abcd", 4), 4);
	for (int i = 0; i < 3; i++) /* parked, found ready, and attempted */
		ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	for (int i = 0; i < 4; i++)
		probe_recv(ring, ctx, &staged[i], quiet.near, sink, 8);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, waiting, 3);
	await_probes(ring, ready, 2);
	await_probes(ring, staged, 4);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(last.operations, 9);
	ck_assert_uint_eq(last.unsent, 9 - in_kernel(_i, 5));
	ck_assert_uint_eq(last.sqes, in_kernel(_i, 5));
	ck_assert_uint_eq(last.finished, 1);
	ck_assert_uint_eq(last.cancelled, 8);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
	pair_end(quiet);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("batch");
	TCase *record = test_case_ring(suite, "record"), *lost = test_case_ring(suite, "lost");

	ON_EACH_RING(record, a_group_of_256_goes_in_one_enter);
	ON_EACH_RING(record, a_subtree_goes_in_one_batch);
	ON_EACH_RING(record, what_a_callback_cancels_goes_at_the_end_of_the_dispatch);
	ON_EACH_RING(record, many_cancels_of_another_thread_are_one_batch);
	ON_EACH_RING(record, outcomes_are_counted_apart);
	ON_EACH_RING(lost, no_cancel_is_lost_with_a_queue_of_8_and_10000_pending);
	ON_EACH_RING(lost, no_cancel_is_lost_with_a_completion_queue_of_16_and_4000_pending);
	ON_EACH_RING(lost, timeouts_of_the_program_are_cancelled_in_a_batch);
	ON_EACH_RING(lost, victims_oldest_first_newest_first_and_at_random_end_alike);
	return suite;
}
