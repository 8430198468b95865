/* SPDX-License-Identifier: MIT */
/* Operations that wait in the ring's memory are ended by cancels, deadlines, closed rings and closed
 * descriptors as those in the kernel are: only the cost differs. */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "support/parking.h"

/* ---- ends */

/* Goal: no kernel entry, and the memory is the caller's at once. Method: it is unmapped before anything else.
 */
START_TEST(a_cancel_makes_no_enter_and_gives_the_buffers_back)
{
	struct parked on = parked_begin(parking_ring_noted(_i));
	struct probe probes[100];
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), rest[8];
	struct ctx_batch batch;

	for (int i = 0; i < 100; i++)
		probe_recv(on.ring, on.ctx, &probes[i], on.pair.near, page, 8);
	park(on.ring, 100);
	ck_assert_uint_eq(test_count_in_flight(true), 100);
	ck_assert_ok(ctx_cancel(on.ctx));
	ck_assert_ok(munmap(page, 4096));
	ck_assert_ok(ctx_ring_last_batch(on.ring, &batch));
	ck_assert_uint_eq(batch.operations, 100);
	ck_assert_uint_eq(batch.unsent, 100);
	ck_assert_uint_eq(batch.cancelled, 100);
	ck_assert_uint_eq(batch.sqes, 0);
	ck_assert_uint_eq(batch.enters, 0);
	ck_assert_ok(ctx_ring_drain(on.ring, on.ctx, 0, NULL, 0, NULL));
	ck_assert_int_eq(write(on.pair.far, "stays", 5), 5);
	ck_assert_int_eq(ctx_ring_dispatch(on.ring, 0), 100);
	for (int i = 0; i < 100; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(batches, 1);
	ck_assert_int_eq(recv(on.pair.near, rest, sizeof(rest), MSG_DONTWAIT), 5);
	parked_end(&on);
}
END_TEST

/* The same when attempts have failed and nobody has looked. */
START_TEST(a_cancel_looks_at_the_answers_to_attempts_first)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct pair pairs[4];
	struct probe probes[4];
	struct ctx_batch batch;
	char sink[8];

	ck_assert_int_eq(ctx_ring_dispatch(on.ring, 0), 0);
	for (int i = 0; i < 4; i++) {
		pairs[i] = pair_new();
		probe_recv(on.ring, on.ctx, &probes[i], pairs[i].near, sink, 8);
	}
	ck_assert_int_eq(ctx_ring_submit(on.ring), 4);
	ck_assert_ok(ctx_cancel(on.ctx));
	ck_assert_ok(ctx_ring_last_batch(on.ring, &batch));
	ck_assert_uint_eq(batch.unsent, 4);
	ck_assert_uint_eq(batch.sqes, 0);
	ck_assert_uint_eq(batch.enters, 0);
	await_probes(on.ring, probes, 4);
	parked_end(&on);
	for (int i = 0; i < 4; i++)
		pair_end(pairs[i]);
}
END_TEST

/*
 * Its descriptor becomes ready in the moment in which it ends: what is behind it gets the data. Method: the
 * cancel itself sees the event, as it looks at the answer to another's attempt.
 */
START_TEST(what_has_ended_is_attempted_no_more)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct pair other = pair_new();
	struct probe ended, next, unseen;
	char sinks[2], byte;

	probe_recv(on.ring, on.ctx, &ended, on.pair.near, &sinks[0], 1);
	park(on.ring, 1);
	probe_recv(on.ring, ctx_background(), &unseen, other.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	ck_assert_ok(ctx_cancel(on.ctx));
	sinks[0] = 'u';
	probe_recv(on.ring, ctx_background(), &next, on.pair.near, &sinks[1], 1);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	await_probes(on.ring, &ended, 1);
	ck_assert_probe(&ended, -ECANCELED, CTX_OP_CANCELLED);
	await_probes(on.ring, &next, 1);
	ck_assert_probe(&next, 1, CTX_OP_FINISHED);
	ck_assert_int_eq(sinks[0], 'u');
	ck_assert_int_eq(sinks[1], 'x');
	parked_end(&on);
	pair_end(other);
}
END_TEST

START_TEST(one_operation_is_cancelled_among_others)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probes[3];
	char sink[3];

	for (int i = 0; i < 3; i++)
		probe_recv(on.ring, ctx_background(), &probes[i], on.pair.near, &sink[i], 1);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 3);
	ck_assert_ok(ctx_op_cancel(on.ring, &probes[0].op)); /* its attempt has failed, unseen */
	ck_assert_int_eq(ctx_op_cancel(on.ring, &probes[0].op), -EALREADY);
	await_probes(on.ring, &probes[0], 1);
	ck_assert_ok(ctx_op_cancel(on.ring, &probes[2].op));
	ck_assert_int_eq(write(on.pair.far, "ab", 2), 2);
	await_probes(on.ring, probes, 3);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&probes[1], 1, CTX_OP_FINISHED);
	ck_assert_int_eq(sink[1], 'a');
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_CANCELLED);
	parked_end(&on);
}
END_TEST

START_TEST(parked_pending_and_staged_end_in_one_batch)
{
	struct parked on = parked_begin(parking_ring_noted(_i));
	struct probe probes[6];
	char sink[8];

	for (int i = 0; i < 6; i++) {
		if (i == 4)
			park(on.ring, 4);
		probe_recv(on.ring, on.ctx, &probes[i], on.pair.near, sink, 8);
		if (i % 2)
			ck_assert_ok(ctx_op_set_flags(&probes[i].op, CTX_OP_PENDING));
	}
	ck_assert_ok(ctx_cancel(on.ctx));
	await_probes(on.ring, probes, 6);
	for (int i = 0; i < 6; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(last_batch.operations, 6);
	ck_assert_uint_eq(last_batch.unsent, 4);
	ck_assert_uint_eq(last_batch.sqes, 2);
	ck_assert_uint_eq(last_batch.enters, 1);
	parked_end(&on);
}
END_TEST

static void *cancel_it(void *data)
{
	ck_assert_ok(ctx_cancel(data));
	return NULL;
}

START_TEST(another_thread_ends_what_is_parked)
{
	struct parked on = parked_begin(parking_ring_noted(_i));
	struct probe probes[10];
	pthread_t thread;
	char sink[8];

	for (int i = 0; i < 10; i++)
		probe_recv(on.ring, on.ctx, &probes[i], on.pair.near, sink, 8);
	park(on.ring, 10);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, on.ctx));
	await_probes(on.ring, probes, 10);
	ck_assert_ok(pthread_join(thread, NULL));
	for (int i = 0; i < 10; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(last_batch.enters, 0);
	parked_end(&on);
}
END_TEST

START_TEST(deadlines_and_timeouts_end_what_is_parked)
{
	struct parked on = parked_begin(parking_ring(_i));
	uint64_t begin_ns = clock_now_ns();
	struct ctx_context *timed = timed_child_of(ctx_background(), 30 * MILLISECOND);
	struct probe probes[3];
	char sink[8];

	probe_recv(on.ring, timed, &probes[0], on.pair.near, sink, 8);
	probe_recv(on.ring, ctx_background(), &probes[1], on.pair.near, sink, 8);
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, 10 * MILLISECOND));
	probe_recv(on.ring, timed, &probes[2], on.pair.far, sink, 8);
	ck_assert_ok(ctx_op_set_timeout(&probes[2].op, 3600000 * MILLISECOND));
	ck_assert_int_ge(ctx_ring_submit(on.ring),
			 0); /* not all, if this thread was held up until the deadline */
	await_probes(on.ring, &probes[1], 1);
	ck_assert_uint_ge(clock_now_ns() - begin_ns, 10 * MILLISECOND);
	await_probes(on.ring, probes, 3);
	ck_assert_uint_ge(clock_now_ns() - begin_ns, 30 * MILLISECOND);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_DEADLINE);
	/* Of no time at all: what is there comes first. */
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	probe_recv(on.ring, ctx_background(), &probes[0], on.pair.near, sink, 8);
	ck_assert_ok(ctx_op_set_timeout(&probes[0].op, 0));
	await_probes(on.ring, probes, 1);
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	probe_recv(on.ring, ctx_background(), &probes[0], on.pair.near, sink, 8);
	ck_assert_ok(ctx_op_set_timeout(&probes[0].op, 0));
	await_probes(on.ring, probes, 1);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_TIMEOUT);
	parked_end(&on);
	ctx_finish(timed);
}
END_TEST

START_TEST(closing_the_ring_ends_what_is_parked)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new();
	struct probe probes[10];
	char sink[8];

	for (int i = 0; i < 10; i++)
		probe_recv(ring, ctx_background(), &probes[i], i % 2 ? pair.near : pair.far, sink, 8);
	if (_i)
		park(ring, 10);
	else
		ck_assert_int_eq(ctx_ring_submit(ring), 10);
	ring_end(ring);
	for (int i = 0; i < 10; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	pair_end(pair);
}
END_TEST

static void *use_and_end(void *data)
{
	struct ctx_ring *ring = data;
	static struct probe probe;
	static char sink[8];
	static struct pair pair;

	pair = pair_new();
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, 8);
	park(ring, 1);
	pair_end(pair);
	return NULL;
}

START_TEST(a_ring_whose_owner_has_ended_can_be_closed)
{
	struct ctx_ring *ring = parking_ring(_i);
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, use_and_end, ring));
	ck_assert_ok(pthread_join(thread, NULL));
	ring_end(ring);
}
END_TEST

/* As for what is in the kernel: a drain of a live context waits, and what comes meanwhile is kept. */
START_TEST(a_drain_waits_for_what_is_parked_while_its_context_lives)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct ctx_stuck stuck;
	struct probe probe;
	unsigned count;
	char sink[8];

	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, 8);
	park(on.ring, 1);
	ck_assert_int_eq(ctx_ring_drain(on.ring, on.ctx, MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_eq(stuck.op, &probe.op);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	ck_assert_ok(ctx_ring_drain(on.ring, on.ctx, SOON, NULL, 0, NULL));
	ck_assert_uint_eq(probe.finals, 0);
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

/* ---- closing descriptors */

static bool sees_the_end(int fd)
{
	char byte;
	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

START_TEST(closing_ends_operations_and_the_peer_sees_it_at_once)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pairs[2] = {pair_new(), tcp_new()};
	char sink[8];

	for (int i = 0; i < 2; i++) {
		struct probe probes[4];
		for (int n = 0; n < 4; n++) {
			if (n == 3)
				park(ring, 3);
			probe_recv(ring, ctx_background(), &probes[n], pairs[i].near, sink, 8);
			if (n == 1) /* in the kernel */
				ck_assert_ok(ctx_op_set_flags(&probes[n].op, CTX_OP_PENDING));
		}
		ck_assert_ok(ctx_ring_close_fd(ring, pairs[i].near));
		ck_assert(sees_the_end(pairs[i].far));
		ck_assert_int_eq(fcntl(pairs[i].near, F_GETFD), -1);
		await_probes(ring, probes, 4);
		for (int n = 0; n < 4; n++)
			ck_assert_probe(&probes[n], -ECANCELED, CTX_OP_CANCELLED);
		close(pairs[i].far);
	}
	ck_assert_int_eq(ctx_ring_close_fd(ring, pairs[0].near), -EBADF);
	ck_assert_int_eq(ctx_ring_close_fd(ring, -1), -EINVAL);
	ck_assert_int_eq(ctx_ring_close_fd(NULL, 0), -EINVAL);
	ring_end(ring);
}
END_TEST

START_TEST(closing_is_for_every_ring)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new(), other = pair_new();
	struct probe probes[3];
	char sink[8];

	probe_recv(ring, ctx_background(), &probes[0], pair.near, sink, 8);
	io_uring_prep_poll_add(probe_start(ring, ctx_background(), &probes[1]), pair.near, POLLIN);
	probe_recv(ring, ctx_background(), &probes[2], other.near, sink, 8);
	ck_assert_int_eq(ctx_ring_submit(ring), 3);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ck_assert(sees_the_end(pair.far));
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(write(other.far, "x", 1), 1);
	await_probes(ring, &probes[2], 1);
	ck_assert_probe(&probes[2], 1, CTX_OP_FINISHED);
	ring_end(ring);
	close(pair.far);
	pair_end(other);
}
END_TEST

/* Though a copy of it keeps the file open. */
START_TEST(a_descriptor_that_was_closed_wakes_nobody)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new();
	int copy = fcntl(pair.near, F_DUPFD_CLOEXEC, 0);
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	park(ring, 1);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	await_probes(ring, &probe, 1);
	uint64_t begin_ns = clock_now_ns();
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		ck_assert_int_eq(ctx_ring_dispatch(ring, 10 * MILLISECOND), 0);
	}
	ck_assert_uint_ge(clock_now_ns() - begin_ns, 40 * MILLISECOND);
	ring_end(ring);
	close(pair.far);
	close(copy);
}
END_TEST

/* A number is used again, and again, with events of its earlier uses perhaps under way. */
START_TEST(a_number_that_was_closed_can_be_used_again)
{
	struct ctx_ring *ring = parking_ring(_i);
	char sink[8];

	for (int i = 0; i < 50; i++) {
		struct pair pair = pair_new();
		struct probe probes[2];
		probe_recv(ring, ctx_background(), &probes[0], pair.near, sink, 8);
		park(ring, 1);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		if (i % 2)
			await_probes(ring, &probes[0], 1);
		ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
		close(pair.far);
		await_probes(ring, &probes[0], 1);
	}
	ring_end(ring);
}
END_TEST

START_TEST(a_number_that_an_accept_brings_back_is_recognised)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new();
	int listener = listener_new(), client;
	struct probe accept, old, probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &old, pair.near, sink, 8);
	park(ring, 1);
	connect_to(listener, &client);
	close(pair.near);
	io_uring_prep_accept(probe_start(ring, ctx_background(), &accept), listener, NULL, NULL,
			     SOCK_CLOEXEC);
	await_probes(ring, &accept, 1);
	ck_assert_int_eq(accept.last.res, pair.near);
	await_probes(ring, &old, 1);
	ck_assert_probe(&old, -EBADF, CTX_OP_FINISHED);
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, 8);
	park(ring, 1);
	ck_assert_int_eq(write(client, "abc", 3), 3);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ring_end(ring);
	close(pair.far);
	close(client);
	close(listener);
}
END_TEST

/* All eventfds share one inode. The first was read, found empty, and is closed with nothing parked on it. */
START_TEST(the_check_tells_eventfds_apart_when_nothing_is_parked)
{
	setenv("CTXRING_FEATURES", "park-check", 1);
	struct ctx_ring *ring = parking_ring(_i);
	int event = eventfd(0, EFD_CLOEXEC), other;
	struct probe probe;
	uint64_t count;

	io_uring_prep_read(probe_start(ring, ctx_background(), &probe), event, &count, sizeof(count), 0);
	park(ring, 1);
	ck_assert_ok(ctx_op_cancel(ring, &probe.op));
	await_probes(ring, &probe, 1);
	close(event);
	other = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(other, event);
	ck_assert_ok(eventfd_write(other, 3));
	io_uring_prep_read(probe_start(ring, ctx_background(), &probe), other, &count, sizeof(count), 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, sizeof(count), CTX_OP_FINISHED);
	ck_assert_uint_eq(count, 3);
	ck_assert_ok(ctx_ring_close_fd(ring, other));
	ring_end(ring);
}
END_TEST

/* The number is another file's by a dup. */
START_TEST(the_check_notices_another_file)
{
	setenv("CTXRING_FEATURES", "park-check", 1);
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new(), other;
	struct probe old, probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &old, pair.near, sink, 8);
	park(ring, 1);
	other = pair_new();
	close(pair.near);
	ck_assert_int_eq(fcntl(other.near, F_DUPFD_CLOEXEC, pair.near), pair.near);
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, 8);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	await_probes(ring, &old, 1);
	ck_assert_probe(&old, -EBADF, CTX_OP_FINISHED);
	ck_assert_int_eq(write(other.far, "abc", 3), 3);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ring_end(ring);
	close(pair.far);
	pair_end(other);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_ends");
	TCase *ends = test_case_ring(suite, "ends"), *closing = test_case_ring(suite, "closing");

	ON_EACH_PARKING(ends, a_cancel_makes_no_enter_and_gives_the_buffers_back);
	ON_EACH_PARKING(ends, a_cancel_looks_at_the_answers_to_attempts_first);
	ON_EACH_PARKING(ends, what_has_ended_is_attempted_no_more);
	ON_EACH_PARKING(ends, one_operation_is_cancelled_among_others);
	ON_EACH_PARKING(ends, parked_pending_and_staged_end_in_one_batch);
	ON_EACH_PARKING(ends, another_thread_ends_what_is_parked);
	ON_EACH_PARKING(ends, deadlines_and_timeouts_end_what_is_parked);
	ON_EACH_PARKING(ends, closing_the_ring_ends_what_is_parked);
	ON_EACH_PARKING(ends, a_ring_whose_owner_has_ended_can_be_closed);
	ON_EACH_PARKING(ends, a_drain_waits_for_what_is_parked_while_its_context_lives);
	ON_EACH_PARKING(closing, closing_ends_operations_and_the_peer_sees_it_at_once);
	ON_EACH_RING(closing, closing_is_for_every_ring);
	ON_EACH_PARKING(closing, a_descriptor_that_was_closed_wakes_nobody);
	ON_EACH_PARKING(closing, a_number_that_was_closed_can_be_used_again);
	ON_EACH_PARKING(closing, a_number_that_an_accept_brings_back_is_recognised);
	ON_EACH_PARKING(closing, the_check_notices_another_file);
	ON_EACH_PARKING(closing, the_check_tells_eventfds_apart_when_nothing_is_parked);
	return suite;
}
