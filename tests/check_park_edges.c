/* SPDX-License-Identifier: MIT */
/* Parked operations where several things meet: what a descriptor was before, kinds of files whose readiness
 * says little, and operations in parts. */
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "support/parking.h"

static bool ends_in_time(struct ctx_ring *ring, const struct probe *probe)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (!probe->finals && clock_now_ns() < end_ns)
		ctx_ring_dispatch(ring, 100 * MILLISECOND);
	return probe->finals == 1;
}

/* ---- readiness */

static void fill(int fd, size_t *ret_size)
{
	static char block[65536];
	ssize_t size;

	*ret_size = 0;
	while ((size = send(fd, block, sizeof(block), MSG_DONTWAIT)) > 0)
		*ret_size += (size_t)size;
}

/* While no send waits nobody is told of room; the next one has to find out itself. */
START_TEST(room_that_came_while_no_send_waited_is_found)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct probe send;
	size_t full;

	fill(on.pair.near, &full);
	io_uring_prep_send(probe_start(on.ring, ctx_background(), &send), on.pair.near, "x", 1, 0);
	park(on.ring, 1);
	ck_assert_ok(ctx_op_cancel(on.ring, &send.op));
	await_probes(on.ring, &send, 1);
	ck_assert_int_eq(write(on.pair.far, "y", 1), 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, 10 * MILLISECOND), 0);
	empty(on.pair.far);
	io_uring_prep_send(probe_start(on.ring, ctx_background(), &send), on.pair.near, "x", 1, 0);
	ck_assert(ends_in_time(on.ring, &send));
	ck_assert_probe(&send, 1, CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

/* The sender is writable all the time: its readiness does not tell of the receiver's queue, which others
 * filled. */
START_TEST(a_datagram_waits_for_a_receiver_that_others_filled)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct sockaddr_un address;
	socklen_t size;
	int receiver = datagram_receiver(&address, &size),
	    other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct probe probes[2];
	struct iovec iov = {"x", 1};
	struct msghdr message = {.msg_name = &address, .msg_namelen = size, .msg_iov = &iov, .msg_iovlen = 1};

	while (sendto(other, "o", 1, MSG_DONTWAIT, (struct sockaddr *)&address, size) > 0)
		;
	struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[0]);
	io_uring_prep_send(sqe, sender, "x", 1, 0);
	sqe->addr2 = (uint64_t)(uintptr_t)&address;
	sqe->addr_len = (uint16_t)size;
	io_uring_prep_sendmsg(probe_start(ring, ctx_background(), &probes[1]), sender, &message, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(ctx_ring_dispatch(ring, 10 * MILLISECOND), 0);
	empty(receiver);
	ck_assert(ends_in_time(ring, &probes[0]));
	ck_assert(ends_in_time(ring, &probes[1]));
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	ck_assert_probe(&probes[1], 1, CTX_OP_FINISHED);
	ring_end(ring);
	close(receiver);
	close(other);
	close(sender);
}
END_TEST

/* As with the other flags, the last call counts. */
START_TEST(flags_are_taken_back_by_the_next_call)
{
	struct parked on = parked_begin(ring_of(_i ? RING_DEFER : RING_ORDINARY));
	struct probe receive;
	struct ctx_batch batch;
	char sink;

	probe_recv(on.ring, on.ctx, &receive, on.pair.near, &sink, 1);
	ck_assert_ok(ctx_op_set_flags(&receive.op, CTX_OP_PARK));
	ck_assert_ok(ctx_op_set_flags(&receive.op, CTX_OP_SHUTDOWN));
	park(on.ring, 1);
	ck_assert_ok(ctx_cancel(on.ctx));
	ck_assert_ok(ctx_ring_last_batch(on.ring, &batch));
	ck_assert_uint_eq(batch.operations, 1);
	ck_assert_uint_eq(batch.unsent, 0);
	await_probes(on.ring, &receive, 1);
	parked_end(&on);
}
END_TEST

/* A ring that is restricted, before its first use, to what a program knows of. */
START_TEST(a_ring_may_forbid_the_newest_way_to_wait)
{
	static const unsigned char allowed[] = {IORING_OP_RECV, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
						IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE};
	struct parked on = parked_begin(ring_of(RING_PARKING_DEFER));
	struct io_uring_restriction rules[sizeof(allowed) + 2] = {
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = 0xff},
		{.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS}};
	struct probe receive;
	char sink;

	for (unsigned i = 0; i < sizeof(allowed); i++)
		rules[i + 2] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP,
							     .sqe_op = allowed[i]};
	ck_assert_ok((int)syscall(__NR_io_uring_register, ctx_ring_uring(on.ring)->ring_fd,
				  IORING_REGISTER_RESTRICTIONS, rules, sizeof(allowed) + 2));
	probe_recv(on.ring, ctx_background(), &receive, on.pair.near, &sink, 1);
	park(on.ring, 1);
	ck_assert_int_eq(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	ck_assert(ends_in_time(on.ring, &receive));
	ck_assert_probe(&receive, 1, CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

START_TEST(a_queue_of_one_entry_is_enough)
{
	struct parked on = parked_begin(ring_with(parking_kind(_i), 1, NULL));
	struct probe receives[2];
	char sinks[2];

	for (int i = 0; i < 2; i++)
		probe_recv(on.ring, ctx_background(), &receives[i], on.pair.near, &sinks[i], 1);
	ck_assert_int_ge(ctx_ring_submit(on.ring), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 10 * MILLISECOND), 0);
	ck_assert_int_eq(write(on.pair.far, "ab", 2), 2);
	ck_assert(ends_in_time(on.ring, &receives[0]));
	ck_assert(ends_in_time(on.ring, &receives[1]));
	parked_end(&on);
}
END_TEST

struct swap {
	struct probe probe;
	struct swap *other;
	struct pair pair;
	bool stop;
	char sink;
};

static void restart(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion);

static void begin(struct ctx_ring *ring, struct swap *swap)
{
	ctx_op_init(&swap->probe.op, restart, 0);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, ctx_background(), &swap->probe.op);
	io_uring_prep_recv(sqe, swap->pair.near, &swap->sink, 1, 0);
}

static void restart(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct swap *swap = (struct swap *)op;

	probe_count(ring, op, completion);
	if (swap->stop)
		return;
	ctx_op_cancel(ring, &swap->other->probe.op);
	begin(ring, swap);
	ctx_ring_submit(ring);
}

/* Two that end each other in turn leave no dispatch without a completion, and without a system call. */
START_TEST(completions_that_need_no_kernel_do_not_starve_others)
{
	struct parked on = parked_begin(parking_ring(_i));
	struct swap swaps[2] = {{.pair = pair_new(), .other = &swaps[1]},
				{.pair = pair_new(), .other = &swaps[0]}};
	struct probe receive;
	char sink;

	begin(on.ring, &swaps[0]);
	begin(on.ring, &swaps[1]);
	probe_recv(on.ring, ctx_background(), &receive, on.pair.near, &sink, 1);
	park(on.ring, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(ctx_ring_dispatch(on.ring, MILLISECOND), 0);
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	ck_assert_ok(ctx_op_cancel(on.ring, &swaps[0].probe.op));
	for (int i = 0; i < 1000 && !receive.finals; i++)
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
	swaps[0].stop = swaps[1].stop = true;
	ck_assert_uint_eq(receive.finals, 1);
	parked_end(&on);
	pair_end(swaps[0].pair);
	pair_end(swaps[1].pair);
}
END_TEST

/* ---- numbers */

/* An attempt on the old file has failed, unseen, when the number is another file's. */
START_TEST(an_attempt_on_a_file_that_was_replaced_does_not_read_the_new_one)
{
	ck_assert_ok(setenv("CTXRING_FEATURES", "park-check", 1));
	struct ctx_ring *ring = parking_ring(_i);
	struct pair old = pair_new(), new = pair_new();
	struct probe probes[2];
	char sinks[2] = "";

	probe_recv(ring, ctx_background(), &probes[0], old.near, &sinks[0], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(dup3(new.near, old.near, O_CLOEXEC), old.near);
	probe_recv(ring, ctx_background(), &probes[1], old.near, &sinks[1], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(write(new.far, "n", 1), 1);
	ck_assert(ends_in_time(ring, &probes[1]));
	ck_assert_int_eq(sinks[1], 'n');
	ck_assert(ends_in_time(ring, &probes[0]));
	ck_assert_probe(&probes[0], -EBADF, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(old);
	pair_end(new);
}
END_TEST

/* The fd of these entries is a count, or flags. */
START_TEST(closing_leaves_alone_what_only_looks_like_being_on_it)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new();
	struct probe provide;
	static char buffers[256];

	io_uring_prep_provide_buffers(probe_start(ring, ctx_background(), &provide), buffers, 1, pair.near, 3,
				      0);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	await_probes(ring, &provide, 1);
	ck_assert_probe(&provide, 0, CTX_OP_FINISHED);
	ring_end(ring);
	close(pair.far);
}
END_TEST

/* ---- buffers and parts */

/* What one provided buffer holds is sent to its end, from that buffer. */
START_TEST(waitall_from_a_provided_buffer_sends_that_buffer)
{
	enum {
		SIZE = 1 << 20
	};
	struct parked on = parked_begin(parking_ring(_i));
	struct probe provide, send;
	static char buffers[2 * SIZE], sink[SIZE];
	size_t got = 0;

	memset(buffers, 'a', SIZE);
	memset(buffers + SIZE, 'b', SIZE);
	io_uring_prep_provide_buffers(probe_start(on.ring, ctx_background(), &provide), buffers, SIZE, 2, 3,
				      0);
	await_probes(on.ring, &provide, 1);
	struct io_uring_sqe *sqe = probe_start(on.ring, ctx_background(), &send);
	io_uring_prep_send(sqe, on.pair.near, NULL, SIZE, MSG_WAITALL);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 3;
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	for (int i = 0; i < 100000 && !send.finals; i++) {
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
		ssize_t size = recv(on.pair.far, sink + got, SIZE - got, MSG_DONTWAIT);
		got += size > 0 ? (size_t)size : 0;
	}
	if (send.last.res == -EINVAL || send.last.res == -EOPNOTSUPP) {
		parked_end(&on);
		return;
	}
	for (ssize_t size; (size = recv(on.pair.far, sink + got, SIZE - got, MSG_DONTWAIT)) > 0;)
		got += (size_t)size;
	ck_assert_probe(&send, SIZE, CTX_OP_FINISHED);
	ck_assert_uint_eq(got, SIZE);
	for (size_t i = 0; i < SIZE; i++)
		ck_assert_int_eq(sink[i], sink[0]);
	parked_end(&on);
}
END_TEST

/* A part that has gone does not go again when the descriptor turns out to be no good for another operation.
 */
START_TEST(a_part_is_not_sent_again_after_an_accept_that_makes_no_sense)
{
	enum {
		SIZE = 1 << 20
	};
	struct parked on = parked_begin(parking_ring(_i));
	struct probe send, accept;
	static char bytes[SIZE], sink[2 * SIZE];
	size_t got = 0;

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)(i >> 10);
	io_uring_prep_send(probe_start(on.ring, ctx_background(), &send), on.pair.near, bytes, SIZE,
			   MSG_WAITALL);
	park(on.ring, 1);
	io_uring_prep_accept(probe_start(on.ring, ctx_background(), &accept), on.pair.near, NULL, NULL, 0);
	ck_assert(ends_in_time(on.ring, &accept));
	ck_assert_int_eq(accept.last.res, -EINVAL);
	for (int i = 0; i < 100000 && !send.finals; i++) {
		ck_assert_int_ge(ctx_ring_dispatch(on.ring, 0), 0);
		ssize_t size = recv(on.pair.far, sink + got, sizeof(sink) - got, MSG_DONTWAIT);
		got += size > 0 ? (size_t)size : 0;
	}
	for (ssize_t size; (size = recv(on.pair.far, sink + got, sizeof(sink) - got, MSG_DONTWAIT)) > 0;)
		got += (size_t)size;
	ck_assert_probe(&send, SIZE, CTX_OP_FINISHED);
	ck_assert_uint_eq(got, SIZE);
	ck_assert_int_eq(memcmp(sink, bytes, SIZE), 0);
	parked_end(&on);
}
END_TEST

/* Of a ring of buffers, too, and by recv, recvmsg and read. */
START_TEST(waiting_takes_no_buffer_of_a_ring)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pairs[3] = {pair_new(), pair_new(), pipe_new()};
	struct probe probes[3];
	struct msghdr message = {0};
	struct iovec iov = {NULL, 64};
	static char buffer[64];

	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	struct io_uring_buf_ring *buffers =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg registration = {
		.ring_addr = (uint64_t)(uintptr_t)buffers, .ring_entries = 8, .bgid = 3};
	ck_assert_ok(io_uring_register_buf_ring(ctx_ring_uring(ring), &registration, 0));
	io_uring_buf_ring_init(buffers);
	io_uring_buf_ring_add(buffers, buffer, sizeof(buffer), 0, io_uring_buf_ring_mask(8), 0);
	io_uring_buf_ring_advance(buffers, 1);
	message.msg_iov = &iov;
	message.msg_iovlen = 1;
	for (int turn = 0; turn < 3; turn++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[0]);
		io_uring_prep_recv(sqe, pairs[0].near, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = 3;
		sqe = probe_start(ring, ctx_background(), &probes[1]);
		io_uring_prep_recvmsg(sqe, pairs[1].near, &message, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = 3;
		sqe = probe_start(ring, ctx_background(), &probes[2]);
		io_uring_prep_read(sqe, pairs[2].near, NULL, 64, (uint64_t)-1);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = 3;
		park(ring, 3);
		ck_assert_int_eq(write(pairs[turn].far, "abc", 3), 3);
		ck_assert(ends_in_time(ring, &probes[turn]));
		ck_assert_probe(&probes[turn], 3, CTX_OP_FINISHED);
		ck_assert(probes[turn].last.flags & IORING_CQE_F_BUFFER);
		ck_assert_int_eq(memcmp(buffer, "abc", 3), 0);
		for (int i = 0; i < 3; i++)
			if (i != turn)
				ck_assert_ok(ctx_op_cancel(ring, &probes[i].op));
		await_probes(ring, probes, 3);
		io_uring_buf_ring_add(buffers, buffer, sizeof(buffer), 0, io_uring_buf_ring_mask(8), 0);
		io_uring_buf_ring_advance(buffers, 1);
	}
	ring_end(ring);
	munmap(buffers, 4096);
	for (int i = 0; i < 3; i++)
		pair_end(pairs[i]);
}
END_TEST

/* ---- attempts of other people's making */

#ifndef IORING_ACCEPT_DONTWAIT
#define IORING_ACCEPT_DONTWAIT (1U << 1)
#endif
#define SEND_VECTORIZED (1u << 5) /* IORING_SEND_VECTORIZED, Linux 6.17 */

/* The program wants to know at once. */
START_TEST(an_accept_that_is_not_to_wait_does_not)
{
	struct ctx_ring *ring = parking_ring(_i);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct probe probe;

	ck_assert_ok(listen(fd, 1));
	struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probe);
	io_uring_prep_accept(sqe, fd, NULL, NULL, 0);
	sqe->ioprio |= IORING_ACCEPT_DONTWAIT;
	ck_assert(ends_in_time(ring, &probe));
	ck_assert_int_lt(probe.last.res, 0); /* -EAGAIN, or -EINVAL before Linux 6.10 */
	ring_end(ring);
	close(fd);
}
END_TEST

static void *read_all(void *data)
{
	static char block[65536];

	while (recv(*(int *)data, block, sizeof(block), 0) > 0)
		;
	return NULL;
}

/* Its length counts vectors: what is left of it cannot be told from the result. */
START_TEST(a_vectorized_send_of_all_sends_all)
{
	static char block[1 << 20];
	struct parked on = parked_begin(parking_ring(_i));
	struct iovec parts[2] = {{block, sizeof(block)}, {block, sizeof(block)}};
	struct probe probe;
	pthread_t thread;

	struct io_uring_sqe *sqe = probe_start(on.ring, ctx_background(), &probe);
	io_uring_prep_send(sqe, on.pair.near, parts, 2, MSG_WAITALL);
	sqe->ioprio |= SEND_VECTORIZED;
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_ok(pthread_create(&thread, NULL, read_all, &on.pair.far));
	await_probes(on.ring, &probe, 1);
	shutdown(on.pair.near, SHUT_RDWR);
	ck_assert_ok(pthread_join(thread, NULL));
	if (probe.last.res != -EINVAL) /* this kernel has no such send */
		ck_assert_probe(&probe, 2 * sizeof(block), CTX_OP_FINISHED);
	parked_end(&on);
}
END_TEST

/* ---- drains and barriers */

/* What waits to be read by MSG_ERRQUEUE looks urgent with SO_SELECT_ERR_QUEUE, and is no data for a receive.
 */
START_TEST(an_error_queue_that_nobody_reads_keeps_nobody_busy)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	    peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const int on = 1, what = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
	struct pollfd urgent = {.fd = fd, .events = POLLPRI};
	struct probe probe;
	char byte = 0;

	ck_assert_ok(bind(peer, (struct sockaddr *)&address, size));
	ck_assert_ok(getsockname(peer, (struct sockaddr *)&address, &size));
	ck_assert_ok(connect(fd, (struct sockaddr *)&address, size));
	ck_assert_ok(getsockname(fd, (struct sockaddr *)&address, &size));
	ck_assert_ok(setsockopt(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE, &on, sizeof(on)));
	ck_assert_ok(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &what, sizeof(what)));
	ck_assert_int_ge(ctx_ring_fd(ring), 0);
	io_uring_prep_recv(probe_start(ring, ctx_background(), &probe), fd, &byte, 1, 0);
	park(ring, 1);
	ck_assert_int_eq(send(fd, "t", 1, 0), 1);
	ck_assert_int_eq(poll(&urgent, 1, 30000), 1);
	dispatch_until_quiet(ring);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_int_eq(sendto(peer, "d", 1, 0, (struct sockaddr *)&address, size), 1);
	ck_assert(ends_when_told(ring, &probe));
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ck_assert_int_eq(byte, 'd');
	ring_end(ring);
	close(fd);
	close(peer);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_edges");
	TCase *all = test_case_ring(suite, "all");

	ON_EACH_PARKING(all, room_that_came_while_no_send_waited_is_found);
	ON_EACH_PARKING(all, a_datagram_waits_for_a_receiver_that_others_filled);
	ON_EACH_PARKING(all, flags_are_taken_back_by_the_next_call);
	if (test_mode() != TEST_PLAIN)
		tcase_add_test(all, a_ring_may_forbid_the_newest_way_to_wait);
	ON_EACH_PARKING(all, a_queue_of_one_entry_is_enough);
	ON_EACH_PARKING(all, completions_that_need_no_kernel_do_not_starve_others);
	ON_EACH_PARKING(all, an_attempt_on_a_file_that_was_replaced_does_not_read_the_new_one);
	ON_EACH_PARKING(all, closing_leaves_alone_what_only_looks_like_being_on_it);
	ON_EACH_PARKING(all, waitall_from_a_provided_buffer_sends_that_buffer);
	ON_EACH_PARKING(all, a_part_is_not_sent_again_after_an_accept_that_makes_no_sense);
	ON_EACH_PARKING(all, waiting_takes_no_buffer_of_a_ring);
	ON_EACH_PARKING(all, an_accept_that_is_not_to_wait_does_not);
	ON_EACH_PARKING(all, a_vectorized_send_of_all_sends_all);
	ON_EACH_PARKING(all, an_error_queue_that_nobody_reads_keeps_nobody_busy);
	return suite;
}
