/* SPDX-License-Identifier: MIT */
/* Rings adopted round an io_uring of the program's: its completions pass unchanged, ours are sorted out. */
#include <pthread.h>

#include "support/rings.h"

struct adopted {
	struct io_uring uring;
	struct ctx_ring *ring;
	struct pair pair;
	uint64_t foreign[256]; /* user_data of the program's completions, as they came */
	int foreign_res[256];
	unsigned foreign_count, ops;
	char sink[8];
};

static void adopt(struct adopted *adopted, int kind, unsigned entries)
{
	*adopted = (struct adopted){.pair = pair_new()};
	ck_assert_ok(io_uring_queue_init(entries, &adopted->uring, setup_flags_of(kind)));
	ck_assert_ok(ctx_ring_adopt(&adopted->uring, NULL, &adopted->ring));
}

static void adopted_end(struct adopted *adopted)
{
	ring_end(adopted->ring);
	io_uring_queue_exit(&adopted->uring);
	pair_end(adopted->pair);
}

static void sort_one(struct adopted *adopted, const struct io_uring_cqe *cqe)
{
	struct io_uring_cqe before = *cqe;
	struct ctx_completion completion;
	struct ctx_op *op = NULL;
	int kind = ctx_ring_filter(adopted->ring, cqe, &op, &completion);

	ck_assert_int_ge(kind, 0);
	if (kind == CTX_FILTER_OP) {
		ck_assert_ptr_nonnull(op);
		adopted->ops++;
	}
	if (kind != CTX_FILTER_FOREIGN)
		return;
	ck_assert_int_eq(memcmp(&before, cqe, sizeof(before)), 0);
	ck_assert_uint_lt(adopted->foreign_count, 256);
	adopted->foreign_res[adopted->foreign_count] = cqe->res;
	adopted->foreign[adopted->foreign_count++] = cqe->user_data;
}

/* The program's own loop, as it was before but for the filter; waits for one completion if told to. */
static void turn(struct adopted *adopted, bool wait)
{
	struct io_uring_cqe *cqe;

	if (wait)
		ck_assert_int_ge(io_uring_submit_and_wait(&adopted->uring, 1), 0);
	else
		ck_assert_int_ge(io_uring_submit_and_get_events(&adopted->uring), 0);
	while (io_uring_peek_cqe(&adopted->uring, &cqe) == 0) {
		sort_one(adopted, cqe);
		io_uring_cqe_seen(&adopted->uring, cqe);
	}
}

static void await_final(struct adopted *adopted, const struct probe *probe)
{
	for (uint64_t end = clock_now_ns() + SOON; !probe->finals; turn(adopted, true))
		ck_assert_uint_lt(clock_now_ns(), end);
	ck_assert_uint_eq(probe->finals, 1);
}

static void own_nop(struct adopted *adopted, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&adopted->uring);

	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = user_data;
}

START_TEST(completions_of_the_program_pass_unchanged_and_in_order)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probes[50];

	adopt(&adopted, _i, 256);
	for (unsigned i = 0; i < 50; i++) {
		own_nop(&adopted, 1000 + i);
		if (i % 2)
			probe_recv(adopted.ring, ctx, &probes[i], adopted.pair.near, adopted.sink, 8);
		else
			io_uring_prep_nop(probe_start(adopted.ring, ctx, &probes[i]));
		if (i % 10 == 0)
			ck_assert_int_ge(ctx_ring_submit(adopted.ring), 0);
	}
	ck_assert_int_ge(ctx_ring_submit(adopted.ring), 0);
	ck_assert_ok(ctx_cancel(ctx));
	for (unsigned i = 0; i < 50; i++)
		await_final(&adopted, &probes[i]);
	turn(&adopted, false);
	ck_assert_uint_eq(adopted.foreign_count, 50);
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_uint_eq(adopted.foreign[i], 1000 + i);
		ck_assert_int_eq(adopted.foreign_res[i], 0);
		if (i % 2)
			ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
		else
			ck_assert_probe(&probes[i], 0, CTX_OP_FINISHED);
	}
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/* What the program's own request with this number ended with: Linux 6.1 completes the one that fails first.
 */
static int foreign_result_of(const struct adopted *adopted, uint64_t user_data)
{
	unsigned i = 0;

	while (i < adopted->foreign_count && adopted->foreign[i] != user_data)
		i++;
	ck_assert_uint_lt(i, adopted->foreign_count);
	return adopted->foreign_res[i];
}

/* Goal: a dispatch counts what it delivered and not what it submitted. */
START_TEST(a_dispatch_that_delivers_nothing_says_so)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe;

	adopt(&adopted, _i, 16);
	own_nop(&adopted, 1000);
	io_uring_prep_nop(probe_start(adopted.ring, ctx, &probe));
	ck_assert_int_eq(ctx_ring_dispatch(adopted.ring, 0), 0);
	ck_assert_uint_eq(probe.finals, 0);
	await_final(&adopted, &probe);
	ck_assert_uint_eq(adopted.foreign_count, 1);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

START_TEST(an_open_chain_of_the_program_is_not_broken_into)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe waiting, probe;

	adopt(&adopted, _i, 64);
	probe_recv(adopted.ring, ctx, &waiting, adopted.pair.near, adopted.sink, 8);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	own_nop(&adopted, 1);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&adopted.uring);
	io_uring_prep_read(sqe, -1, adopted.sink, 8, 0);
	sqe->user_data = 2;
	sqe->flags |= IOSQE_IO_LINK;
	io_uring_prep_nop(probe_start(adopted.ring, ctx_background(), &probe));
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), -EBUSY);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), -EBUSY);
	own_nop(&adopted, 3);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	await_final(&adopted, &probe);
	await_final(&adopted, &waiting);
	ck_assert_probe(&probe, 0, CTX_OP_FINISHED);
	ck_assert_probe(&waiting, -ECANCELED, CTX_OP_CANCELLED);
	while (adopted.foreign_count < 3)
		turn(&adopted, true);
	ck_assert_int_eq(foreign_result_of(&adopted, 1), 0);
	ck_assert_int_eq(foreign_result_of(&adopted, 2), -EBADF);
	ck_assert_int_eq(foreign_result_of(&adopted, 3), -ECANCELED); /* its chain was whole */
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

START_TEST(closing_leaves_the_program_its_io_uring_and_completions)
{
	struct adopted adopted;
	struct probe probe;
	struct io_uring_cqe *cqe;
	char byte = 0;

	adopt(&adopted, _i, 64);
	struct pair own = pair_new();
	struct io_uring_sqe *sqe = io_uring_get_sqe(&adopted.uring);
	io_uring_prep_recv(sqe, own.near, &byte, 1, 0);
	sqe->user_data = 77;
	probe_recv(adopted.ring, ctx_background(), &probe, adopted.pair.near, adopted.sink, 8);
	own_nop(&adopted, 5);
	own_nop(&adopted, 6);
	ck_assert_int_ge(ctx_ring_submit(adopted.ring), 1);
	ring_end(adopted.ring);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(write(own.far, "x", 1), 1);
	const uint64_t expected[] = {5, 6, 77};
	for (int i = 0; i < 3; i++) {
		ck_assert_ok(io_uring_wait_cqe(&adopted.uring, &cqe));
		ck_assert_uint_eq(cqe->user_data, expected[i]);
		io_uring_cqe_seen(&adopted.uring, cqe);
	}
	ck_assert_int_eq(byte, 'x');
	/* Nothing of ours is left in it. */
	ck_assert_int_ge(io_uring_submit_and_get_events(&adopted.uring), 0);
	ck_assert_int_eq(io_uring_peek_cqe(&adopted.uring, &cqe), -EAGAIN);
	io_uring_queue_exit(&adopted.uring);
	pair_end(own);
	pair_end(adopted.pair);
}
END_TEST

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

START_TEST(a_cancel_by_another_thread_turns_the_loop_of_the_program)
{
	struct adopted adopted;
	struct probe probe;
	pthread_t thread;

	adopt(&adopted, _i, 64);
	for (unsigned i = 0; i < test_scaled(300); i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, adopted.sink, 8);
		ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
		ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
		await_final(&adopted, &probe);
		ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_ok(pthread_join(thread, NULL));
		ctx_finish(ctx);
	}
	ck_assert_uint_eq(adopted.foreign_count, 0);
	adopted_end(&adopted);
}
END_TEST

START_TEST(deadlines_timeouts_and_refusals_turn_the_loop_of_the_program)
{
	struct adopted adopted;
	struct ctx_context *ctx = timed_child_of(ctx_background(), 10 * MILLISECOND);
	struct probe probes[3];

	adopt(&adopted, _i, 64);
	probe_recv(adopted.ring, ctx, &probes[0], adopted.pair.near, adopted.sink, 8);
	probe_recv(adopted.ring, ctx_background(), &probes[1], adopted.pair.near, adopted.sink, 8);
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, 10 * MILLISECOND));
	int sent = ctx_ring_submit(adopted.ring);
	ck_assert(sent == 2 || (sent == 1 && ctx_err(ctx))); /* on a busy machine the deadline may be first */
	await_final(&adopted, &probes[0]);
	await_final(&adopted, &probes[1]);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	io_uring_prep_nop(probe_start(adopted.ring, ctx, &probes[2]));
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 0);
	await_final(&adopted, &probes[2]);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_DEADLINE);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_drain_leaves_completions_in_the_queue_of_the_program)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe;

	adopt(&adopted, _i, 16);
	for (unsigned i = 0; i < 5; i++)
		own_nop(&adopted, i);
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, adopted.sink, 8);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL));
	ck_assert_uint_eq(probe.finals, 0);
	await_final(&adopted, &probe);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(adopted.foreign_count, 5);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(adopted.foreign[i], i);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_drain_behind_a_full_queue_says_so)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe;

	adopt(&adopted, _i, 8);
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, adopted.sink, 8);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	for (unsigned i = 0; i < 16; i++) {
		own_nop(&adopted, i);
		ck_assert_int_ge(io_uring_submit_and_get_events(&adopted.uring), 0);
	}
	ck_assert_int_eq(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL), -EBUSY);
	ck_assert_ok(ctx_cancel(ctx));
	await_final(&adopted, &probe);
	ck_assert_ok(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL));
	ck_assert_uint_eq(adopted.foreign_count, 16);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/* Goal: what the library has pending of its own may not come out behind the program's completions. */
START_TEST(a_close_behind_a_full_queue_says_so)
{
	struct adopted adopted;
	struct ctx_context *ctx;

	adopt(&adopted, _i, 8);
	ck_assert_ok(ctx_with_hangup(ctx_background(), adopted.ring, adopted.pair.near, 0, NULL, &ctx));
	for (unsigned i = 0; i < 32; i++) {
		own_nop(&adopted, i);
		ck_assert_int_ge(io_uring_submit_and_get_events(&adopted.uring), 0);
	}
	ck_assert_int_eq(ctx_ring_close(adopted.ring, SOON, NULL, 0, NULL), -EBUSY);
	for (unsigned i = 0; i < 4; i++)
		turn(&adopted, false);
	ck_assert_uint_eq(adopted.foreign_count, 32);
	ck_assert_live(ctx);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

START_TEST(calls_that_make_no_sense_there_are_refused)
{
	struct adopted adopted;
	struct probe probe;

	adopt(&adopted, _i, 8);
	ck_assert_int_eq(ctx_ring_run(adopted.ring, NULL), -ENOTSUP);
	ck_assert_ptr_eq(ctx_ring_uring(adopted.ring), &adopted.uring);
	/* A dispatch delivers what is not in the kernel's queue, and does not wait. */
	io_uring_prep_nop(probe_start(adopted.ring, ctx_background(), &probe));
	ck_assert_ok(ctx_op_cancel(adopted.ring, &probe.op));
	ck_assert_int_eq(ctx_ring_dispatch(adopted.ring, CTX_FOREVER), 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	adopted_end(&adopted);
}
END_TEST

START_TEST(kinds_of_io_uring_that_do_not_fit_are_refused)
{
	static const unsigned flags[] = {IORING_SETUP_SQPOLL, IORING_SETUP_IOPOLL, IORING_SETUP_SQE128,
					 IORING_SETUP_CQE32, IORING_SETUP_R_DISABLED};
	struct ctx_ring *ring = NULL;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct io_uring uring;
		ck_assert_ok(io_uring_queue_init(8, &uring, flags[i]));
		ck_assert_int_eq(ctx_ring_adopt(&uring, NULL, &ring), -ENOTSUP);
		io_uring_queue_exit(&uring);
	}
	ck_assert_ptr_null(ring);
}
END_TEST

START_TEST(a_stale_value_with_our_tag_is_the_programs)
{
	struct adopted adopted;
	struct probe probe;

	adopt(&adopted, _i, 8);
	probe_recv(adopted.ring, ctx_background(), &probe, adopted.pair.near, adopted.sink, 8);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	own_nop(&adopted, 0xc781ull << 48 | 2ull << 24 | 1);
	own_nop(&adopted, 0xc781ull << 48 | 1ull << 24 | 5);
	while (adopted.foreign_count < 2)
		turn(&adopted, true);
	ck_assert_uint_eq(probe.finals, 0);
	adopted_end(&adopted);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt");
	TCase *loop = test_case_ring(suite, "loop");

	ON_EACH_RING(loop, a_close_behind_a_full_queue_says_so);
	ON_EACH_RING(loop, completions_of_the_program_pass_unchanged_and_in_order);
	ON_EACH_RING(loop, a_dispatch_that_delivers_nothing_says_so);
	ON_EACH_RING(loop, an_open_chain_of_the_program_is_not_broken_into);
	ON_EACH_RING(loop, closing_leaves_the_program_its_io_uring_and_completions);
	ON_EACH_RING(loop, a_cancel_by_another_thread_turns_the_loop_of_the_program);
	ON_EACH_RING(loop, deadlines_timeouts_and_refusals_turn_the_loop_of_the_program);
	ON_EACH_RING(loop, a_drain_leaves_completions_in_the_queue_of_the_program);
	ON_EACH_RING(loop, a_drain_behind_a_full_queue_says_so);
	ON_EACH_RING(loop, calls_that_make_no_sense_there_are_refused);
	tcase_add_test(loop, kinds_of_io_uring_that_do_not_fit_are_refused);
	ON_EACH_RING(loop, a_stale_value_with_our_tag_is_the_programs);
	return suite;
}
