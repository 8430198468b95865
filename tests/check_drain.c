/* SPDX-License-Identifier: MIT */
/* Draining: afterwards the kernel holds nothing, and nobody's callback has run. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "support/hung.h"

START_TEST(after_a_drain_buffers_can_be_unmapped)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	static struct probe probes[100];
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(page, MAP_FAILED);
	for (int i = 0; i < 100; i++)
		probe_recv(ring, ctx, &probes[i], pair.near, page + 8 * i, 8);
	ck_assert_int_eq(ctx_ring_submit(ring), 100);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	memset(page, 1, 4096);
	ck_assert_ok(munmap(page, 4096));
	/* Nobody reads any more: what comes now stays in the socket. */
	ck_assert_int_eq(write(pair.far, "hello", 5), 5);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(probes[i].finals, 0);
	await_probes(ring, probes, 100);
	for (int i = 0; i < 100; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_drain_does_not_cancel_and_names_what_is_stuck)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent),
			   *other = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probes[3], staged;
	struct ctx_stuck stuck[4] = {0};
	unsigned count = 77;
	char sink[8];

	probe_recv(ring, child, &probes[0], pair.near, sink, sizeof(sink));
	io_uring_prep_poll_add(probe_start(ring, parent, &probes[1]), pair.near, POLLIN);
	probe_recv(ring, other, &probes[2], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 3);
	probe_recv(ring, child, &staged, pair.near, sink, sizeof(sink));
	uint64_t before = clock_now_ns();
	ck_assert_int_eq(ctx_ring_drain(ring, parent, 20 * MILLISECOND, stuck, 4, &count), -ETIMEDOUT);
	ck_assert_uint_ge(clock_now_ns() - before, 20 * MILLISECOND);
	ck_assert_uint_eq(count, 2);
	for (unsigned i = 0; i < 2; i++) {
		bool polls = stuck[i].op == &probes[1].op;
		ck_assert_ptr_eq(stuck[i].op, polls ? &probes[1].op : &probes[0].op);
		ck_assert_uint_eq(stuck[i].ctx_id, ctx_id(polls ? parent : child));
		ck_assert_uint_eq(stuck[i].opcode, polls ? IORING_OP_POLL_ADD : IORING_OP_RECV);
		ck_assert_int_eq(stuck[i].fd, pair.near);
		ck_assert_uint_gt(stuck[i].age_ns, 0);
	}
	ck_assert_int_eq(ctx_ring_drain(ring, child, 0, stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_eq(count, 1);
	ck_assert_live(parent);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_ok(ctx_ring_drain(ring, parent, SOON, stuck, 4, &count));
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(probes[0].finals + probes[1].finals + probes[2].finals, 0);
	ring_end(ring);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(child);
	ctx_finish(parent);
	ctx_finish(other);
	pair_end(pair);
}
END_TEST

static unsigned order[20], ordered;

static void note_order(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	order[ordered++] = (unsigned)op->data;
	probe_count(ring, op, completion);
}

START_TEST(completions_of_others_are_kept_in_order)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new(), pairs[20];
	struct probe probe, others[20] = {0};
	char sink[8];

	for (unsigned i = 0; i < 20; i++) {
		pairs[i] = pair_new();
		ctx_op_init(&others[i].op, note_order, i);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx_background(), &others[i].op), pairs[i].near,
				   sink, 8, 0);
	}
	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 21);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0); /* parks them */
	/* One at a time: of several that are ready at once a DEFER_TASKRUN ring of Linux 6.1 completes the
	 * newest first. */
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(write(pairs[(i * 7) % 20].far, "x", 1), 1);
		if (i < 19)
			ck_assert_int_eq(ctx_ring_drain(ring, ctx, MILLISECOND, NULL, 0, NULL), -ETIMEDOUT);
	}
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	ck_assert_uint_eq(ordered, 0);
	await_probes(ring, others, 20);
	await_probes(ring, &probe, 1);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(order[i], (i * 7) % 20);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
	for (unsigned i = 0; i < 20; i++)
		pair_end(pairs[i]);
}
END_TEST

START_TEST(draining_what_has_nothing_is_at_once)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	unsigned count = 5;

	ck_assert_ok(ctx_ring_drain(ring, ctx, 0, NULL, 0, &count));
	ck_assert_uint_eq(count, 0);
	ck_assert_ok(ctx_ring_drain(ring, ctx_background(), CTX_FOREVER, NULL, 0, NULL));
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

static void ignore(int signo)
{
	(void)signo;
}

START_TEST(a_signal_ends_a_drain_without_loss)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct sigaction action = {.sa_handler = ignore};
	struct itimerval often = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000}, never = {0};
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(sigaction(SIGALRM, &action, NULL));
	ck_assert_ok(setitimer(ITIMER_REAL, &often, NULL));
	ck_assert_int_eq(ctx_ring_drain(ring, ctx, CTX_FOREVER, NULL, 0, NULL), -EINTR);
	ck_assert_int_eq(ctx_ring_dispatch(ring, CTX_FOREVER), -EINTR);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_ok(setitimer(ITIMER_REAL, &never, NULL));
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

static struct ctx_context *to_drain;
static int inner_result = 1;

static void drain_inside(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	ck_assert_ok(ctx_cancel(to_drain));
	inner_result = ctx_ring_drain(ring, to_drain, SOON, NULL, 0, NULL);
	probe_count(ring, op, completion);
}

START_TEST(a_callback_can_drain)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probe, trigger = {0};
	char sink[8];

	to_drain = child_of(ctx_background());
	probe_recv(ring, to_drain, &probe, pair.near, sink, sizeof(sink));
	ctx_op_init(&trigger.op, drain_inside, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &trigger.op));
	await_probes(ring, &trigger, 1);
	ck_assert_ok(inner_result);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(to_drain);
	pair_end(pair);
}
END_TEST

static void *cancel_in_thread(void *data)
{
	ck_assert_ok(ctx_cancel(data));
	return NULL;
}

START_TEST(a_drain_sees_a_cancel_by_another_thread)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	pthread_t thread;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_in_thread, ctx));
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_cancelled(ctx);
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_drain_ends_with_the_deadline)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 10 * MILLISECOND));
	ck_assert_ok(ctx_ring_drain(ring, ctx, CTX_FOREVER, NULL, 0, NULL));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/*
 * Goal: what no cancel can end is named, in time, and afterwards ends. Method: a worker
 * reads a file into memory whose page faults are left unanswered, as a hung device would.
 */
START_TEST(an_operation_that_cannot_be_cancelled_is_named_in_time)
{
	struct hung hung = hung_new();
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	int file = memfd_create("file", MFD_CLOEXEC);
	struct ctx_stuck stuck = {0};
	struct probe probe;
	unsigned count = 0;

	ck_assert_int_eq(write(file, "content", 7), 7);
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probe);
	io_uring_prep_read(sqe, file, hung.page, 7, 0);
	sqe->flags |= IOSQE_ASYNC;
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	hung_await(&hung);
	ck_assert_ok(ctx_cancel(ctx));
	uint64_t before = clock_now_ns();
	ck_assert_int_eq(ctx_ring_drain(ring, ctx, 30 * MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_int_eq(ctx_ring_close(ring, 30 * MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_lt(clock_now_ns() - before, SOON);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_eq(stuck.op, &probe.op);
	ck_assert_uint_eq(stuck.opcode, IORING_OP_READ);
	ck_assert_int_eq(stuck.fd, file);
	ck_assert_uint_eq(probe.finals, 0);
	hung_release(&hung);
	ring_end(ring);
	ck_assert_uint_eq(probe.finals, 1);
	ctx_finish(ctx);
	hung_end(&hung);
	close(file);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("drain");
	TCase *drain = test_case_ring(suite, "drain");

	ON_EACH_RING(drain, after_a_drain_buffers_can_be_unmapped);
	ON_EACH_RING(drain, a_drain_does_not_cancel_and_names_what_is_stuck);
	ON_EACH_RING(drain, completions_of_others_are_kept_in_order);
	ON_EACH_RING(drain, draining_what_has_nothing_is_at_once);
	ON_EACH_RING(drain, a_signal_ends_a_drain_without_loss);
	ON_EACH_RING(drain, a_callback_can_drain);
	ON_EACH_RING(drain, a_drain_sees_a_cancel_by_another_thread);
	ON_EACH_RING(drain, a_drain_ends_with_the_deadline);
	ON_EACH_RING(drain, an_operation_that_cannot_be_cancelled_is_named_in_time);
	return suite;
}
