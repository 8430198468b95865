/* SPDX-License-Identifier: MIT */
/* Deadlines of contexts on rings, in each form, and operations' own timeouts. */
#include <sys/eventfd.h>

#include "op.h"
#include "support/rings.h"

/* The loop variable here: kind of ring and form of deadlines. */
static const unsigned forms[] = {0, CTX_RING_LINKED_TIMEOUTS, CTX_RING_ONE_TIMER};
#define FORMS 3
#define ON_EACH_FORM(test_case, test) \
	tcase_add_loop_test(test_case, test, ring_kind_first() * FORMS, ring_kind_end() * FORMS)

static struct ctx_batch last;

static void note_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data)
{
	(void)ring;
	(void)data;
	last = *batch;
}

static struct ctx_ring *ring_in_form(int i)
{
	struct ctx_ring_options options = {.flags = forms[i % FORMS], .batch = note_batch};

	return ring_with(i / FORMS, 64, &options);
}

START_TEST(a_deadline_ends_the_operations_of_its_context)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND), *child = child_of(ctx);
	struct pair pair = pair_new();
	struct probe probes[10];
	char sink[8];

	for (int i = 0; i < 10; i++)
		probe_recv(ring, i % 2 ? ctx : child, &probes[i], pair.near, sink, sizeof(sink));
	uint64_t deadline_ns = ctx_deadline_ns(ctx);
	await_probes(ring, probes, 10);
	ck_assert_uint_ge(clock_now_ns(), deadline_ns);
	for (int i = 0; i < 10; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_expired(ctx);
	ck_assert_expired(child);
	ring_end(ring);
	ctx_finish(child);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* No operation is shown ended by the deadline under a context that still looks live. */
static void look_at_context(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	if (completion->end != CTX_OP_FINISHED)
		ck_assert_expired((struct ctx_context *)(uintptr_t)op->data);
	probe_count(ring, op, completion);
}

START_TEST(no_operation_ends_early_under_a_context_that_looks_live)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct pair pair = pair_new();
	char sink[8];

	for (unsigned i = 0; i < test_scaled(500); i++) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), 100000);
		struct probe probe = {0};
		ctx_op_init(&probe.op, look_at_context, (uintptr_t)ctx);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &probe.op), pair.near, sink, sizeof(sink), 0);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
		ctx_finish(ctx);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_deadline_ends_thousands_of_operations)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), 60 * MILLISECOND);
	struct pair pair = pair_new();
	static struct probe probes[2500];
	char sink[8];

	for (int i = 0; i < 2500; i++)
		probe_recv(ring, ctx, &probes[i], pair.near, sink, sizeof(sink));
	ctx_ring_submit(ring);
	await_probes(ring, probes, 2500);
	for (int i = 0; i < 2500; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_uint_eq(last.held, 0);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_deadline_moved_earlier_takes_effect)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 10 * MILLISECOND));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_movable_deadline_moved_later_takes_effect)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx;
	struct probe probes[2];
	uint64_t second_ns;
	char sink[8];

	/* On a busy machine the first deadline may come before it is moved. */
	for (uint64_t timeout_ns = 300 * MILLISECOND;; timeout_ns *= 2) {
		uint64_t first_ns = clock_now_ns() + timeout_ns;
		second_ns = first_ns + 60 * MILLISECOND;
		ck_assert_ok(ctx_with_movable_deadline(ctx_background(), first_ns, NULL, &ctx));
		for (int i = 0; i < 2; i++)
			probe_recv(ring, ctx, &probes[i], pair.near, sink, sizeof(sink));
		if (ctx_ring_submit(ring) == 2 && ctx_set_deadline(ctx, second_ns) == 0)
			break;
		await_probes(ring, probes, 2);
		ctx_finish(ctx);
	}
	await_probes(ring, probes, 2);
	ck_assert_uint_ge(clock_now_ns(), second_ns);
	for (int i = 0; i < 2; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(work_that_ends_in_time_is_untouched_by_its_deadline)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probe;
	char byte;

	for (int i = 0; i < 500; i++) {
		probe_recv(ring, ctx, &probe, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	}
	ck_assert_live(ctx);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* Only on an ordinary ring can the kernel act while the thread does not enter it. */
START_TEST(a_linked_timeout_ends_the_operation_of_a_thread_that_computes)
{
	struct ctx_ring_options options = {.flags = CTX_RING_LINKED_TIMEOUTS};
	struct ctx_ring *ring = ring_with(RING_ORDINARY, 8, &options);
	struct pair pair = pair_new();
	struct ctx_context *ctx;
	struct probe probe;
	char sink[8];

	/* On a busy machine the deadline may be first. */
	for (uint64_t timeout_ns = 10 * MILLISECOND;; timeout_ns *= 2) {
		ctx = timed_child_of(ctx_background(), timeout_ns);
		probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
		if (ctx_ring_submit(ring) == 1)
			break;
		await_probes(ring, &probe, 1);
		ctx_finish(ctx);
	}
	for (uint64_t end = clock_now_ns() + SOON; !io_uring_cq_ready(ctx_ring_uring(ring));)
		ck_assert_uint_lt(clock_now_ns(), end);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

#define MANY 400u
#define LINKED_MANY 32u

/* Many operations of one deadline, of one context or each of its own. */
struct crowd {
	struct ctx_context *top, *each[MANY];
	bool apart;
	struct probe probes[MANY];
	struct pair pair;
	char sink[8];
};

static struct crowd *crowd_new(struct ctx_ring *ring, uint64_t timeout_ns, bool apart)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	ck_assert_ptr_nonnull(crowd);
	crowd->apart = apart;
	crowd->pair = pair_new();
	crowd->top = timed_child_of(ctx_background(), timeout_ns);
	for (unsigned i = 0; i < MANY; i++) {
		crowd->each[i] = apart ? child_of(crowd->top) : crowd->top;
		probe_recv(ring, crowd->each[i], &crowd->probes[i], crowd->pair.near, crowd->sink,
			   sizeof(crowd->sink));
	}
	return crowd;
}

static void crowd_free(struct crowd *crowd)
{
	for (unsigned i = 0; crowd->apart && i < MANY; i++)
		ctx_unref(crowd->each[i]);
	ctx_finish(crowd->top);
	pair_end(crowd->pair);
	free(crowd);
}

static unsigned count_linked(struct crowd *crowd)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MANY; i++)
		if (op_from_public(&crowd->probes[i].op)->marks & OP_TIMED)
			count++;
	return count;
}

/* The loop variable: kind of ring, form of deadlines, and whether each operation has a context of its own. */
START_TEST(few_of_many_operations_of_one_deadline_carry_linked_timeouts)
{
	struct ctx_ring *ring = ring_in_form(_i / 2);
	unsigned form = forms[_i / 2 % FORMS], linked = LINKED_MANY;
	int kind = _i / 2 / FORMS;

	if (form == CTX_RING_ONE_TIMER || (!form && kind == RING_DEFER) || parks(kind))
		linked = 0;
	for (int turn = 0; turn < 3; turn++) { /* what has ended does not count */
		struct crowd *crowd = crowd_new(ring, HOUR, _i % 2);
		ck_assert_int_eq(ctx_ring_submit(ring), MANY);
		ck_assert_uint_eq(count_linked(crowd), linked);
		ck_assert_ok(ctx_cancel(crowd->top));
		await_probes(ring, crowd->probes, MANY);
		crowd_free(crowd);
	}
	ring_end(ring);
}
END_TEST

START_TEST(a_deadline_ends_the_operations_of_many_contexts)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct crowd *crowd = crowd_new(ring, 50 * MILLISECOND, true);

	await_probes(ring, crowd->probes, MANY);
	ck_assert_uint_ge(clock_now_ns(), ctx_deadline_ns(crowd->top));
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_probe(&crowd->probes[i], -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	crowd_free(crowd);
}
END_TEST

/* ---- own timeouts */

START_TEST(an_own_timeout_ends_its_operation_alone)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probes[4];
	char sink[8];

	for (int i = 0; i < 4; i++) {
		probe_recv(ring, i % 2 ? ctx : ctx_background(), &probes[i], pair.near, sink, sizeof(sink));
		if (i < 2)
			ck_assert_ok(ctx_op_set_timeout(&probes[i].op, 15 * MILLISECOND));
	}
	uint64_t before = clock_now_ns();
	await_probes(ring, probes, 2);
	ck_assert_uint_ge(clock_now_ns() - before, 15 * MILLISECOND);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_uint_eq(probes[2].finals + probes[3].finals, 0);
	ck_assert_live(ctx);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(the_earlier_of_timeout_and_deadline_applies)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *soon = timed_child_of(ctx_background(), 15 * MILLISECOND),
			   *late = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probes[2];
	char sink[8];

	probe_recv(ring, soon, &probes[0], pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_timeout(&probes[0].op, HOUR));
	probe_recv(ring, late, &probes[1], pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, 15 * MILLISECOND));
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ring_end(ring);
	ctx_finish(soon);
	ctx_finish(late);
	pair_end(pair);
}
END_TEST

START_TEST(a_timeout_of_nothing_ends_at_once)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_timeout(&probe.op, 0));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_TIMEOUT);
	/* It holds for one run. */
	probe.finals = 0;
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx_background(), &probe.op), pair.near, sink, 1, 0);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_timeout_that_is_not_reached_does_nothing)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct pair pair = pair_new();
	struct probe probe;
	char byte;

	for (int i = 0; i < 300; i++) {
		probe_recv(ring, ctx_background(), &probe, pair.near, &byte, 1);
		ck_assert_ok(ctx_op_set_timeout(&probe.op, i % 2 ? HOUR : CTX_FOREVER));
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* Linked timeouts do not reach what blocks in a worker; a timer behind them does. */
START_TEST(timeouts_and_deadlines_reach_operations_that_block_in_a_worker)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND);
	struct pair pipe = pipe_new();
	struct probe probes[4];
	char sink[8];

	for (int i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, i < 2 ? ctx_background() : ctx, &probes[i]);
		io_uring_prep_read(sqe, pipe.near, sink, sizeof(sink), 0);
		sqe->flags |= IOSQE_ASYNC;
		if (i < 2)
			ck_assert_ok(ctx_op_set_timeout(&probes[i].op, 20 * MILLISECOND));
	}
	await_probes(ring, probes, 4);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_probe(&probes[3], -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pipe);
}
END_TEST

START_TEST(one_timeout_bounds_a_multishot_operation)
{
	struct ctx_ring *ring = ring_in_form(_i);
	int event = eventfd(0, EFD_CLOEXEC);
	struct probe probe;

	io_uring_prep_poll_multishot(probe_start(ring, ctx_background(), &probe), event, POLLIN);
	ck_assert_ok(ctx_op_set_timeout(&probe.op, 50 * MILLISECOND));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(eventfd_write(event, 1));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_TIMEOUT);
	ring_end(ring);
	close(event);
}
END_TEST

START_TEST(cancel_before_the_timeout_is_a_cancel)
{
	struct ctx_ring *ring = ring_in_form(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probes[2];
	char sink[8];

	for (int i = 0; i < 2; i++) {
		probe_recv(ring, ctx, &probes[i], pair.near, sink, sizeof(sink));
		ck_assert_ok(ctx_op_set_timeout(&probes[i].op, HOUR));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	ck_assert_ok(ctx_op_cancel(ring, &probes[0].op));
	await_probes(ring, probes, 1);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probes, 2);
	for (int i = 0; i < 2; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("op_timeout");
	TCase *deadlines = test_case_ring(suite, "deadlines"), *own = test_case_ring(suite, "own");

	ON_EACH_FORM(deadlines, a_deadline_ends_the_operations_of_its_context);
	ON_EACH_FORM(deadlines, no_operation_ends_early_under_a_context_that_looks_live);
	ON_EACH_FORM(deadlines, a_deadline_ends_thousands_of_operations);
	tcase_add_loop_test(deadlines, few_of_many_operations_of_one_deadline_carry_linked_timeouts,
			    2 * FORMS * ring_kind_first(), 2 * FORMS * ring_kind_end());
	ON_EACH_FORM(deadlines, a_deadline_ends_the_operations_of_many_contexts);
	ON_EACH_FORM(deadlines, a_deadline_moved_earlier_takes_effect);
	ON_EACH_FORM(deadlines, a_movable_deadline_moved_later_takes_effect);
	ON_EACH_FORM(deadlines, work_that_ends_in_time_is_untouched_by_its_deadline);
	tcase_add_test(deadlines, a_linked_timeout_ends_the_operation_of_a_thread_that_computes);
	ON_EACH_FORM(own, an_own_timeout_ends_its_operation_alone);
	ON_EACH_FORM(own, the_earlier_of_timeout_and_deadline_applies);
	ON_EACH_FORM(own, a_timeout_of_nothing_ends_at_once);
	ON_EACH_FORM(own, a_timeout_that_is_not_reached_does_nothing);
	ON_EACH_FORM(own, timeouts_and_deadlines_reach_operations_that_block_in_a_worker);
	ON_EACH_FORM(own, one_timeout_bounds_a_multishot_operation);
	ON_EACH_FORM(own, cancel_before_the_timeout_is_a_cancel);
	return suite;
}
