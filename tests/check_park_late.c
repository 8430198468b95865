/* SPDX-License-Identifier: MIT */
/*
 * Operations of a parking ring that wait in the kernel first, and are parked when they have waited for long:
 * which do so, that each ends once with all of its data, and what moves the boundary between the two.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "op.h"
#include "park_late.h"
#include "support/parking.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_PLAIN);

/* Long enough for the operations of a test to be given to the kernel, short enough to be waited for. */
#define AFTER_NS (2 * MILLISECOND)

static struct parked late_begin(int i)
{
	park_late_after_ns = AFTER_NS;
	return parked_begin(parking_ring(i));
}

/* Dispatches until so many operations are parked, and none of sockets and pipes is in the kernel. */
static void await_parked(struct ctx_ring *ring, unsigned count)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (test_count_in_flight(true) != count || test_count_in_flight(false)) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
		ck_assert_msg(clock_now_ns() < end_ns, "%u of %u are parked", test_count_in_flight(true),
			      count);
	}
}

/* No wait is long from here on. */
static void park_no_more(void)
{
	park_late_after_ns = HOUR;
}

static void ck_assert_in_kernel(unsigned count)
{
	ck_assert_uint_eq(test_count_in_flight(true), 0);
	ck_assert_uint_eq(test_count_in_flight(false), count);
}

/* ---- where an operation waits */

START_TEST(a_receive_is_parked_when_it_has_waited_for_long)
{
	struct parked on = late_begin(_i);
	struct probe probe;
	char sink[8];

	park_no_more();
	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	park(on.ring, 1);
	ck_assert_in_kernel(1);
	ck_assert_int_eq(write(on.pair.far, "short", 5), 5);
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, 5, CTX_OP_FINISHED);
	parked_end(&on);

	on = late_begin(_i);
	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_in_kernel(1);
	await_parked(on.ring, 1);
	ck_assert_int_eq(write(on.pair.far, "long", 4), 4);
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, 4, CTX_OP_FINISHED);
	ck_assert_int_eq(memcmp(sink, "long", 4), 0);
	parked_end(&on);
}
END_TEST

/* After a long wait the next operation parks at once. After a short one it waits in the kernel. */
START_TEST(the_last_wait_decides_about_the_next)
{
	struct parked on = late_begin(_i);
	struct probe probe;
	char sink[8];

	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	await_parked(on.ring, 1);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	await_probes(on.ring, &probe, 1);
	park_no_more();
	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	park(on.ring, 1);
	ck_assert_uint_eq(test_count_in_flight(true), 1);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	await_probes(on.ring, &probe, 1);
	for (int i = 0; i < 3; i++) {
		probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
		park(on.ring, 1);
		ck_assert_in_kernel(1);
		ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
		await_probes(on.ring, &probe, 1);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	}
	parked_end(&on);
}
END_TEST

START_TEST(the_flag_parks_at_once)
{
	struct parked on = late_begin(_i);
	struct probe probe;
	char sink[8];

	park_no_more();
	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_PARK));
	park(on.ring, 1);
	ck_assert_uint_eq(test_count_in_flight(true), 1);
	ck_assert_ok(ctx_cancel(on.ctx));
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	parked_end(&on);
}
END_TEST

/* Goal: more operations than the queue has entries, and than one part of the sweep takes, are all parked. */
START_TEST(many_are_parked_and_ended)
{
	enum {
		COUNT = 200
	};
	static struct probe probes[COUNT];
	static struct pair pairs[COUNT];
	static char sinks[COUNT];
	struct parked on = late_begin(_i);

	for (int i = 0; i < COUNT; i++) {
		pairs[i] = pair_new();
		probe_recv(on.ring, on.ctx, &probes[i], pairs[i].near, &sinks[i], 1);
	}
	ck_assert_int_eq(ctx_ring_submit(on.ring), COUNT);
	await_parked(on.ring, COUNT);
	for (int i = 0; i < COUNT / 2; i++)
		ck_assert_int_eq(write(pairs[i].far, "x", 1), 1);
	await_probes(on.ring, probes, COUNT / 2);
	ck_assert_ok(ctx_cancel(on.ctx));
	await_probes(on.ring, probes, COUNT);
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(probes[i].last.res, i < COUNT / 2 ? 1 : -ECANCELED);
		pair_end(pairs[i]);
	}
	parked_end(&on);
}
END_TEST

START_TEST(sends_reads_and_accepts_are_parked_late)
{
	struct parked on = late_begin(_i);
	struct pair pipe_pair = pipe_new();
	struct probe probes[4];
	static char block[65536];
	char sink[8];
	uint64_t value;
	int listener = listener_new(), client, event = eventfd(0, EFD_CLOEXEC);

	while (send(on.pair.near, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	io_uring_prep_send(probe_start(on.ring, on.ctx, &probes[0]), on.pair.near, "end", 3, 0);
	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[1]), pipe_pair.near, sink, sizeof(sink), 0);
	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[2]), event, &value, sizeof(value), 0);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 3);
	ck_assert_in_kernel(3);
	uint64_t end_ns = clock_now_ns() + SOON;
	/* Where writes and reads have no attempts, they wait in the kernel again, or are asked for. */
	while (!test_count_in_flight(true) && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	ck_assert_uint_ge(test_count_in_flight(true), 1);
	ck_assert_int_eq(write(pipe_pair.far, "pipe", 4), 4);
	ck_assert_ok(eventfd_write(event, 7));
	empty(on.pair.far);
	await_probes(on.ring, probes, 3);
	ck_assert_probe(&probes[0], 3, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], 4, CTX_OP_FINISHED);
	ck_assert_probe(&probes[2], sizeof(value), CTX_OP_FINISHED);
	ck_assert_uint_eq(value, 7);
	io_uring_prep_accept(probe_start(on.ring, on.ctx, &probes[3]), listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	for (int i = 0; i < 10; i++)
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	connect_to(listener, &client);
	await_probes(on.ring, &probes[3], 1);
	ck_assert_int_ge(probes[3].last.res, 0);
	close(probes[3].last.res);
	close(client);
	close(listener);
	close(event);
	pair_end(pipe_pair);
	parked_end(&on);
}
END_TEST

/* Goal: a regular file is left to the kernel, also two operations on it at a time. */
START_TEST(a_regular_file_is_not_parked)
{
	struct parked on = late_begin(_i);
	FILE *file = tmpfile();
	struct probe probes[2];
	char sinks[2][8];

	ck_assert_int_eq(write(fileno(file), "01234567", 8), 8);
	for (int i = 0; i < 2; i++)
		io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[i]), fileno(file), sinks[i], 8,
				   4 * (unsigned)i);
	await_probes(on.ring, probes, 2);
	ck_assert_probe(&probes[0], 8, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], 4, CTX_OP_FINISHED);
	ck_assert_int_eq(memcmp(sinks[1], "4567", 4), 0);
	fclose(file);
	parked_end(&on);
}
END_TEST

START_TEST(closing_a_descriptor_ends_what_waits_in_the_kernel)
{
	struct parked on = late_begin(_i);
	struct probe probe;
	char sink[8];

	park_no_more();
	probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
	park(on.ring, 1);
	ck_assert_in_kernel(1);
	ck_assert_ok(ctx_ring_close_fd(on.ring, on.pair.near));
	ck_assert_int_eq(read(on.pair.far, sink, 1), 0);
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	on.pair.near = dup(on.pair.far);
	parked_end(&on);
}
END_TEST

/* ---- races of what ends an operation with its move out of the kernel */

struct writer {
	int fd;
	unsigned count, seed;
};

/* Writes bytes that are numbered, with pauses of about the time after which operations are parked. */
static void *write_numbered(void *data)
{
	struct writer *writer = data;

	for (unsigned i = 0; i < writer->count; i++) {
		uint8_t byte = (uint8_t)i;
		spin(&writer->seed, 1000);
		if (writer->seed & 0x1000)
			usleep((writer->seed >> 16) % 3000);
		ck_assert_int_eq(write(writer->fd, &byte, 1), 1);
	}
	return NULL;
}

/* Goal: no byte is lost, doubled or out of order, with two receives at a time on one descriptor. */
START_TEST(data_that_comes_with_the_move_is_not_lost)
{
	struct parked on = late_begin(_i);
	struct writer writer = {.fd = on.pair.far, .count = 300, .seed = (unsigned)_i + 1};
	struct probe probes[2];
	uint8_t bytes[2];
	pthread_t thread;

	park_late_after_ns = MILLISECOND;
	ck_assert_ok(pthread_create(&thread, NULL, write_numbered, &writer));
	for (unsigned i = 0; i < 2; i++)
		probe_recv(on.ring, on.ctx, &probes[i], on.pair.near, &bytes[i], 1);
	for (unsigned i = 0; i < writer.count; i++) {
		await_probes(on.ring, &probes[i % 2], 1);
		ck_assert_probe(&probes[i % 2], 1, CTX_OP_FINISHED);
		ck_assert_uint_eq(bytes[i % 2], i % 256);
		if (i + 2 < writer.count)
			probe_recv(on.ring, on.ctx, &probes[i % 2], on.pair.near, &bytes[i % 2], 1);
	}
	pthread_join(thread, NULL);
	parked_end(&on);
}
END_TEST

/* Goal: each way to end an operation ends it once, whatever the sweep does to it at the time. */
START_TEST(an_end_that_comes_with_the_move_is_the_end)
{
	struct parked on = late_begin(_i);
	unsigned seed = (unsigned)_i + 1;
	struct probe probe;
	char sink[8];

	park_late_after_ns = MILLISECOND;
	for (int i = 0; i < 120; i++) {
		struct ctx_context *ctx = child_of(on.ctx);
		uint64_t begin_ns = clock_now_ns(), moment_ns;
		probe_recv(on.ring, ctx, &probe, on.pair.near, sink, sizeof(sink));
		spin(&seed, 1);
		moment_ns = (seed >> 8) % (3 * MILLISECOND);
		if (i % 4 == 0)
			ck_assert_ok(ctx_op_set_timeout(&probe.op, moment_ns + 1));
		while (i % 4 && clock_now_ns() - begin_ns < moment_ns)
			ck_assert_int_ge(ctx_ring_dispatch(on.ring, MILLISECOND / 10), 0);
		if (i % 4 == 1)
			ck_assert_ok(ctx_cancel(ctx));
		else if (i % 4 == 2)
			ck_assert_ok(ctx_op_cancel(on.ring, &probe.op));
		else if (i % 4 == 3)
			ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
		await_probes(on.ring, &probe, 1);
		if (i % 4 == 3)
			ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
		else
			ck_assert_probe(&probe, -ECANCELED, i % 4 ? CTX_OP_CANCELLED : CTX_OP_TIMEOUT);
		ctx_finish(ctx);
		/* The descriptor is new to the ring again, so that the next receive waits in the kernel. */
		if (i % 3 == 0) {
			ck_assert_ok(ctx_ring_close_fd(on.ring, on.pair.near));
			close(on.pair.far);
			on.pair = pair_new();
		}
	}
	parked_end(&on);
}
END_TEST

/* ---- an owner that ends */

struct left {
	struct parked on;
	struct probe probe;
	char sink[8];
};

static void *leave_before_it_is_parked(void *data)
{
	struct left *left = data;

	probe_recv(left->on.ring, left->on.ctx, &left->probe, left->on.pair.near, left->sink, 8);
	while (!(op_from_public(&left->probe.op)->marks & OP_PARKING))
		ck_assert_int_ge(ctx_ring_dispatch(left->on.ring, MILLISECOND), 0);
	return NULL;
}

/* The cancel that takes the receive out of the kernel is prepared, and never sent. */
START_TEST(a_receive_that_is_just_being_parked_ends_with_its_ring)
{
	struct left left = {.on = late_begin(_i)};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, leave_before_it_is_parked, &left));
	ck_assert_ok(pthread_join(thread, NULL));
	parked_end(&left.on);
	ck_assert_probe(&left.probe, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park late");
	TCase *where = test_case_ring(suite, "where"), *races = test_case_ring(suite, "races");

	ON_EACH_PARKING(where, a_receive_is_parked_when_it_has_waited_for_long);
	ON_EACH_PARKING(where, the_last_wait_decides_about_the_next);
	ON_EACH_PARKING(where, the_flag_parks_at_once);
	ON_EACH_PARKING(where, many_are_parked_and_ended);
	ON_EACH_PARKING(where, sends_reads_and_accepts_are_parked_late);
	ON_EACH_PARKING(where, a_regular_file_is_not_parked);
	ON_EACH_PARKING(where, closing_a_descriptor_ends_what_waits_in_the_kernel);
	ON_EACH_PARKING(races, data_that_comes_with_the_move_is_not_lost);
	ON_EACH_PARKING(races, an_end_that_comes_with_the_move_is_the_end);
	ON_EACH_PARKING(races, a_receive_that_is_just_being_parked_ends_with_its_ring);
	return suite;
}
