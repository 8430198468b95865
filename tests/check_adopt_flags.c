/* SPDX-License-Identifier: MIT */
/* Every kind of io_uring that a liburing of any age makes by itself can be adopted, and works. */
#include "support/rings.h"
#include "support/uring.h"

/* Their queue of 64 entries may not exceed the page that the program lends. */
#define ENTRIES 32

/* What a liburing may have done, and what it says of that. */
static const struct kind {
	const char *name;
	unsigned flags;
	unsigned registered; /* 0: no */
} kinds[] = {
	{"2.3", 0, 0},
	{"2.3, registered", 0, URING_HAND_REGISTERED_OLD},
	{"2.10, registered, Linux 6.1", 0, URING_HAND_REGISTERED_NEW},
	{"2.6: NO_SQARRAY by default", IORING_SETUP_NO_SQARRAY, 0},
	{"2.9, registered", IORING_SETUP_NO_SQARRAY, URING_HAND_REGISTERED_OLD},
	{"2.10, registered", IORING_SETUP_NO_SQARRAY, URING_HAND_REGISTERED_NEW},
	{"2.10, registered, Linux 6.3", IORING_SETUP_NO_SQARRAY, URING_HAND_REGISTERED_BOTH},
	{"io_uring_queue_init_mem", IORING_SETUP_NO_SQARRAY | IORING_SETUP_NO_MMAP, 0},
	{"registered descriptor only",
	 IORING_SETUP_NO_SQARRAY | IORING_SETUP_NO_MMAP | IORING_SETUP_REGISTERED_FD_ONLY, 0},
	{"SUBMIT_ALL, CLAMP", IORING_SETUP_NO_SQARRAY | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP, 0},
	{"COOP_TASKRUN", IORING_SETUP_NO_SQARRAY | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0},
	{"SINGLE_ISSUER", IORING_SETUP_NO_SQARRAY | IORING_SETUP_SINGLE_ISSUER, 0},
	{"DEFER_TASKRUN, registered",
	 IORING_SETUP_NO_SQARRAY | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	 URING_HAND_REGISTERED_BOTH},
	{"DEFER_TASKRUN, TASKRUN_FLAG",
	 IORING_SETUP_NO_SQARRAY | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		 IORING_SETUP_TASKRUN_FLAG,
	 0},
};

#define KINDS (int)(sizeof(kinds) / sizeof(kinds[0]))

/* The program's loop: one entry of its own, got as liburing gives it, and all completions through the filter.
 */
static void turn(struct hand *hand, struct ctx_ring *ring, unsigned *foreign)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&hand->uring);

	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = 77;
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_int_ge(hand_enter(hand, 1), 0);
	while (io_uring_cq_ready(&hand->uring)) {
		ck_assert_ok(io_uring_peek_cqe(&hand->uring, &cqe));
		int sort = ctx_ring_filter(ring, cqe, NULL, NULL);
		ck_assert_int_ge(sort, 0);
		if (sort == CTX_FILTER_FOREIGN) {
			ck_assert_uint_eq(cqe->user_data, 77);
			++*foreign;
		}
		io_uring_cqe_seen(&hand->uring, cqe);
	}
}

static void await(struct hand *hand, struct ctx_ring *ring, const struct probe *probe)
{
	unsigned foreign = 0, turns = 0;

	for (uint64_t end_ns = clock_now_ns() + SOON; !probe->finals; turns++) {
		turn(hand, ring, &foreign);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
	ck_assert_uint_eq(foreign, turns);
}

START_TEST(each_kind_is_adopted_works_and_is_left)
{
	const struct kind *kind = &kinds[_i];
	struct ctx_ring *ring = NULL;
	struct pair pair = pair_new();
	struct probe probes[4];
	struct hand hand;
	char byte;

	if (!hand_make(&hand, ENTRIES, kind->flags)) {
		pair_end(pair);
		test_skip(kind->name);
	}
	if (kind->registered)
		hand_register(&hand, kind->registered);
	int error = ctx_ring_adopt(&hand.uring, NULL, &ring);
	ck_assert_msg(!error, "%s: %d", kind->name, error);

	struct ctx_context *ctx = child_of(ctx_background());
	io_uring_prep_nop(probe_start(ring, ctx, &probes[0]));
	await(&hand, ring, &probes[0]);
	ck_assert_probe(&probes[0], 0, CTX_OP_FINISHED);
	probe_recv(ring, ctx, &probes[1], pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	await(&hand, ring, &probes[1]);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_CANCELLED);
	probe_recv(ring, ctx_background(), &probes[2], pair.near, &byte, 1);
	ck_assert_ok(ctx_op_set_timeout(&probes[2].op, MILLISECOND));
	await(&hand, ring, &probes[2]);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_TIMEOUT);
	probe_recv(ring, ctx_background(), &probes[3], pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ring_end(ring);
	ck_assert_probe(&probes[3], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_ge(hand_enter(&hand, 0), 0);
	ck_assert_uint_eq(io_uring_cq_ready(&hand.uring), 0);
	hand_end(&hand);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* Goal: the array is not looked at where there is none; liburing 2.3 maps one there all the same. */
START_TEST(an_array_that_the_kernel_does_not_have_is_not_looked_at)
{
	struct ctx_ring *ring = NULL;
	struct hand hand;

	if (!hand_make(&hand, 8, IORING_SETUP_NO_SQARRAY))
		test_skip("no IORING_SETUP_NO_SQARRAY in this kernel");
	unsigned nonsense[8] = {7, 7, 7, 7, 7, 7, 7, 7};
	hand.uring.sq.array = nonsense;
	ck_assert_ok(ctx_ring_adopt(&hand.uring, NULL, &ring));
	ring_end(ring);
	hand_end(&hand);
}
END_TEST

/* Method: on a machine with a newer liburing than the project's oldest this one meets its defaults. */
START_TEST(what_the_liburing_of_this_machine_makes_is_adopted)
{
	static const unsigned flags[] = {0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	struct ctx_ring *ring = NULL;
	struct io_uring uring;
	struct probe probe;
	struct io_uring_cqe *cqe;

	int error = io_uring_queue_init(8, &uring, flags[_i]);
	if (error == -EINVAL)
		test_skip("this kernel lacks the flags");
	ck_assert_ok(error);
	int registered = io_uring_register_ring_fd(&uring);
	ck_assert(registered == 1 || registered == -EINVAL);
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &ring));
	io_uring_prep_nop(probe_start(ring, ctx_background(), &probe));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	while (!probe.finals) {
		ck_assert_int_ge(io_uring_submit_and_wait(&uring, 1), 0);
		while (!io_uring_peek_cqe(&uring, &cqe)) {
			ck_assert_int_ge(ctx_ring_filter(ring, cqe, NULL, NULL), 0);
			io_uring_cqe_seen(&uring, cqe);
		}
	}
	ring_end(ring);
	io_uring_queue_exit(&uring);
}
END_TEST

START_TEST(what_cannot_be_adopted_is_refused_with_words)
{
	static const unsigned flags[] = {IORING_SETUP_SQPOLL,	   IORING_SETUP_IOPOLL,
					 IORING_SETUP_SQE128,	   IORING_SETUP_CQE32,
					 IORING_SETUP_R_DISABLED,  1u << 18 /* CQE_MIXED */,
					 1u << 19 /* SQE_MIXED */, 1u << 20 /* SQ_REWIND */};
	char words[512] = "";
	struct ctx_ring *ring = NULL;
	struct hand hand;

	/* One that this kernel does not know is only named. */
	if (!hand_make(&hand, 8, flags[_i]))
		ck_assert(hand_make(&hand, 8, 0));
	hand.uring.flags |= flags[_i];
	ck_assert_int_eq(ctx_ring_adopt(&hand.uring, NULL, &ring), -ENOTSUP);
	ck_assert_ptr_null(ring);
	ck_assert_int_gt(ctx_ring_explain(-ENOTSUP, words, sizeof(words)), 0);
	ck_assert_ptr_nonnull(strstr(words, "ctxring(7)"));
	hand_end(&hand);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt_flags");
	TCase *flags = test_case_ring(suite, "flags");

	tcase_add_loop_test(flags, each_kind_is_adopted_works_and_is_left, 0, KINDS);
	tcase_add_test(flags, an_array_that_the_kernel_does_not_have_is_not_looked_at);
	tcase_add_loop_test(flags, what_the_liburing_of_this_machine_makes_is_adopted, 0, 2);
	tcase_add_loop_test(flags, what_cannot_be_adopted_is_refused_with_words, 0, 8);
	return suite;
}
