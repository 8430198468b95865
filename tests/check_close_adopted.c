/* SPDX-License-Identifier: MIT */
/*
 * Goal: closing an adopted ring cancels again what the first cancel did not find, as a dispatch does. Method:
 * a follower on a hard link starts only when its head has been cancelled, and a receive in a worker answers
 * that it is busy; nobody but the close reads completions.
 */
#include "support/rings.h"

static void adopt(struct io_uring *uring, int i, struct ctx_ring **ret_ring)
{
	ck_assert_ok(io_uring_queue_init(16, uring, setup_flags_of(i ? RING_DEFER : RING_ORDINARY)));
	ck_assert_ok(ctx_ring_adopt(uring, NULL, ret_ring));
}

START_TEST(followers_on_hard_links_are_ended)
{
	enum {
		LENGTH = 4
	};
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pipe_new();
	struct probe chain[LENGTH];
	struct io_uring uring;
	struct ctx_ring *ring;
	char bytes[LENGTH];

	adopt(&uring, _i, &ring);
	for (unsigned i = 0; i < LENGTH; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx, &chain[i]);
		io_uring_prep_read(sqe, pair.near, &bytes[i], 1, 0);
		if (i + 1 < LENGTH)
			sqe->flags |= IOSQE_IO_HARDLINK;
	}
	ck_assert_int_eq(ctx_ring_submit(ring), LENGTH);
	ring_end(ring);
	for (unsigned i = 0; i < LENGTH; i++)
		ck_assert_probe(&chain[i], -ECANCELED, CTX_OP_CANCELLED);
	io_uring_queue_exit(&uring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_receive_in_a_worker_is_ended)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pipe_new();
	struct probe reads[4];
	struct io_uring uring;
	struct ctx_ring *ring;
	char bytes[4];

	for (unsigned round = 0; round < 50; round++) {
		adopt(&uring, _i, &ring);
		for (unsigned i = 0; i < 4; i++) {
			struct io_uring_sqe *sqe = probe_start(ring, ctx, &reads[i]);
			io_uring_prep_read(sqe, pair.near, &bytes[i], 1, 0);
			sqe->flags |= IOSQE_ASYNC;
		}
		ck_assert_int_eq(ctx_ring_submit(ring), 4);
		ring_end(ring);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_probe(&reads[i], -ECANCELED, CTX_OP_CANCELLED);
		io_uring_queue_exit(&uring);
	}
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("close_adopted");
	TCase *close = test_case_ring(suite, "close");

	tcase_add_loop_test(close, followers_on_hard_links_are_ended, 0, test_mode() == TEST_PLAIN ? 1 : 2);
	tcase_add_loop_test(close, a_receive_in_a_worker_is_ended, 0, test_mode() == TEST_PLAIN ? 1 : 2);
	return suite;
}
