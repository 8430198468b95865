/* SPDX-License-Identifier: MIT */
/*
 * Rings when the k-th system call or allocation fails, once or from then on: the error is a
 * documented one, each operation ends exactly once, and nothing is left behind.
 */
#include "support/faults.h"
#include "support/rings.h"

TEST_MODES(TEST_FAULTS);

#define OPS 12u

struct scenario {
	struct ctx_ring *ring;
	struct ctx_context *ctx, *timed;
	struct pair pair;
	struct probe probes[OPS];
	char sink[8];
};

static void ck_assert_documented(int result)
{
	ck_assert_msg(result >= 0 || result == -ENOMEM || result == -EMFILE || result == -EAGAIN ||
			      result == -EBUSY || result == -EINTR || result == -ETIMEDOUT,
		      "unexpected error: %s", strerror(-result));
}

static void start_one(struct scenario *scenario, unsigned i)
{
	struct probe *probe = &scenario->probes[i];
	const struct ctx_context *under = i % 3 == 0   ? scenario->ctx
					  : i % 3 == 1 ? scenario->timed
						       : ctx_background();

	if (!under)
		return;
	probe_recv(scenario->ring, under, probe, scenario->pair.near, scenario->sink, 1);
	if (i % 4 == 3)
		ctx_op_set_timeout(&probe->op, HOUR);
}

/* Everything that a program does with a ring; what fails is skipped. */
static void use(struct scenario *scenario, int kind)
{
	struct ctx_ring_options options = {.setup_flags = setup_flags_of(kind),
					   .flags = parks(kind) ? CTX_RING_PARK : 0};
	int error = ctx_ring_open(8, &options, &scenario->ring);

	ck_assert_documented(error);
	if (error)
		return;
	if (ctx_with_cancel(ctx_background(), "fault", &scenario->ctx))
		scenario->ctx = NULL;
	if (ctx_with_timeout(ctx_background(), HOUR, "fault timed", &scenario->timed))
		scenario->timed = NULL;
	ck_assert_documented(ctx_ring_fd(scenario->ring));
	for (unsigned i = 0; i < OPS; i++)
		start_one(scenario, i);
	ck_assert_documented(ctx_ring_submit(scenario->ring));
	ck_assert_int_eq(write(scenario->pair.far, "x", 1), 1);
	ck_assert_documented(ctx_ring_dispatch(scenario->ring, 0));
	if (scenario->ctx) {
		ck_assert_ok(ctx_cancel(scenario->ctx));
		ck_assert_cancelled(scenario->ctx);
		ck_assert_documented(
			ctx_ring_drain(scenario->ring, scenario->ctx, MILLISECOND, NULL, 0, NULL));
	}
	ck_assert_documented(ctx_op_cancel(scenario->ring, &scenario->probes[2].op) == -EALREADY
				     ? 0
				     : ctx_ring_dispatch(scenario->ring, 0));
}

static void finish(struct scenario *scenario)
{
	if (!scenario->ring)
		return;
	ring_end(scenario->ring);
	for (unsigned i = 0; i < OPS; i++) {
		const struct probe *probe = &scenario->probes[i];
		if (!probe->op.callback)
			continue;
		ck_assert_uint_eq(probe->finals, 1);
		if (probe->last.res < 0 && probe->last.res != -ECANCELED)
			ck_assert_int_eq(probe->last.res, -ENOMEM);
	}
}

static unsigned run_scenario(int kind, uint64_t calls, unsigned k, bool for_ever, int error)
{
	static struct scenario scenario;

	scenario = (struct scenario){.pair = pair_new()};
	faults_arm(calls, k, for_ever, error);
	use(&scenario, kind);
	unsigned failed = faults_disarm();
	finish(&scenario);
	if (scenario.ctx)
		ctx_finish(scenario.ctx);
	if (scenario.timed)
		ctx_finish(scenario.timed);
	pair_end(scenario.pair);
	return failed;
}

START_TEST(any_resource_fails_once)
{
	for (unsigned k = 1; run_scenario(_i, FAULTS_RESOURCES, k, false, 0); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(any_resource_fails_from_then_on)
{
	/* Without the one that hands a SINGLE_ISSUER ring to its first user: then there is no ring to use. */
	const uint64_t calls = FAULTS_RESOURCES & ~FAULT(SYS_CALL_URING_REGISTER);

	for (unsigned k = 1; run_scenario(_i, calls, k, true, 0); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

static const int enter_errors[] = {EAGAIN, EBUSY, EINTR, ENOMEM};

START_TEST(any_enter_fails_once)
{
	for (unsigned e = 0; e < 4; e++)
		for (unsigned k = 1; run_scenario(_i, FAULT(SYS_CALL_URING_ENTER), k, false, enter_errors[e]);
		     k++)
			ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(reads_of_the_mailbox_fail)
{
	run_scenario(_i, FAULT(SYS_CALL_READ) | FAULT(SYS_CALL_WRITE), 1, true, 0);
}
END_TEST

/* Goal: cancels that the kernel did not take are sent later; none is lost. */
static void enter_fails_while_cancelling(int kind, int error, unsigned count)
{
	struct ctx_ring *ring = ring_with(kind, 8, NULL);
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe *probes = calloc(count, sizeof(*probes));
	struct pair pair = pair_new();
	char sink[8];

	for (unsigned i = 0; i < count; i++) {
		probe_recv(ring, ctx, &probes[i], pair.near, sink, sizeof(sink));
		ck_assert_ok(ctx_op_set_flags(&probes[i].op, CTX_OP_PENDING));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), (int)count);
	/* An interrupted one is tried again at once, so not for ever. */
	faults_arm(FAULT(SYS_CALL_URING_ENTER), 2, error != EINTR, error);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_uint_gt(faults_disarm(), 0);
	await_probes(ring, probes, count);
	for (unsigned i = 0; i < count; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	free(probes);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}

START_TEST(no_cancel_is_lost_when_the_kernel_takes_none)
{
	for (unsigned e = 0; e < 3; e++)
		enter_fails_while_cancelling(_i, enter_errors[e], 1000);
}
END_TEST

START_TEST(no_cancel_is_lost_when_the_kernel_takes_part)
{
	for (unsigned most = 1; most < 8; most += 3) {
		faults_limit_submit(most);
		run_scenario(_i, 0, 1, false, 0);
		faults_arm(0, 1, false, 0);
		struct ctx_ring *ring = ring_with(_i, 8, NULL);
		struct ctx_context *ctx = child_of(ctx_background());
		static struct probe probes[200];
		struct pair pair = pair_new();
		char sink[8];
		for (unsigned i = 0; i < 200; i++)
			probe_recv(ring, ctx, &probes[i], pair.near, sink, sizeof(sink));
		ck_assert_int_eq(ctx_ring_submit(ring), 200);
		ck_assert_ok(ctx_cancel(ctx));
		await_probes(ring, probes, 200);
		for (unsigned i = 0; i < 200; i++)
			ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
		ring_end(ring);
		ctx_finish(ctx);
		pair_end(pair);
		faults_limit_submit(0);
	}
}
END_TEST

START_TEST(what_the_kernel_did_not_take_stays_staged)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	faults_arm(FAULT(SYS_CALL_URING_ENTER), 1, true, EAGAIN);
	ck_assert_int_eq(ctx_ring_submit(ring), -EAGAIN);
	ck_assert_uint_gt(faults_disarm(), 0);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_close_that_the_kernel_prevents_is_bounded_and_can_be_repeated)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_stuck stuck;
	struct probe probe;
	unsigned count = 0;
	char sink[8];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_PENDING));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	faults_arm(FAULT(SYS_CALL_URING_ENTER), 1, true, EAGAIN);
	ck_assert_int_eq(ctx_ring_close(ring, 5 * MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_gt(faults_disarm(), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_eq(stuck.op, &probe.op);
	ring_end(ring);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	pair_end(pair);
}
END_TEST

static int adopt_once(struct io_uring *uring)
{
	struct ctx_ring *ring = NULL;
	struct probe probe;
	int error = ctx_ring_adopt(uring, NULL, &ring);

	ck_assert_documented(error);
	if (error)
		return 1;
	io_uring_prep_nop(probe_start(ring, ctx_background(), &probe));
	ctx_ring_submit(ring);
	unsigned failed = faults_disarm();
	ring_end(ring);
	ck_assert_uint_eq(probe.finals, 1);
	return failed != 0;
}

START_TEST(adopting_fails_whole)
{
	struct io_uring uring;

	ck_assert_ok(io_uring_queue_init(8, &uring, setup_flags_of(_i)));
	for (unsigned k = 1;; k++) {
		faults_arm(FAULTS_RESOURCES, k, false, 0);
		int failed = adopt_once(&uring);
		faults_disarm();
		if (!failed)
			break;
		ck_assert_uint_lt(k, 100);
	}
	io_uring_queue_exit(&uring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_ring");
	TCase *faults = test_case_ring(suite, "faults");

	ON_EACH_RING(faults, any_resource_fails_once);
	ON_EACH_RING(faults, any_resource_fails_from_then_on);
	ON_EACH_RING(faults, any_enter_fails_once);
	ON_EACH_RING(faults, reads_of_the_mailbox_fail);
	ON_EACH_RING(faults, no_cancel_is_lost_when_the_kernel_takes_none);
	ON_EACH_RING(faults, no_cancel_is_lost_when_the_kernel_takes_part);
	ON_EACH_RING(faults, what_the_kernel_did_not_take_stays_staged);
	ON_EACH_RING(faults, a_close_that_the_kernel_prevents_is_bounded_and_can_be_repeated);
	ON_EACH_RING(faults, adopting_fails_whole);
	return suite;
}
