/* SPDX-License-Identifier: MIT */
/* Operations: results that are never lost, refusals, multishot, zero copy, slots, strangers' completions. */
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "support/rings.h"

/* Newer than the headers of Debian 12. */
#ifndef IORING_TIMEOUT_MULTISHOT
#define IORING_TIMEOUT_MULTISHOT (1U << 6)
#endif

/* ---- results */

START_TEST(a_result_can_be_asked_for_instead_of_a_callback)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_completion completion = {0};
	struct ctx_op op;

	ctx_op_init(&op, NULL, 7);
	ck_assert_uint_eq(op.data, 7);
	ck_assert_int_eq(ctx_op_result(&op, &completion), -EINPROGRESS);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &op));
	ck_assert_int_eq(ctx_op_result(&op, &completion), -EINPROGRESS);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_op_result(&op, &completion), -EINPROGRESS);
	ck_assert_int_eq(ctx_ring_dispatch(ring, SOON), 1);
	ck_assert_ok(ctx_op_result(&op, &completion));
	ck_assert_int_eq(completion.res, 0);
	ck_assert_int_eq(completion.end, CTX_OP_FINISHED);
	ck_assert(!completion.more);
	ring_end(ring);
}
END_TEST

START_TEST(data_that_a_cancelled_receive_has_taken_is_delivered)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char buffer[100] = {0};

	io_uring_prep_recv(probe_start(ring, ctx, &probe), pair.near, buffer, 100, MSG_WAITALL);
	ck_assert_int_eq(write(pair.far, "0123456789012345678901234567890123456789", 40), 40);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 40, CTX_OP_FINISHED);
	ck_assert_int_eq(buffer[39], '9');
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(what_a_cancelled_send_has_sent_is_reported)
{
	static char data[4 << 20];
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	ssize_t got, all = 0;

	io_uring_prep_send(probe_start(ring, ctx, &probe), pair.near, data, sizeof(data), MSG_WAITALL);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_int_gt(probe.last.res, 0);
	ck_assert_int_lt(probe.last.res, (int)sizeof(data));
	ck_assert_int_eq(probe.last.end, CTX_OP_FINISHED);
	close(pair.near);
	while ((got = read(pair.far, data, sizeof(data))) > 0)
		all += got;
	ck_assert_int_eq(all, probe.last.res);
	close(pair.far);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

static struct sockaddr_un address;
static socklen_t address_size;

static int listen_here(void)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	ck_assert_ok(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)));
	ck_assert_ok(listen(listener, 100));
	address_size = sizeof(address);
	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &address_size));
	return listener;
}

static int connect_here(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(connect(fd, (struct sockaddr *)&address, address_size));
	return fd;
}

/* The accept has completed, and is not delivered, when its context is cancelled. */
static void accept_before_cancel(int kind, unsigned flags, struct probe *probe, char *ret_peer_sees,
				 int *ret_client)
{
	struct ctx_ring *ring = ring_of(kind);
	struct ctx_context *ctx = child_of(ctx_background());
	int listener = listen_here();
	struct pollfd peer = {.events = POLLIN};

	io_uring_prep_accept(probe_start(ring, ctx, probe), listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_ok(ctx_op_set_flags(&probe->op, flags));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	peer.fd = *ret_client = connect_here();
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	ck_assert_uint_eq(probe->finals, 0);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probe, 1);
	ck_assert_int_ge(poll(&peer, 1, 0), 0);
	*ret_peer_sees = peer.revents & POLLHUP ? 'h' : '-';
	ring_end(ring);
	ctx_finish(ctx);
	close(listener);
}

START_TEST(an_accepted_descriptor_that_won_the_race_is_delivered)
{
	struct probe probe;
	char sees;
	int client;

	accept_before_cancel(_i, 0, &probe, &sees, &client);
	ck_assert_int_ge(probe.last.res, 0);
	ck_assert_int_eq(probe.last.end, CTX_OP_FINISHED);
	ck_assert_int_eq(sees, '-');
	ck_assert_ok(close(probe.last.res));
	close(client);
}
END_TEST

START_TEST(with_the_flag_an_unwanted_descriptor_is_closed)
{
	struct probe probe;
	char sees;
	int client;

	accept_before_cancel(_i, CTX_OP_CLOSE_FD, &probe, &sees, &client);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(sees, 'h');
	close(client);
}
END_TEST

START_TEST(the_flag_closes_nothing_under_a_live_context)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probe;

	io_uring_prep_openat(probe_start(ring, ctx_background(), &probe), AT_FDCWD, "/dev/null", O_RDONLY, 0);
	ck_assert_ok(ctx_op_set_flags(&probe.op, CTX_OP_CLOSE_FD));
	await_probes(ring, &probe, 1);
	ck_assert_int_ge(probe.last.res, 0);
	ck_assert_ok(close(probe.last.res));
	ring_end(ring);
}
END_TEST

/* An open that waits in a worker answers a cancel with errors of its own. */
START_TEST(every_way_to_say_interrupted_reads_as_cancelled)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	char directory[] = "/tmp/ctxring-XXXXXX", path[64];
	struct probe probes[3];
	struct pair pipe = pipe_new();
	char buffer[8];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/fifo", directory);
	ck_assert_ok(mkfifo(path, 0600));
	/* Without the flag the kernel tries it with O_NONBLOCK first, and that succeeds. */
	struct io_uring_sqe *sqe = probe_start(ring, ctx, &probes[0]);
	io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY, 0);
	sqe->flags |= IOSQE_ASYNC;
	sqe = probe_start(ring, ctx, &probes[1]);
	io_uring_prep_read(sqe, pipe.near, buffer, 8, 0);
	sqe->flags |= IOSQE_ASYNC;
	sqe = probe_start(ring, ctx, &probes[2]);
	io_uring_prep_splice(sqe, pipe.near, -1, pipe.far, -1, 8, 0);
	sqe->flags |= IOSQE_ASYNC;
	ck_assert_int_eq(ctx_ring_submit(ring), 3);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probes, 3);
	/* Splicing a pipe into itself is invalid, if it comes to that. */
	for (int i = 0; i < 2; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_ok(unlink(path));
	ck_assert_ok(rmdir(directory));
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pipe);
}
END_TEST

/* ---- refusals */

START_TEST(a_done_context_refuses_before_anything_reaches_the_kernel)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *late = timed_child_of(ctx_background(), 0);
	struct pair pair = pair_new();
	struct pollfd fd = {.fd = pair.far, .events = POLLIN};
	struct probe cancelled, expired;

	ck_assert_ok(ctx_cancel(ctx));
	io_uring_prep_write(probe_start(ring, ctx, &cancelled), pair.near, "x", 1, 0);
	io_uring_prep_write(probe_start(ring, late, &expired), pair.near, "x", 1, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 0);
	ck_assert_uint_eq(cancelled.finals + expired.finals, 0);
	ck_assert_int_eq(ctx_ring_dispatch(ring, SOON), 2);
	ck_assert_probe(&cancelled, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&expired, -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	ring_end(ring);
	ctx_finish(ctx);
	ctx_finish(late);
	pair_end(pair);
}
END_TEST

START_TEST(what_was_staged_when_its_context_ended_never_takes_effect)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct pollfd fd = {.fd = pair.far, .events = POLLIN};
	struct probe probe;
	struct ctx_batch batch;

	io_uring_prep_write(probe_start(ring, ctx, &probe), pair.near, "x", 1, 0);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_last_batch(ring, &batch));
	ck_assert_uint_eq(batch.operations, 1);
	ck_assert_uint_eq(batch.unsent, 1);
	ck_assert_uint_eq(batch.enters, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 0);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(an_operation_cancelled_before_submit_never_takes_effect)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probe, other;
	char byte;

	io_uring_prep_write(probe_start(ring, ctx_background(), &probe), pair.near, "x", 1, 0);
	io_uring_prep_write(probe_start(ring, ctx_background(), &other), pair.near, "y", 1, 0);
	ck_assert_ok(ctx_op_cancel(ring, &probe.op));
	ck_assert_int_eq(ctx_op_cancel(ring, &probe.op), -EALREADY);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	await_probes(ring, &probe, 1);
	await_probes(ring, &other, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&other, 1, CTX_OP_FINISHED);
	ck_assert_int_eq(read(pair.far, &byte, 1), 1);
	ck_assert_int_eq(byte, 'y');
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(one_operation_is_cancelled_without_the_others)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probes[3];
	char buffers[3];

	for (int i = 0; i < 3; i++)
		probe_recv(ring, ctx, &probes[i], pair.near, &buffers[i], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 3);
	ck_assert_ok(ctx_op_cancel(ring, &probes[1].op));
	ck_assert_int_eq(ctx_op_cancel(ring, &probes[1].op), -EALREADY);
	await_probes(ring, &probes[1], 1);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_live(ctx);
	ck_assert_uint_eq(probes[0].finals + probes[2].finals, 0);
	ck_assert_int_eq(write(pair.far, "ab", 2), 2);
	await_probes(ring, probes, 3);
	ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* Goal: half of what pends belongs to others, on this ring and another, and is not disturbed. */
START_TEST(operations_of_other_contexts_and_rings_are_not_disturbed)
{
	struct ctx_ring *ring = ring_of(_i), *second = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx),
			   *sibling = child_of(ctx_background());
	struct pair pair = pair_new(), quiet = pair_new();
	static struct probe mine[100], others[100], elsewhere[10];
	static char buffers[210];

	for (int i = 0; i < 100; i++) {
		probe_recv(ring, i % 2 ? ctx : child, &mine[i], quiet.near, &buffers[i], 1);
		probe_recv(ring, i % 2 ? sibling : ctx_background(), &others[i], pair.near, &buffers[100 + i],
			   1);
	}
	for (int i = 0; i < 10; i++)
		probe_recv(second, i % 2 ? ctx : sibling, &elsewhere[i], quiet.near, &buffers[200 + i], 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 200);
	ck_assert_int_eq(ctx_ring_submit(second), 10);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, mine, 100);
	for (int i = 0; i < 10; i += 2)
		await_probes(second, &elsewhere[i + 1], 1);
	for (int i = 0; i < 100; i++) {
		ck_assert_probe(&mine[i], -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_uint_eq(others[i].finals, 0);
	}
	for (int i = 0; i < 10; i++)
		ck_assert_uint_eq(elsewhere[i].finals, (unsigned)i % 2);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, others, 100);
	for (int i = 0; i < 100; i++)
		ck_assert_probe(&others[i], 1, CTX_OP_FINISHED);
	ring_end(ring);
	ring_end(second);
	for (int i = 0; i < 10; i++)
		ck_assert_probe(&elsewhere[i], -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(child);
	ctx_finish(ctx);
	ctx_finish(sibling);
	pair_end(pair);
	pair_end(quiet);
}
END_TEST

START_TEST(an_entry_that_the_kernel_rejects_ends_alone)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probes[5];

	for (int i = 0; i < 5; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[i]);
		io_uring_prep_nop(sqe);
		if (i == 2)
			sqe->opcode = 0xf0;
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 5);
	await_probes(ring, probes, 5);
	for (int i = 0; i < 5; i++)
		ck_assert_probe(&probes[i], i == 2 ? -EINVAL : 0, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

START_TEST(skipping_the_completion_is_not_possible)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probe;
	struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probe);

	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 0, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

/* ---- many completions of one operation */

static void accept_many(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	if (completion->more)
		ck_assert_ok(close(completion->res));
	probe_count(ring, op, completion);
}

START_TEST(a_multishot_accept_ends_once)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	int listener = listen_here(), clients[5];
	struct probe probe = {0};

	ctx_op_init(&probe.op, accept_many, 0);
	io_uring_prep_multishot_accept(ctx_ring_get_sqe(ring, ctx, &probe.op), listener, NULL, NULL, 0);
	for (int i = 0; i < 5; i++) {
		clients[i] = connect_here();
		while (probe.mores <= (unsigned)i)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		close(clients[i]);
	}
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(probe.mores, 5);
	ring_end(ring);
	ctx_finish(ctx);
	close(listener);
}
END_TEST

#define BUFFERS 8
#define BUFFER_SIZE 16

static struct {
	char memory[BUFFERS][BUFFER_SIZE];
	unsigned taken; /* mask */
	unsigned bytes;
} group;

static void take_buffer(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	if (completion->flags & IORING_CQE_F_BUFFER) {
		unsigned id = completion->flags >> IORING_CQE_BUFFER_SHIFT;
		ck_assert_uint_lt(id, BUFFERS);
		ck_assert(!(group.taken & 1u << id));
		group.taken |= 1u << id;
		group.bytes += (unsigned)completion->res;
	}
	probe_count(ring, op, completion);
}

/* Goal: data completions that were under way at the cancel are delivered, with their buffers. */
START_TEST(buffers_of_a_cancelled_multishot_receive_come_back)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe provide, probe = {0};

	memset(&group, 0, sizeof(group));
	io_uring_prep_provide_buffers(probe_start(ring, ctx_background(), &provide), group.memory,
				      BUFFER_SIZE, BUFFERS, 1, 0);
	await_probes(ring, &provide, 1);
	ck_assert_int_ge(provide.last.res, 0);
	ctx_op_init(&probe.op, take_buffer, 0);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, ctx, &probe.op);
	io_uring_prep_recv_multishot(sqe, pair.near, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 1;
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	for (unsigned i = 1; i <= 3; i++) {
		ck_assert_int_eq(write(pair.far, "four", 4), 4);
		while (group.bytes < 4 * i)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	}
	ck_assert_int_eq(write(pair.far, "last", 4), 4);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_int_eq(probe.last.end, CTX_OP_CANCELLED);
	/* Delivered, or still in the socket. */
	char rest[8];
	ssize_t left = recv(pair.near, rest, sizeof(rest), MSG_DONTWAIT);
	ck_assert_uint_eq(group.bytes + (left > 0 ? (unsigned)left : 0), 16);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(a_multishot_poll_ends_once)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	int event = eventfd(0, EFD_CLOEXEC);
	struct probe probe;

	io_uring_prep_poll_multishot(probe_start(ring, ctx, &probe), event, POLLIN);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	for (unsigned i = 1; i <= 5; i++) {
		ck_assert_ok(eventfd_write(event, 1));
		while (probe.mores < i)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	}
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	close(event);
}
END_TEST

START_TEST(a_multishot_timeout_ends_once)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct __kernel_timespec time = {.tv_nsec = 1000000};
	struct probe probe;

	io_uring_prep_timeout(probe_start(ring, ctx, &probe), &time, 0, IORING_TIMEOUT_MULTISHOT);
	while (probe.mores < 3 && !probe.finals)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	if (probe.last.res == -EINVAL)
		test_skip("this kernel has no multishot timeout");
	ck_assert_int_eq(probe.last.res, -ETIME);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

/* The kernel holds the buffer of a zero copy send until its notification, whatever is cancelled. */
START_TEST(a_zero_copy_send_holds_its_buffer_until_the_notification)
{
	static char data[4 << 20];
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = tcp_new();
	struct ctx_stuck stuck;
	struct probe probe;
	unsigned count = 0;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	if (!kernel_has(ring, IORING_OP_SEND_ZC))
		test_skip("this kernel has no zero copy send");
	/* What the peer has received is copied and given back; this much it does not take. */
	int small = 4096, large = 1 << 20;
	ck_assert_ok(setsockopt(pair.far, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	ck_assert_ok(setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)));
	io_uring_prep_send_zc(probe_start(ring, ctx, &probe), pair.near, data, sizeof(data), 0, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	while (!probe.mores)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_int_eq(ctx_ring_drain(ring, ctx, 10 * MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_eq(stuck.op, &probe.op);
	ck_assert_uint_eq(stuck.opcode, IORING_OP_SEND_ZC);
	ck_assert_int_eq(stuck.fd, pair.near);
	/* Closing is bounded, and can be tried again. */
	ck_assert_int_eq(ctx_ring_close(ring, 10 * MILLISECOND, &stuck, 1, &count), -ETIMEDOUT);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_eq(stuck.op, &probe.op);
	ck_assert_uint_gt(stuck.age_ns, 0);
	close(pair.far); /* reading it all can take minutes through so small a window */
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	memset(data, 1, sizeof(data));
	ring_end(ring);
	ck_assert_uint_eq(probe.finals, 1);
	ck_assert(probe.last.flags & IORING_CQE_F_NOTIF);
	ctx_finish(ctx);
	close(pair.near);
}
END_TEST

/* ---- slots */

static unsigned foreign_count;
static uint64_t foreign_last;

static void count_foreign(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data)
{
	(void)ring;
	ck_assert_ptr_eq(data, &foreign_count);
	foreign_count++;
	foreign_last = cqe->user_data;
}

static void send_message(struct io_uring *from, struct ctx_ring *to, uint64_t user_data, unsigned res)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(from);
	struct io_uring_cqe *cqe;

	io_uring_prep_msg_ring(sqe, ctx_ring_uring(to)->ring_fd, res, user_data, 0);
	ck_assert_int_eq(io_uring_submit(from), 1);
	ck_assert_ok(io_uring_wait_cqe(from, &cqe));
	ck_assert_int_eq(cqe->res, 0);
	io_uring_cqe_seen(from, cqe);
}

static void expect_foreign(struct ctx_ring *ring, uint64_t value)
{
	unsigned before = foreign_count;

	while (foreign_count == before)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ck_assert_uint_eq(foreign_last, value);
}

/*
 * Goal: neither a late completion of an earlier operation in the same slot, nor what others make up,
 * is taken for an operation. Method: messages from another ring with such user_data.
 */
START_TEST(a_stale_or_foreign_completion_never_reaches_an_operation)
{
	struct ctx_ring_options options = {.foreign = count_foreign, .data = &foreign_count, .tag = 0xabcd};
	struct ctx_ring *ring = ring_with(_i, 8, &options);
	struct pair pair = pair_new();
	struct io_uring outside;
	struct probe probe;
	char byte;

	ck_assert_ok(io_uring_queue_init(4, &outside, 0));
	for (int i = 0; i < 3; i++) {
		io_uring_prep_nop(probe_start(ring, ctx_background(), &probe));
		await_probes(ring, &probe, 1);
	}
	probe_recv(ring, ctx_background(), &probe, pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	/* Generations of the same slot before and after, no slot, and another tag. */
	const uint64_t values[] = {
		0xabcdull << 48 | 1ull << 24 | 1,
		0xabcdull << 48 | 3ull << 24 | 1,
		0xabcdull << 48 | 5ull << 24 | 1,
		0xabcdull << 48 | 4ull << 24,
		0xabcdull << 48 | 4ull << 24 | 0xffffff,
		0xc781ull << 48 | 4ull << 24 | 1,
		0,
		UINT64_MAX,
	};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		send_message(&outside, ring, values[i], 99);
		expect_foreign(ring, values[i]);
		ck_assert_uint_eq(probe.finals, 0);
	}
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	io_uring_queue_exit(&outside);
	pair_end(pair);
}
END_TEST

START_TEST(a_slot_is_used_again_a_thousand_times_without_confusion)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probes[2];
	char bytes[2];

	for (int i = 0; i < 1000; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		probe_recv(ring, ctx, &probes[0], pair.near, &bytes[0], 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		ck_assert_ok(ctx_cancel(ctx));
		await_probes(ring, &probes[0], 1);
		/* The next one takes its slot while the kernel may still answer the cancel. */
		probe_recv(ring, ctx_background(), &probes[1], pair.near, &bytes[1], 1);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_probes(ring, &probes[1], 1);
		ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_probe(&probes[1], 1, CTX_OP_FINISHED);
		ctx_finish(ctx);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(a_context_released_early_lives_until_its_operations_end)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct pair pair = pair_new();
	struct probe probe;
	char byte;

	probe_recv(ring, child, &probe, pair.near, &byte, 1);
	ctx_unref(child);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_ok(ctx_cancel(parent));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(parent);
	pair_end(pair);
}
END_TEST

/* A million would show it too; the table would run out of slots long before. */
START_TEST(contexts_that_come_and_go_on_a_ring_leave_nothing)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probe;
	unsigned before = test_count_contexts();

	for (unsigned i = 0; i < test_scaled(20000); i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		io_uring_prep_nop(probe_start(ring, ctx, &probe));
		while (!probe.finals)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		if (i % 2)
			ctx_finish(ctx);
		else
			ctx_unref(ctx);
	}
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(test_count_contexts(), before);
	ring_end(ring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("op");
	TCase *results = test_case_ring(suite, "results"), *refusals = test_case_ring(suite, "refusals"),
	      *many = test_case_ring(suite, "many"), *slots = test_case_ring(suite, "slots");

	ON_EACH_RING(results, a_result_can_be_asked_for_instead_of_a_callback);
	ON_EACH_RING(results, data_that_a_cancelled_receive_has_taken_is_delivered);
	ON_EACH_RING(results, what_a_cancelled_send_has_sent_is_reported);
	ON_EACH_RING(results, an_accepted_descriptor_that_won_the_race_is_delivered);
	ON_EACH_RING(results, with_the_flag_an_unwanted_descriptor_is_closed);
	ON_EACH_RING(results, the_flag_closes_nothing_under_a_live_context);
	ON_EACH_RING(results, every_way_to_say_interrupted_reads_as_cancelled);
	ON_EACH_RING(refusals, a_done_context_refuses_before_anything_reaches_the_kernel);
	ON_EACH_RING(refusals, what_was_staged_when_its_context_ended_never_takes_effect);
	ON_EACH_RING(refusals, an_operation_cancelled_before_submit_never_takes_effect);
	ON_EACH_RING(refusals, one_operation_is_cancelled_without_the_others);
	ON_EACH_RING(refusals, operations_of_other_contexts_and_rings_are_not_disturbed);
	ON_EACH_RING(refusals, an_entry_that_the_kernel_rejects_ends_alone);
	ON_EACH_RING(refusals, skipping_the_completion_is_not_possible);
	ON_EACH_RING(many, a_multishot_accept_ends_once);
	ON_EACH_RING(many, buffers_of_a_cancelled_multishot_receive_come_back);
	ON_EACH_RING(many, a_multishot_poll_ends_once);
	ON_EACH_RING(many, a_multishot_timeout_ends_once);
	ON_EACH_RING(many, a_zero_copy_send_holds_its_buffer_until_the_notification);
	ON_EACH_RING(slots, a_stale_or_foreign_completion_never_reaches_an_operation);
	ON_EACH_RING(slots, a_slot_is_used_again_a_thousand_times_without_confusion);
	ON_EACH_RING(slots, a_context_released_early_lives_until_its_operations_end);
	ON_EACH_RING(slots, contexts_that_come_and_go_on_a_ring_leave_nothing);
	return suite;
}
