/* SPDX-License-Identifier: MIT */
/* What completions say of how operations came out, and that a dispatch delivers all there are. */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "support/rings.h"

#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* Goal: the part that there was when it was cancelled is a result, as the batch counts it, too. */
START_TEST(a_part_that_was_there_at_the_cancel_is_finished)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_batch batch;
	struct probe probe;
	char bytes[100] = "";

	io_uring_prep_recv(probe_start(ring, ctx, &probe), pair.near, bytes, sizeof(bytes), MSG_WAITALL);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_int_eq(write(pair.far, bytes, 40), 40);
	/* Seen when the socket has nothing left for anybody else. */
	char byte;
	for (uint64_t end_ns = clock_now_ns() + SOON;
	     recv(pair.near, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 40, CTX_OP_FINISHED);
	ck_assert_ok(ctx_ring_last_batch(ring, &batch));
	ck_assert_uint_eq(batch.finished, 1);
	ck_assert_uint_eq(batch.cancelled, 0);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* What the kernel says of a zero-copy send over loopback, which it has to copy for the receiver. */
static bool kernel_says_copied(struct pair pair, const char *data, size_t size)
{
	struct io_uring uring;
	struct io_uring_cqe *cqe;
	bool copied = false, more = true;

	ck_assert_ok(io_uring_queue_init(4, &uring, 0));
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
	io_uring_prep_send_zc(sqe, pair.near, data, size, 0, IORING_SEND_ZC_REPORT_USAGE);
	ck_assert_int_eq(io_uring_submit(&uring), 1);
	while (more) {
		ck_assert_ok(io_uring_wait_cqe(&uring, &cqe));
		more = cqe->flags & IORING_CQE_F_MORE;
		copied |= (cqe->flags & IORING_CQE_F_NOTIF) &&
			  ((unsigned)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED);
		io_uring_cqe_seen(&uring, cqe);
	}
	io_uring_queue_exit(&uring);
	return copied;
}

START_TEST(the_usage_of_a_zero_copy_send_is_told)
{
	static char data[16384];
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_completion completion;
	struct pair pair = tcp_new();
	struct probe probe;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	if (!kernel_has(ring, IORING_OP_SEND_ZC))
		test_skip("this kernel has no zero copy send");
	for (int asked = 0; asked < 2; asked++) {
		ssize_t got = 0;
		io_uring_prep_send_zc(probe_start(ring, ctx_background(), &probe), pair.near, data,
				      sizeof(data), 0, asked ? IORING_SEND_ZC_REPORT_USAGE : 0);
		while (!probe.mores && !probe.finals)
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		if (asked && probe.finals && probe.last.res == -EINVAL)
			test_skip("this kernel tells no usage of zero copy sends");
		while (got < (ssize_t)sizeof(data))
			got += recv(pair.far, data, sizeof(data), 0);
		await_probes(ring, &probe, 1);
		ck_assert_int_eq(probe.last.res, sizeof(data));
		ck_assert_ok(ctx_op_result(&probe.op, &completion));
		ck_assert_uint_eq(completion.flags, probe.last.flags);
		if (!asked)
			ck_assert(!(probe.last.flags & IORING_NOTIF_USAGE_ZC_COPIED));
	}
	bool told = probe.last.flags & IORING_NOTIF_USAGE_ZC_COPIED;
	ck_assert_int_eq(told, kernel_says_copied(pair, data, 4096));
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* ---- all there are */

#define MANY 200

static int many(struct ctx_ring *ring, struct pair *pairs, struct probe *probes, char *bytes)
{
	for (int i = 0; i < MANY; i++) {
		pairs[i] = pair_new();
		probe_recv(ring, ctx_background(), &probes[i], pairs[i].near, &bytes[i], 1);
	}
	ck_assert_int_eq(ctx_ring_submit(ring), MANY);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(write(pairs[i].far, "x", 1), 1);
	return ctx_ring_dispatch(ring, SOON);
}

static void many_end(struct ctx_ring *ring, struct pair *pairs)
{
	ring_end(ring);
	for (int i = 0; i < MANY; i++)
		pair_end(pairs[i]);
}

/* Goal: also where the kernel hands out completions in portions, as on a DEFER_TASKRUN ring. */
START_TEST(a_dispatch_delivers_all_there_are)
{
	struct ctx_ring *ring = ring_with(_i, 256, NULL);
	struct pair pairs[MANY];
	struct probe probes[MANY];
	char bytes[MANY];

	ck_assert_int_eq(many(ring, pairs, probes, bytes), MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert_probe(&probes[i], 1, CTX_OP_FINISHED);
	many_end(ring, pairs);
}
END_TEST

/* Goal: nothing is left that an outer loop is not told of again. */
START_TEST(an_outer_loop_is_told_until_all_are_delivered)
{
	struct ctx_ring *ring = ring_with(_i, 256, NULL);
	struct pair pairs[MANY];
	struct probe probes[MANY];
	char bytes[MANY];
	int delivered = 0;

	struct pollfd fd = {.fd = ctx_ring_fd(ring), .events = POLLIN};
	ck_assert_int_ge(fd.fd, 0);
	delivered = many(ring, pairs, probes, bytes);
	while (delivered < MANY) {
		ck_assert_msg(poll(&fd, 1, 30000) == 1, "%d of %d", delivered, MANY);
		int now = ctx_ring_dispatch(ring, 0);
		ck_assert_int_ge(now, 0);
		delivered += now;
	}
	ck_assert_int_eq(delivered, MANY);
	many_end(ring, pairs);
}
END_TEST

/* ---- what is lost, and said to be */

struct owner {
	struct ctx_ring *ring;
	struct probe probe;
	struct pair pipe;
};

/* Goes when its write has been done, and has not looked at what came of it. */
static void *write_and_go(void *data)
{
	struct owner *owner = data;
	char bytes[5] = "";

	struct io_uring_sqe *sqe = probe_start(owner->ring, ctx_background(), &owner->probe);
	io_uring_prep_write(sqe, owner->pipe.far, "data", 4, 0);
	sqe->flags |= IOSQE_ASYNC;
	ck_assert_int_eq(ctx_ring_submit(owner->ring), 1);
	ck_assert_int_eq(read(owner->pipe.near, bytes, 4), 4);
	return NULL;
}

/* Goal: each operation ends once, also where the kernel shows its result to nobody any more. */
START_TEST(what_an_owner_left_without_looking_ends_once)
{
	struct owner owner = {.ring = ring_of(_i), .pipe = pipe_new()};
	pthread_t thread;
	int error;

	ck_assert_ok(pthread_create(&thread, NULL, write_and_go, &owner));
	ck_assert_ok(pthread_join(thread, NULL));
	do
		error = ctx_ring_close(owner.ring, SOON, NULL, 0, NULL);
	while (error == -EPERM); /* the thread is on its way out */
	ck_assert_ok(error);
	ck_assert_uint_eq(owner.probe.finals, 1);
	if (owner.probe.last.res != 4)
		ck_assert_probe(&owner.probe, -ECANCELED, CTX_OP_CANCELLED);
	pair_end(owner.pipe);
}
END_TEST

static unsigned messages;

static void count_message(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data)
{
	(void)ring;
	(void)data;
	messages += cqe->user_data == 99;
}

/* Goal: a message to a ring that its owner has not used is refused to its sender, not lost without a word. */
START_TEST(a_message_comes_once_the_owner_has_used_the_ring)
{
	struct ctx_ring_options options = {.foreign = count_message};
	struct ctx_ring *to = ring_with(_i, 8, &options), *from = ring_of(RING_ORDINARY);
	unsigned expected = 0;
	struct probe probe;

	ck_assert_int_eq(ctx_ring_dispatch(from, 0), 0);
	if (!kernel_has(from, IORING_OP_MSG_RING))
		test_skip("this kernel sends no messages between rings");
	for (int used = 0; used < 2; used++) {
		io_uring_prep_msg_ring(probe_start(from, ctx_background(), &probe),
				       ctx_ring_uring(to)->ring_fd, 0, 99, 0);
		await_probes(from, &probe, 1);
		int refused = setup_flags_of(_i) & IORING_SETUP_SINGLE_ISSUER ? -EBADFD : 0;
		/* Older kernels look at that only on their way to the queue. */
		ck_assert(!probe.last.res || (!used && probe.last.res == refused));
		expected += !probe.last.res;
		while (messages < expected)
			ck_assert_int_ge(ctx_ring_dispatch(to, SOON), 0);
		ck_assert_int_eq(ctx_ring_dispatch(to, 0), 0); /* is use enough */
	}
	ck_assert_uint_eq(messages, expected);
	ring_end(from);
	ring_end(to);
}
END_TEST

static unsigned strangers;

static void count_stranger(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data)
{
	(void)ring;
	(void)cqe;
	(void)data;
	strangers++;
}

/*
 * Goal: a message that looks like the completion of any request of the library's own counts for nothing.
 * Method: with a result that would be a great number of events.
 */
START_TEST(messages_that_look_like_completions_of_ours_count_for_nothing)
{
	struct ctx_ring_options options = {.foreign = count_stranger};
	struct ctx_ring *to = ring_with(_i, 64, &options), *from = ring_of(RING_ORDINARY);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe waiting, message;
	char byte;

	ck_assert_int_eq(ctx_ring_dispatch(from, 0), 0);
	if (!kernel_has(from, IORING_OP_MSG_RING))
		test_skip("this kernel sends no messages between rings");
	probe_recv(to, ctx, &waiting, pair.near, &byte, 1);
	park(to, 1);
	for (uint64_t slot = 0; slot < 20; slot++)
		for (uint64_t number = 0; number < 2000; number += 999) {
			uint64_t value = 0xc781ull << 48 | 3ull << 46 | number << 24 | slot;
			io_uring_prep_msg_ring(probe_start(from, ctx_background(), &message),
					       ctx_ring_uring(to)->ring_fd, 100000, value, 0);
			await_probes(from, &message, 1);
			ck_assert_int_eq(message.last.res, 0);
			ck_assert_int_ge(ctx_ring_dispatch(to, 0), 0);
		}
	ck_assert_uint_eq(waiting.finals, 0);
	ck_assert_uint_gt(strangers, 0);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(to, &waiting, 1);
	ck_assert_probe(&waiting, 1, CTX_OP_FINISHED);
	ring_end(from);
	ring_end(to);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("outcome");
	TCase *outcome = test_case_ring(suite, "outcome");

	ON_EACH_RING(outcome, a_part_that_was_there_at_the_cancel_is_finished);
	ON_EACH_RING(outcome, the_usage_of_a_zero_copy_send_is_told);
	ON_EACH_RING(outcome, a_dispatch_delivers_all_there_are);
	ON_EACH_RING(outcome, an_outer_loop_is_told_until_all_are_delivered);
	ON_EACH_RING(outcome, what_an_owner_left_without_looking_ends_once);
	ON_EACH_RING(outcome, a_message_comes_once_the_owner_has_used_the_ring);
	ON_EACH_RING(outcome, messages_that_look_like_completions_of_ours_count_for_nothing);
	return suite;
}
