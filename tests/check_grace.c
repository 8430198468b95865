/* SPDX-License-Identifier: MIT */
/* What is done about operations that do not end with their context although they were cancelled. */
#include "op.h"
#include "ring.h"
#include "support/hung.h"
#include "table_format.h"

#define GRACE (20 * MILLISECOND)

static struct {
	unsigned calls, count;
	struct ctx_stuck first;
} told;

static void note_stuck(struct ctx_ring *ring, const struct ctx_stuck *stuck, unsigned count, void *data)
{
	ck_assert_ptr_nonnull(ring);
	ck_assert_ptr_eq(data, &told);
	ck_assert_uint_ge(count, 1);
	told.calls++;
	told.count += count;
	told.first = stuck[0];
}

static struct ctx_ring *telling_ring(int kind)
{
	const struct ctx_ring_options options = {.stuck = note_stuck, .data = &told};

	return ring_with(kind, 64, &options);
}

static struct ctx_context *impatient_child_of(const struct ctx_context *parent)
{
	struct ctx_context *ctx = child_of(parent);

	ck_assert_ok(ctx_set_grace(ctx, GRACE));
	return ctx;
}

/* From now on cancels go astray, as if the kernel lost them; and not any more. */
static void lose_cancels_of(struct probe *probe)
{
	((struct operation *)&probe->op)->generation ^= 1;
}

static void await_told(struct ctx_ring *ring, unsigned calls)
{
	for (uint64_t end_ns = clock_now_ns() + SOON; told.calls < calls;) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 100 * MILLISECOND), 0);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
}

static bool marked_stuck(const struct ctx_context *ctx)
{
	struct ctx_table_header *header = test_own_table();
	bool found = false;

	ck_assert_ptr_nonnull(header);
	for (uint32_t slot = 1; slot < header->operations.used; slot++) {
		const struct ctx_table_operation *record =
			(void *)((char *)header + header->operations.offset + slot * sizeof(*record));
		if ((record->flags & CTX_TABLE_OP_STUCK) && (record->flags & CTX_TABLE_OP_IN_FLIGHT))
			found |= record->context_slot == (uint32_t)ctx_id(ctx);
	}
	return found;
}

/* Goal: both steps, each for those it is meant for. Method: two receives whose cancels go astray. */
START_TEST(sockets_that_may_are_shut_down_and_the_rest_is_told)
{
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *top = impatient_child_of(ctx_background()), *ctx = child_of(top);
	struct pair willing = pair_new(), unwilling = pair_new();
	struct probe probes[2];
	char sink[8], byte;

	probe_recv(ring, ctx, &probes[0], willing.near, sink, 8);
	ck_assert_ok(ctx_op_set_flags(&probes[0].op, CTX_OP_SHUTDOWN | CTX_OP_PENDING));
	probe_recv(ring, ctx, &probes[1], unwilling.near, sink, 8);
	ck_assert_ok(ctx_op_set_flags(&probes[1].op, CTX_OP_PENDING));
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	lose_cancels_of(&probes[0]);
	lose_cancels_of(&probes[1]);
	ck_assert_ok(ctx_cancel(top));
	lose_cancels_of(&probes[0]);
	lose_cancels_of(&probes[1]);
	ck_assert_int_eq(recv(willing.far, &byte, 1, MSG_DONTWAIT), -1);
	await_probes(ring, &probes[0], 1);
	ck_assert_probe(&probes[0], 0, CTX_OP_FINISHED); /* the end of the file that a shutdown brings */
	ck_assert_int_eq(recv(willing.far, &byte, 1, 0), 0);
	await_told(ring, 1);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_ptr_eq(told.first.op, &probes[1].op);
	ck_assert_uint_eq(told.first.opcode, IORING_OP_RECV);
	ck_assert_int_eq(told.first.fd, unwilling.near);
	ck_assert_uint_eq(told.first.ctx_id, ctx_id(ctx));
	ck_assert_uint_ge(told.first.age_ns, 2 * GRACE);
	ck_assert(marked_stuck(ctx));
	ck_assert_int_eq(recv(unwilling.far, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* What ends after all is delivered like any other. */
	ck_assert_int_eq(write(unwilling.far, "late", 4), 4);
	await_probes(ring, &probes[1], 1);
	ck_assert_probe(&probes[1], 4, CTX_OP_FINISHED);
	ck_assert(!marked_stuck(ctx));
	ring_end(ring);
	ck_assert_uint_eq(told.calls, 1);
	ctx_finish(ctx);
	ctx_finish(top);
	pair_end(willing);
	pair_end(unwilling);
}
END_TEST

START_TEST(a_worker_that_hangs_is_told_once)
{
	struct hung hung = hung_new();
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *ctx = impatient_child_of(ctx_background());
	int file = memfd_create("file", MFD_CLOEXEC);
	struct probe probe;
	char text[400];

	ck_assert_int_eq(write(file, "content", 7), 7);
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probe);
	io_uring_prep_read(sqe, file, hung.page, 7, 0);
	sqe->flags |= IOSQE_ASYNC;
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_SHUTDOWN)); /* of no use to a file */
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	hung_await(&hung);
	ck_assert_ok(ctx_cancel(ctx));
	await_told(ring, 1);
	ck_assert_ptr_eq(told.first.op, &probe.op);
	ck_assert_int_gt(ctx_format_stuck(&told.first, text, sizeof(text)), 0);
	ck_assert_int_eq(strncmp(text, "READ on descriptor ", 19), 0);
	ck_assert_ptr_nonnull(strstr(text, "memfd:file"));
	hung_release(&hung);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ck_assert_uint_eq(told.calls, 1);
	ctx_finish(ctx);
	hung_end(&hung);
	close(file);
}
END_TEST

/* Goal: what the program had cancelled before is told, too. Method: a worker that hangs answers that cancel
 * only when the context has ended. */
START_TEST(what_was_cancelled_by_itself_before_is_told)
{
	struct hung hung = hung_new();
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *ctx = impatient_child_of(ctx_background());
	int file = memfd_create("file", MFD_CLOEXEC);
	struct probe probe;

	ck_assert_int_eq(write(file, "content", 7), 7);
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probe);
	io_uring_prep_read(sqe, file, hung.page, 7, 0);
	sqe->flags |= IOSQE_ASYNC;
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	hung_await(&hung);
	ck_assert_ok(ctx_op_cancel(ring, &probe.op));
	ck_assert_int_eq(ctx_ring_submit(ring), 0);
	ck_assert_ok(ctx_cancel(ctx));
	await_told(ring, 1);
	ck_assert_ptr_eq(told.first.op, &probe.op);
	ck_assert(marked_stuck(ctx));
	hung_release(&hung);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ck_assert_uint_eq(told.count, 1);
	ctx_finish(ctx);
	close(file);
	hung_end(&hung);
}
END_TEST

/* Goal: a drain calls nobody, so what comes due in it is told by the next dispatch. */
START_TEST(what_comes_due_in_a_drain_is_told_in_a_dispatch)
{
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *ctx = impatient_child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, 8);
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_PENDING));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	lose_cancels_of(&probe);
	ck_assert_ok(ctx_cancel(ctx));
	lose_cancels_of(&probe);
	while (!marked_stuck(ctx))
		ck_assert_int_eq(ctx_ring_drain(ring, ctx, GRACE, NULL, 0, NULL), -ETIMEDOUT);
	ck_assert_uint_eq(told.calls, 0);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(told.calls, 1);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(what_ends_by_its_cancel_is_left_alone)
{
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *ctx = impatient_child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, 8);
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_SHUTDOWN));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_ptr_null(ring->times.heap.root); /* nothing is to come */
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(without_a_grace_nothing_is_arranged)
{
	struct ctx_ring *ring = telling_ring(_i);
	struct ctx_context *other = impatient_child_of(ctx_background()), *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, 8);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	lose_cancels_of(&probe);
	ck_assert_ok(ctx_cancel(ctx));
	lose_cancels_of(&probe);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ptr_null(ring->times.heap.root);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(other);
	pair_end(pair);
}
END_TEST

/* Goal: of several graces the nearest counts, also when it says none. */
START_TEST(a_grace_of_zero_takes_back_that_of_an_ancestor)
{
	struct ctx_context *top = impatient_child_of(ctx_background()), *ctx = child_of(top),
			   *below = child_of(ctx), *again = impatient_child_of(below);

	ck_assert_uint_eq(context_grace(ctx), GRACE);
	ck_assert_ok(ctx_set_grace(ctx, 0));
	ck_assert_uint_eq(context_grace(top), GRACE);
	ck_assert_uint_eq(context_grace(ctx), 0);
	ck_assert_uint_eq(context_grace(below), 0);
	ck_assert_uint_eq(context_grace(again), GRACE);
	ctx_finish(again);
	ctx_finish(below);
	ctx_finish(ctx);
	ctx_finish(top);
}
END_TEST

START_TEST(misuse_is_refused)
{
	struct ctx_context *ctx = child_of(ctx_background());
	const struct ctx_context *detached = detached_child_of(ctx);
	char text[8];

	ck_assert_int_eq(ctx_set_grace(NULL, GRACE), -EINVAL);
	ck_assert_int_eq(ctx_set_grace((struct ctx_context *)detached, GRACE), -EINVAL);
	ck_assert_ok(ctx_set_grace(ctx, 0));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctx_set_grace(ctx, GRACE), -EALREADY);
	ck_assert_int_eq(ctx_format_stuck(NULL, text, sizeof(text)), -EINVAL);
	ck_assert_int_eq(ctx_format_stuck(&told.first, NULL, 1), -EINVAL);
	ctx_unref(detached);
	ctx_finish(ctx);
}
END_TEST

START_TEST(opcodes_have_names)
{
	ck_assert_str_eq(ctx_opcode_name(IORING_OP_NOP), "NOP");
	ck_assert_str_eq(ctx_opcode_name(IORING_OP_RECV), "RECV");
	ck_assert_str_eq(ctx_opcode_name(IORING_OP_SEND_ZC), "SEND_ZC");
	for (unsigned i = 0; i < IORING_OP_LAST; i++)
		ck_assert_ptr_nonnull(ctx_opcode_name(i));
	ck_assert_ptr_null(ctx_opcode_name(200));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("grace");
	TCase *grace = test_case_ring(suite, "grace"), *calls = test_case(suite, "calls");

	ON_EACH_RING(grace, sockets_that_may_are_shut_down_and_the_rest_is_told);
	ON_EACH_RING(grace, a_worker_that_hangs_is_told_once);
	ON_EACH_RING(grace, what_was_cancelled_by_itself_before_is_told);
	ON_EACH_RING(grace, what_comes_due_in_a_drain_is_told_in_a_dispatch);
	ON_EACH_RING(grace, what_ends_by_its_cancel_is_left_alone);
	ON_EACH_RING(grace, without_a_grace_nothing_is_arranged);
	tcase_add_test(calls, a_grace_of_zero_takes_back_that_of_an_ancestor);
	tcase_add_test(calls, misuse_is_refused);
	tcase_add_test(calls, opcodes_have_names);
	return suite;
}
