/* SPDX-License-Identifier: MIT */
/* What has come for parked operations and is seen outside a dispatch: by a cancel, a drain, the closing of a
 * descriptor; and what an outer event loop is then told. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/un.h>

#include "support/parking.h"

/* ---- an outer event loop */

/* The cancel looks at what has come, and so takes it away from the ring's descriptor. */
START_TEST(what_a_cancel_that_comes_too_late_has_seen_is_told)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe receive;
	char sink;

	ck_assert_int_ge(ctx_ring_fd(on.ring), 0);
	dispatch_until_quiet(on.ring);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	probe_recv(on.ring, ctx_background(), &receive, on.pair.near, &sink, 1);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_int_eq(ctx_op_cancel(on.ring, &receive.op), -EALREADY);
	ck_assert(ends_when_told(on.ring, &receive));
	ck_assert_probe(&receive, 1, CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

/* The same for readiness, seen while another context is ended, or drained, or a descriptor closed. */
static void readiness_is_seen(int kind, void (*see)(struct ctx_ring *ring, struct ctx_context *other))
{
	struct ctx_ring *ring = ring_with(kind, 8, NULL);
	struct ctx_context *other = child_of(ctx_background());
	struct pair pairs[3] = {pair_new(), pair_new(), pair_new()};
	struct probe receives[3];
	char sinks[3];

	ck_assert_int_ge(ctx_ring_fd(ring), 0);
	probe_recv(ring, ctx_background(), &receives[0], pairs[0].near, &sinks[0], 1);
	/* Makes other known to the ring, and is over. */
	ck_assert_int_eq(write(pairs[1].far, "y", 1), 1);
	probe_recv(ring, other, &receives[1], pairs[1].near, &sinks[1], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	dispatch_until_quiet(ring);
	ck_assert_uint_eq(receives[1].finals, 1);
	/* An attempt whose answer is there. */
	probe_recv(ring, ctx_background(), &receives[2], pairs[2].near, &sinks[2], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(write(pairs[0].far, "x", 1), 1);
	usleep(1000); /* the kernel says so */
	see(ring, other);
	ck_assert(ends_when_told(ring, &receives[0]));
	ck_assert_int_eq(write(pairs[2].far, "z", 1), 1);
	ck_assert(ends_when_told(ring, &receives[2]));
	ring_end(ring);
	ctx_finish(other);
	for (int i = 0; i < 3; i++)
		pair_end(pairs[i]);
}

static void see_by_cancel(struct ctx_ring *ring, struct ctx_context *other)
{
	(void)ring;
	ck_assert_ok(ctx_cancel(other));
}

static void see_by_drain(struct ctx_ring *ring, struct ctx_context *other)
{
	ck_assert_ok(ctx_ring_drain(ring, other, 0, NULL, 0, NULL));
}

static void see_by_close(struct ctx_ring *ring, struct ctx_context *other)
{
	(void)other;
	ck_assert_ok(ctx_ring_close_fd(ring, eventfd(0, EFD_CLOEXEC)));
}

START_TEST(readiness_seen_by_a_cancel_is_told)
{
	readiness_is_seen(parking_kind(_i), see_by_cancel);
}
END_TEST

START_TEST(readiness_seen_by_a_drain_is_told)
{
	readiness_is_seen(parking_kind(_i), see_by_drain);
}
END_TEST

START_TEST(readiness_seen_by_a_close_is_told)
{
	readiness_is_seen(parking_kind(_i), see_by_close);
}
END_TEST

/* ---- drains */

static struct {
	_Atomic unsigned go, gone;
	int fd;
} sender;

static void *send_when_told(void *data)
{
	unsigned seed = 1;

	(void)data;
	for (unsigned turn = 1;; turn++) {
		while (atomic_load(&sender.go) < turn)
			;
		if (atomic_load(&sender.go) == UINT_MAX)
			return NULL;
		spin(&seed, 1000);
		ck_assert_int_eq(write(sender.fd, "x", 1), 1);
		atomic_store(&sender.gone, turn);
	}
}

/* Goal: whenever readiness comes while a drain begins, it is acted upon. Method: many times, or on a slow
 * machine as often as there is time for. */
START_TEST(a_drain_does_not_miss_what_comes_as_it_begins)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe receive;
	pthread_t thread;
	char sink;

	uint64_t end_ns = clock_now_ns() + 10 * NS_PER_SECOND;

	sender.fd = on.pair.far;
	ck_assert_ok(pthread_create(&thread, NULL, send_when_told, NULL));
	for (unsigned turn = 1; turn <= 20000 && clock_now_ns() < end_ns; turn++) {
		probe_recv(on.ring, on.ctx, &receive, on.pair.near, &sink, 1);
		ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
		atomic_store(&sender.go, turn);
		ck_assert_ok(ctx_ring_drain(on.ring, on.ctx, SOON, NULL, 0, NULL));
		await_probes(on.ring, &receive, 1);
		ck_assert_probe(&receive, 1, CTX_OP_FINISHED);
	}
	atomic_store(&sender.go, UINT_MAX);
	ck_assert_ok(pthread_join(thread, NULL));
	parked_end(&on);
}
END_TEST

/* ---- ends */

/* Goal: whenever it is cancelled, its buffer is not touched afterwards. Method: after each turn that may have
 * left an attempt unsent one receive is cancelled, and its data follows. */
START_TEST(a_cancelled_attempt_does_not_write_later)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct ctx_context *timed = timed_child_of(ctx_background(), 3600 * NS_PER_SECOND);
	struct pair pairs[2] = {pair_new(), pair_new()};
	struct probe receives[2];
	char sinks[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		probe_recv(ring, timed, &receives[i], pairs[i].near, &sinks[i], 1);
	park(ring, 2);
	/* The one is delivered by the turn that learns of the other. */
	ck_assert_int_eq(write(pairs[0].far, "a", 1), 1);
	while (!receives[0].finals) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 10 * MILLISECOND), 0);
	}
	for (int i = 0; i < 100; i++) {
		sinks[0] = sinks[1] = 0;
		ck_assert_int_eq(write(pairs[0].far, "a", 1), 1);
		probe_recv(ring, timed, &receives[0], pairs[0].near, &sinks[0], 1);
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		ck_assert_int_eq(write(pairs[1].far, "b", 1), 1);
		usleep(100);
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		int error = receives[1].finals ? -EALREADY : ctx_op_cancel(ring, &receives[1].op);
		char before = sinks[1];
		await_probes(ring, receives, 2);
		if (!error)
			ck_assert_int_eq(sinks[1], before);
		if (receives[1].last.res != 1)
			empty(pairs[1].near);
		probe_recv(ring, timed, &receives[1], pairs[1].near, &sinks[1], 1);
		park(ring, 1);
	}
	ring_end(ring);
	ctx_finish(timed);
	pair_end(pairs[0]);
	pair_end(pairs[1]);
}
END_TEST

/* ---- drains and barriers */

/* What has ended is waiting for its delivery only, which a drain does not do. */
START_TEST(a_drain_behind_an_ended_operation_does_not_wait_for_its_delivery)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct ctx_context *ended = child_of(ctx_background()), *drained = child_of(ctx_background());
	struct probe probes[2];
	char sink;

	probe_recv(on.ring, ended, &probes[0], on.pair.near, &sink, 1);
	park(on.ring, 1);
	struct io_uring_sqe *sqe = probe_start(on.ring, drained, &probes[1]);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
	ck_assert_int_ge(ctx_ring_submit(on.ring), 0);
	ck_assert_ok(ctx_cancel(ended));
	ck_assert_ok(ctx_ring_drain(on.ring, drained, SOON, NULL, 0, NULL));
	await_probes(on.ring, probes, 2);
	parked_end(&on);
	ctx_finish(ended);
	ctx_finish(drained);
}
END_TEST

/* An accept on what does not listen goes the usual way when the attempt has said so, here while a drain
 * looks. */
START_TEST(a_drain_goes_on_with_what_goes_the_usual_way)
{
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	struct ctx_ring *ring = ring_with(parking_kind(_i), 1, &options);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct probe probes[2];

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probes[0]);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
	io_uring_prep_accept(probe_start(ring, ctx, &probes[1]), fd, NULL, NULL, 0);
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[1], -EINVAL, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	close(fd);
}
END_TEST

/* After many vain attempts the send waits in the kernel. The cancel looks at what has come, here its end. */
START_TEST(the_end_of_what_waits_in_the_kernel_is_told_when_a_cancel_has_seen_it)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct sockaddr_un address;
	socklen_t size;
	int receiver = datagram_receiver(&address, &size),
	    other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int full = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct probe probe;

	ck_assert_int_ge(ctx_ring_fd(ring), 0);
	dispatch_until_quiet(ring);
	while (sendto(other, "o", 1, MSG_DONTWAIT, (struct sockaddr *)&address, size) > 0)
		;
	struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probe);
	io_uring_prep_send(sqe, full, "x", 1, 0);
	sqe->addr2 = (uint64_t)(uintptr_t)&address;
	sqe->addr_len = (uint16_t)size;
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	for (int i = 0; i < 100; i++)
		ctx_ring_dispatch(ring, MILLISECOND);
	dispatch_until_quiet(ring);
	ck_assert_uint_eq(probe.finals, 0);
	empty(receiver);
	poll(NULL, 0, 50);
	ctx_op_cancel(ring, &probe.op); /* too late, or in time: either ends it */
	ck_assert(ends_when_told(ring, &probe));
	ring_end(ring);
	close(receiver);
	close(other);
	close(full);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_unseen");
	TCase *all = test_case_ring(suite, "all");

	ON_EACH_PARKING(all, what_a_cancel_that_comes_too_late_has_seen_is_told);
	ON_EACH_PARKING(all, readiness_seen_by_a_cancel_is_told);
	ON_EACH_PARKING(all, readiness_seen_by_a_drain_is_told);
	ON_EACH_PARKING(all, readiness_seen_by_a_close_is_told);
	ON_EACH_PARKING(all, a_drain_does_not_miss_what_comes_as_it_begins);
	ON_EACH_PARKING(all, a_cancelled_attempt_does_not_write_later);
	ON_EACH_PARKING(all, a_drain_behind_an_ended_operation_does_not_wait_for_its_delivery);
	ON_EACH_PARKING(all, a_drain_goes_on_with_what_goes_the_usual_way);
	ON_EACH_PARKING(all, the_end_of_what_waits_in_the_kernel_is_told_when_a_cancel_has_seen_it);
	return suite;
}
