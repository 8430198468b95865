/* SPDX-License-Identifier: MIT */
/* Operations that wait in the ring's memory: which of them wait there, and that each ends with what it waits
 * for, whatever a descriptor's readiness hides. */
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "support/parking.h"

/* ---- waiting */

START_TEST(a_receive_waits_outside_the_kernel_and_gets_its_data)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probe;
	char sink[8];

	for (int i = 0; i < 5; i++) {
		probe_recv(on.ring, on.ctx, &probe, on.pair.near, sink, sizeof(sink));
		park(on.ring, 1);
		ck_assert_uint_eq(test_count_in_flight(true), 1);
		ck_assert_uint_eq(test_count_in_flight(false), 0);
		ck_assert_int_eq(write(on.pair.far, "hello", 5), 5);
		await_probes(on.ring, &probe, 1);
		ck_assert_probe(&probe, 5, CTX_OP_FINISHED);
		ck_assert_int_eq(memcmp(sink, "hello", 5), 0);
		ck_assert_uint_eq(test_count_in_flight(true), 0);
	}
	parked_end(&on);
}
END_TEST

/*
 * Goal: the first dispatch of each parking ring waits, on kernels without IORING_OP_EPOLL_WAIT too. Method: a
 * read with a provided buffer asks poll(2), so that no attempt in vain wakes it.
 */
START_TEST(a_first_dispatch_waits_for_its_time)
{
	for (int turns = 0; turns < 2; turns++) {
		struct ctx_ring *ring = parking_ring(_i);
		struct ctx_context *ctx = child_of(ctx_background());
		struct pair pair = pipe_new();
		struct probe probe;
		struct io_uring_sqe *sqe = probe_start(ring, ctx, &probe);

		io_uring_prep_read(sqe, pair.near, NULL, 8, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		uint64_t begin_ns = clock_now_ns();
		ck_assert_int_eq(ctx_ring_dispatch(ring, 20 * MILLISECOND), 0);
		ck_assert_uint_ge(clock_now_ns() - begin_ns, 20 * MILLISECOND);
		ck_assert_uint_eq(test_count_in_flight(true), 1);
		ctx_finish(ctx);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
		ring_end(ring);
		pair_end(pair);
	}
}
END_TEST

START_TEST(an_operation_chooses_against_its_ring)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct ctx_ring *ordinary = ring_of(_i ? RING_DEFER : RING_ORDINARY);
	struct probe probes[2];
	char sink[8];

	probe_recv(on.ring, on.ctx, &probes[0], on.pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_op_set_flags(&probes[0].op, CTX_OP_PARK | CTX_OP_PENDING), -EINVAL);
	ck_assert_ok(ctx_op_set_flags(&probes[0].op, CTX_OP_PENDING));
	park(on.ring, 1);
	ck_assert_uint_eq(test_count_in_flight(true), 0);
	probe_recv(ordinary, on.ctx, &probes[1], on.pair.far, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_flags(&probes[1].op, CTX_OP_PARK));
	park(ordinary, 1);
	ck_assert_uint_eq(test_count_in_flight(true), 1);
	ck_assert_int_eq(write(on.pair.near, "x", 1), 1);
	ck_assert_int_eq(write(on.pair.far, "xy", 2), 2);
	await_probes(on.ring, &probes[0], 1);
	await_probes(ordinary, &probes[1], 1);
	ck_assert_probe(&probes[0], 2, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], 1, CTX_OP_FINISHED);
	parked_end(&on);
	ring_end(ordinary);
}
END_TEST

START_TEST(an_adopted_ring_does_not_park)
{
	struct ctx_ring_options options = {.flags = CTX_RING_PARK};
	struct ctx_ring *ring = NULL;
	struct io_uring uring;
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	ck_assert_ok(io_uring_queue_init(8, &uring, 0));
	ck_assert_int_eq(ctx_ring_adopt(&uring, &options, &ring), -ENOTSUP);
	ck_assert_ptr_null(ring);
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &ring));
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_PARK));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_uint_eq(test_count_in_flight(true), 0);
	ck_assert_uint_eq(test_count_in_flight(false), 1);
	ring_end(ring);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	io_uring_queue_exit(&uring);
	pair_end(pair);
}
END_TEST

START_TEST(operations_on_one_descriptor_are_served_in_order)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probes[20];
	char sink[20];

	for (int i = 0; i < 20; i++)
		probe_recv(on.ring, ctx_background(), &probes[i], on.pair.near, &sink[i], 1);
	park(on.ring, 20);
	for (int i = 0; i < 20; i++) {
		char byte = (char)('a' + i);
		ck_assert_int_eq(write(on.pair.far, &byte, 1), 1);
		if (i % 3 == 2)
			ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
	}
	await_probes(on.ring, probes, 20);
	ck_assert_int_eq(memcmp(sink, "abcdefghijklmnopqrst", 20), 0);
	parked_end(&on);
}
END_TEST

/* More descriptors than events fetched at a time, more operations than fit the queue. */
START_TEST(many_that_are_ready_at_once_are_all_served)
{
	enum {
		PAIRS = 400
	};
	struct ctx_ring *ring = parking_ring(_i);
	static struct pair pairs[PAIRS];
	static struct probe probes[2 * PAIRS];
	static char sink[2 * PAIRS];

	raise_descriptor_limit();
	for (int i = 0; i < PAIRS; i++) {
		pairs[i] = pair_new();
		probe_recv(ring, ctx_background(), &probes[2 * i], pairs[i].near, &sink[2 * i], 1);
		probe_recv(ring, ctx_background(), &probes[2 * i + 1], pairs[i].near, &sink[2 * i + 1], 1);
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 2 * PAIRS);
	for (int i = 0; i < PAIRS; i++)
		ck_assert_int_eq(write(pairs[i].far, "ab", 2), 2);
	await_probes(ring, probes, 2 * PAIRS);
	for (int i = 0; i < 2 * PAIRS; i++)
		ck_assert_int_eq(sink[i], i % 2 ? 'b' : 'a');
	ring_end(ring);
	for (int i = 0; i < PAIRS; i++)
		pair_end(pairs[i]);
}
END_TEST

START_TEST(a_ready_descriptor_that_nobody_reads_wakes_nobody)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probe;
	char sink[1];
	unsigned turns = 0;

	probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, 1);
	park(on.ring, 1);
	ck_assert_int_eq(write(on.pair.far, "abcdef", 6), 6);
	await_probes(on.ring, &probe, 1);
	uint64_t end_ns = clock_now_ns() + 50 * MILLISECOND;
	for (; clock_now_ns() < end_ns; turns++)
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, 10 * MILLISECOND), 0);
	ck_assert_uint_le(turns, 8);
	parked_end(&on);
}
END_TEST

/* Nor does one that waits again after it was served. */
START_TEST(what_waits_again_is_attempted_no_more_than_it_must)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probe;
	char sink[8];
	unsigned turns = 0;

	for (int i = 0; i < 2; i++) {
		probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, sizeof(sink));
		park(on.ring, 1);
		ck_assert_int_eq(write(on.pair.far, "abc", 3), 3);
		await_probes(on.ring, &probe, 1);
	}
	probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, sizeof(sink));
	park(on.ring, 1);
	uint64_t end_ns = clock_now_ns() + 50 * MILLISECOND;
	for (; clock_now_ns() < end_ns; turns++)
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, 10 * MILLISECOND), 0);
	ck_assert_uint_le(turns, 8);
	parked_end(&on);
}
END_TEST

/* ---- what a readiness may hide */

START_TEST(waitall_goes_on_and_delivers_what_it_has)
{
	struct parked on = parked_begin(parking_ring_noted(_i));
	struct pair pair = _i ? tcp_new() : pair_new();
	struct probe probes[2];
	char sink[10];

	io_uring_prep_recv(probe_start(on.ring, on.ctx, &probes[0]), pair.near, sink, 10, MSG_WAITALL);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_ge(ctx_ring_submit(on.ring), 0);
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, 0), 0);
		ck_assert_int_eq(write(pair.far, &"0123456789"[2 * i], 2), 2);
	}
	await_probes(on.ring, probes, 1);
	ck_assert_probe(&probes[0], 10, CTX_OP_FINISHED);
	ck_assert_int_eq(memcmp(sink, "0123456789", 10), 0);

	ck_assert_int_eq(write(pair.far, "abcd", 4), 4);
	io_uring_prep_recv(probe_start(on.ring, on.ctx, &probes[0]), pair.near, sink, 10, MSG_WAITALL);
	io_uring_prep_recv(probe_start(on.ring, on.ctx, &probes[1]), pair.far, sink, 10, MSG_WAITALL);
	for (uint64_t end_ns = clock_now_ns() + SOON;
	     test_count_in_flight(true) < 2 || test_count_in_flight(false);) {
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
	ck_assert_ok(ctx_cancel(on.ctx));
	await_probes(on.ring, probes, 2);
	ck_assert_probe(&probes[0], 4, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(last_batch.finished, 1);
	ck_assert_uint_eq(last_batch.cancelled, 1);
	parked_end(&on);
	pair_end(pair);
}
END_TEST

START_TEST(waitall_ends_with_the_file)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probe;
	char sink[10];

	io_uring_prep_recv(probe_start(on.ring, ctx_background(), &probe), on.pair.near, sink, 10,
			   MSG_WAITALL);
	park(on.ring, 1);
	ck_assert_int_eq(write(on.pair.far, "abc", 3), 3);
	ck_assert_ok(shutdown(on.pair.far, SHUT_WR));
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

static void expect_recv(struct ctx_ring *ring, int fd, int flags, int res)
{
	struct probe probe;
	char sink[64];

	io_uring_prep_recv(probe_start(ring, ctx_background(), &probe), fd, sink, sizeof(sink), flags);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, res, CTX_OP_FINISHED);
}

START_TEST(the_end_of_a_file_is_seen_again_and_again)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pairs[] = {pair_new(), tcp_new()};
	struct probe probe;
	char sink[64];

	for (int i = 0; i < 2; i++) {
		probe_recv(ring, ctx_background(), &probe, pairs[i].near, sink, sizeof(sink));
		park(ring, 1);
		ck_assert_int_eq(write(pairs[i].far, "rest", 4), 4);
		ck_assert_ok(shutdown(pairs[i].far, SHUT_WR));
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, 4, CTX_OP_FINISHED);
		for (int again = 0; again < 3; again++)
			expect_recv(ring, pairs[i].near, 0, 0);
		pair_end(pairs[i]);
	}
	ring_end(ring);
}
END_TEST

START_TEST(a_reset_is_told_and_then_the_end)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = tcp_new();
	struct linger at_once = {.l_onoff = 1};
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	park(ring, 1);
	ck_assert_ok(setsockopt(pair.far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	close(pair.far);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECONNRESET, CTX_OP_FINISHED);
	expect_recv(ring, pair.near, 0, 0);
	ring_end(ring);
	close(pair.near);
}
END_TEST

START_TEST(short_datagrams_do_not_hide_those_behind_them)
{
	static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
	struct ctx_ring *ring = parking_ring(_i);

	for (int i = 0; i < 2; i++) {
		struct probe probe;
		char sink[64];
		int fds[2];
		ck_assert_ok(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, fds));
		probe_recv(ring, ctx_background(), &probe, fds[0], sink, sizeof(sink));
		park(ring, 1);
		for (int n = 1; n <= 5; n++)
			ck_assert_int_eq(write(fds[1], "datagram", (size_t)n), n);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
		for (int n = 2; n <= 5; n++)
			expect_recv(ring, fds[0], 0, n);
		ck_assert_ok(ctx_ring_close_fd(ring, fds[0]));
		close(fds[1]);
	}
	ring_end(ring);
}
END_TEST

static void send_with_descriptor(int fd, int passed, const char *text)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (passed >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &passed, sizeof(int));
	}
	ck_assert_int_eq(sendmsg(fd, &message, 0), (int)iov.iov_len);
}

/* A receive stops where descriptors were sent along, with more behind it and no further event. */
START_TEST(a_boundary_of_passed_descriptors_hides_nothing)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probe;
	char sink[64];

	probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, sizeof(sink));
	park(on.ring, 1);
	for (int i = 0; i < 3; i++)
		send_with_descriptor(on.pair.far, i == 1 ? on.pair.far : -1, "four");
	await_probes(on.ring, &probe, 1);
	int got = probe.last.res;
	for (; got < 12; got += probe.last.res) {
		probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, sizeof(sink));
		await_probes(on.ring, &probe, 1);
		ck_assert_int_gt(probe.last.res, 0);
	}
	ck_assert_int_eq(got, 12);
	parked_end(&on);
}
END_TEST

/* The same with the urgent mark. */
START_TEST(urgent_data_hides_nothing)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = tcp_new();
	struct probe probe;
	char sink[64];
	int got = 0;

	for (int round = 0; round < 3; round++) {
		probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
		park(ring, 1);
		ck_assert_int_eq(send(pair.far, "before", 6, 0), 6);
		ck_assert_int_eq(send(pair.far, "!", 1, MSG_OOB), 1);
		ck_assert_int_eq(send(pair.far, "behind", 6, 0), 6);
		for (got = 0; got < 12;) {
			await_probes(ring, &probe, 1);
			ck_assert_int_gt(probe.last.res, 0);
			got += probe.last.res;
			if (got < 12)
				probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
		}
		ck_assert_int_eq(got, 12);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/*
 * Goal: an event that came since an attempt was made counts for more than its -EAGAIN. Method: without the
 * kernel's own wait for epoll sets the events are fetched when the poll of the set is looked at, which is in
 * the queue before the answer to the attempt.
 */
START_TEST(an_event_behind_an_attempt_is_not_taken_for_an_older_one)
{
	setenv("CTXRING_FEATURES", "none", 1);
	struct parked on = parked_begin(parking_ring(0));
	struct pair other = pair_new();
	struct probe probe, waiting;
	char sink[1], byte;

	probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, 1);
	probe_recv(on.ring, ctx_background(), &waiting, other.near, &byte, 1);
	park(on.ring, 2);
	ck_assert_int_eq(write(on.pair.far, "a", 1), 1);
	await_probes(on.ring, &probe, 1); /* has filled its buffer: there may be more */
	ck_assert_int_eq(ctx_ring_dispatch(on.ring, 0), 0);
	ck_assert_int_eq(write(other.far, "o", 1), 1);
	probe_recv(on.ring, ctx_background(), &probe, on.pair.near, sink, 1);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_int_eq(write(on.pair.far, "b", 1), 1);
	await_probes(on.ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ck_assert_int_eq(sink[0], 'b');
	await_probes(on.ring, &waiting, 1);
	parked_end(&on);
	pair_end(other);
}
END_TEST

/*
 * At the mark an attempt may say -EAGAIN for all that is behind it, when work of the task is pending (Linux
 * 6.18). Method: a write just before it, in the same enter, ends a poll.
 */
START_TEST(urgent_data_hides_nothing_while_work_is_pending)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = tcp_new();
	int event = eventfd(0, EFD_CLOEXEC);
	struct probe poll, wake, probe;
	uint64_t one = 1;
	char sink[64];

	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	io_uring_prep_poll_add(probe_start(ring, ctx_background(), &poll), event, POLLIN);
	park(ring, 2);
	ck_assert_int_eq(send(pair.far, "before", 6, 0), 6);
	ck_assert_int_eq(send(pair.far, "!", 1, MSG_OOB), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 6, CTX_OP_FINISHED);
	ck_assert_int_eq(send(pair.far, "behind", 6, 0), 6);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 10 * MILLISECOND), 0);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	io_uring_prep_write(probe_start(ring, ctx_background(), &wake), event, &one, sizeof(one), 0);
	ck_assert_ok(ctx_op_set_flags(&wake.op, CTX_OP_PENDING));
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 6, CTX_OP_FINISHED);
	await_probes(ring, &poll, 1);
	ring_end(ring);
	pair_end(pair);
	close(event);
}
END_TEST

START_TEST(a_peek_leaves_it_ready)
{
	struct parked on = parked_begin(parking_ring(_i));

	ck_assert_int_eq(write(on.pair.far, "abc", 3), 3);
	expect_recv(on.ring, on.pair.near, MSG_PEEK, 3);
	expect_recv(on.ring, on.pair.near, MSG_PEEK, 3);
	expect_recv(on.ring, on.pair.near, 0, 3);
	parked_end(&on);
}
END_TEST

/* ---- other operations */

START_TEST(a_send_waits_for_room)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probes[2], read;
	static char block[65536], sink[65536];
	size_t full = 0, got = 0;
	ssize_t size;

	while ((size = send(on.pair.near, block, sizeof(block), MSG_DONTWAIT)) > 0)
		full += (size_t)size;
	io_uring_prep_send(probe_start(on.ring, ctx_background(), &probes[0]), on.pair.near, block, 1, 0);
	io_uring_prep_send(probe_start(on.ring, ctx_background(), &probes[1]), on.pair.near, block,
			   sizeof(block), MSG_WAITALL);
	probe_recv(on.ring, ctx_background(), &read, on.pair.near, sink, 8); /* the other way is its own */
	park(on.ring, 3);
	ck_assert_uint_eq(test_count_in_flight(true), 3);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	await_probes(on.ring, &read, 1);
	ck_assert_uint_eq(probes[0].finals, 0);
	while (got < full + 1 + sizeof(block)) {
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
		size = recv(on.pair.far, sink, sizeof(sink), MSG_DONTWAIT);
		got += size > 0 ? (size_t)size : 0;
	}
	await_probes(on.ring, probes, 2);
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], sizeof(block), CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

START_TEST(accepts_park)
{
	struct ctx_ring *ring = parking_ring(_i);
	int listener = listener_new(), clients[5];
	struct probe probes[6];

	for (int i = 0; i < 6; i++)
		io_uring_prep_accept(probe_start(ring, ctx_background(), &probes[i]), listener, NULL, NULL,
				     SOCK_CLOEXEC);
	park(ring, 6);
	for (int i = 0; i < 5; i++)
		connect_to(listener, &clients[i]);
	await_probes(ring, probes, 5);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_ge(probes[i].last.res, 0);
		close(probes[i].last.res);
		close(clients[i]);
	}
	ck_assert_ok(ctx_op_cancel(ring, &probes[5].op));
	await_probes(ring, &probes[5], 1);
	ck_assert_probe(&probes[5], -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	close(listener);
}
END_TEST

START_TEST(pipes_eventfds_and_timers_park)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pipe = pipe_new();
	int event = eventfd(0, EFD_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec soon = {.it_value.tv_nsec = 1000000};
	struct probe probes[3];
	char sink[8];
	uint64_t count = 1, events = 0, times = 0;
	struct iovec iov = {sink, 3};

	io_uring_prep_readv(probe_start(ring, ctx_background(), &probes[0]), pipe.near, &iov, 1,
			    (uint64_t)-1);
	io_uring_prep_read(probe_start(ring, ctx_background(), &probes[1]), event, &events, 8, (uint64_t)-1);
	io_uring_prep_read(probe_start(ring, ctx_background(), &probes[2]), timer, &times, 8, (uint64_t)-1);
	park(ring, 3);
	ck_assert_uint_eq(test_count_in_flight(true), 3);
	ck_assert_int_eq(write(pipe.far, "abcdef", 6), 6);
	ck_assert_int_eq(write(event, &count, 8), 8);
	ck_assert_ok(timerfd_settime(timer, 0, &soon, NULL));
	await_probes(ring, probes, 3);
	ck_assert_probe(&probes[0], 3, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], 8, CTX_OP_FINISHED);
	ck_assert_probe(&probes[2], 8, CTX_OP_FINISHED);
	io_uring_prep_read(probe_start(ring, ctx_background(), &probes[0]), pipe.near, sink, 8, (uint64_t)-1);
	await_probes(ring, probes, 1);
	ck_assert_probe(&probes[0], 3, CTX_OP_FINISHED);
	io_uring_prep_read(probe_start(ring, ctx_background(), &probes[0]), pipe.near, sink, 8, (uint64_t)-1);
	park(ring, 1);
	close(pipe.far);
	await_probes(ring, probes, 1);
	ck_assert_probe(&probes[0], 0, CTX_OP_FINISHED);
	ring_end(ring);
	close(pipe.near);
	close(event);
	close(timer);
}
END_TEST

START_TEST(what_cannot_be_attempted_goes_the_usual_way)
{
	struct parked on = parked_begin(parking_ring(_i));
	char directory[] = "/tmp/ctxring-XXXXXX", path[64], sink[256];
	int file = memfd_create("file", MFD_CLOEXEC), terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct probe probes[4];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/fifo", directory);
	ck_assert_ok(mkfifo(path, 0600));
	int fifo = open(path, O_RDWR | O_CLOEXEC), notify = inotify_init1(IN_CLOEXEC);
	ck_assert_int_ge(inotify_add_watch(notify, directory, IN_CREATE), 0);
	ck_assert_int_eq(write(file, "content", 7), 7);

	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[0]), file, sink, 100, 0);
	await_probes(on.ring, probes, 1);
	ck_assert_probe(&probes[0], 7, CTX_OP_FINISHED);

	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[1]), fifo, sink, 8, (uint64_t)-1);
	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[2]), notify, sink, sizeof(sink),
			   (uint64_t)-1);
	io_uring_prep_read(probe_start(on.ring, on.ctx, &probes[3]), terminal, sink, 8, (uint64_t)-1);
	park(on.ring, 3);
	ck_assert_int_eq(write(fifo, "abc", 3), 3);
	snprintf(path, sizeof(path), "%s/made", directory);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	await_probes(on.ring, &probes[1], 2);
	ck_assert_probe(&probes[1], 3, CTX_OP_FINISHED);
	ck_assert_int_gt(probes[2].last.res, 0);
	ck_assert_ok(ctx_cancel(on.ctx));
	await_probes(on.ring, &probes[3], 1);
	ck_assert_probe(&probes[3], -ECANCELED, CTX_OP_CANCELLED);
	parked_end(&on);
	close(fifo);
	close(notify);
	close(file);
	close(terminal);
	unlink(path);
	snprintf(path, sizeof(path), "%s/fifo", directory);
	unlink(path);
	rmdir(directory);
}
END_TEST

/* One buffer, two receives that might take it: it goes to the one that has data. */
START_TEST(waiting_takes_no_provided_buffer)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pairs[2] = {pair_new(), pair_new()};
	struct probe probes[2], provide;
	char buffer[16];

	io_uring_prep_provide_buffers(probe_start(ring, ctx_background(), &provide), buffer, sizeof(buffer),
				      1, 3, 0);
	await_probes(ring, &provide, 1);
	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[i]);
		io_uring_prep_recv(sqe, pairs[i].near, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = 3;
	}
	park(ring, 2);
	ck_assert_int_eq(write(pairs[1].far, "abc", 3), 3);
	await_probes(ring, &probes[1], 1);
	ck_assert_probe(&probes[1], 3, CTX_OP_FINISHED);
	ck_assert(probes[1].last.flags & IORING_CQE_F_BUFFER);
	ck_assert_int_eq(memcmp(buffer, "abc", 3), 0);
	ring_end(ring);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
	pair_end(pairs[0]);
	pair_end(pairs[1]);
}
END_TEST

/* IOSQE_IO_DRAIN waits for what is parked before it. */
START_TEST(a_draining_operation_waits_for_parked_ones)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe probes[2];
	char sink[8];

	probe_recv(on.ring, ctx_background(), &probes[0], on.pair.near, sink, 8);
	struct io_uring_sqe *sqe = probe_start(on.ring, ctx_background(), &probes[1]);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_int_eq(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	ck_assert_int_eq(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	ck_assert_uint_eq(probes[1].finals, 0);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	await_probes(on.ring, probes, 2);
	parked_end(&on);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park");
	TCase *waiting = test_case_ring(suite, "waiting"), *hidden = test_case_ring(suite, "hidden"),
	      *others = test_case_ring(suite, "others");

	ON_EACH_PARKING(waiting, a_receive_waits_outside_the_kernel_and_gets_its_data);
	ON_EACH_PARKING(waiting, a_first_dispatch_waits_for_its_time);
	ON_EACH_PARKING(waiting, an_operation_chooses_against_its_ring);
	tcase_add_test(waiting, an_adopted_ring_does_not_park);
	ON_EACH_PARKING(waiting, operations_on_one_descriptor_are_served_in_order);
	ON_EACH_PARKING(waiting, many_that_are_ready_at_once_are_all_served);
	ON_EACH_PARKING(waiting, a_ready_descriptor_that_nobody_reads_wakes_nobody);
	ON_EACH_PARKING(waiting, what_waits_again_is_attempted_no_more_than_it_must);
	ON_EACH_PARKING(hidden, waitall_goes_on_and_delivers_what_it_has);
	ON_EACH_PARKING(hidden, waitall_ends_with_the_file);
	ON_EACH_PARKING(hidden, the_end_of_a_file_is_seen_again_and_again);
	ON_EACH_PARKING(hidden, a_reset_is_told_and_then_the_end);
	ON_EACH_PARKING(hidden, short_datagrams_do_not_hide_those_behind_them);
	ON_EACH_PARKING(hidden, a_boundary_of_passed_descriptors_hides_nothing);
	ON_EACH_PARKING(hidden, urgent_data_hides_nothing);
	tcase_add_test(hidden, an_event_behind_an_attempt_is_not_taken_for_an_older_one);
	ON_EACH_PARKING(hidden, urgent_data_hides_nothing_while_work_is_pending);
	ON_EACH_PARKING(hidden, a_peek_leaves_it_ready);
	ON_EACH_PARKING(others, a_send_waits_for_room);
	ON_EACH_PARKING(others, accepts_park);
	ON_EACH_PARKING(others, pipes_eventfds_and_timers_park);
	ON_EACH_PARKING(others, what_cannot_be_attempted_goes_the_usual_way);
	ON_EACH_PARKING(others, waiting_takes_no_provided_buffer);
	ON_EACH_PARKING(others, a_draining_operation_waits_for_parked_ones);
	return suite;
}
