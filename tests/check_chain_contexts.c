/* SPDX-License-Identifier: MIT */
/*
 * Chains whose members belong to several contexts. A chain is one unit: whichever of them ends, however it
 * ends and whoever has seen it, all members end, and a drain of any of the contexts comes back.
 */
#include <pthread.h>

#include "support/rings.h"

#define LENGTH_MAX 5

/* How a context is ended. */
enum way_to_end {
	BY_CALL,
	BY_THREAD,
	BY_DEADLINE,
	WAYS_TO_END
};

static const unsigned link_flags[] = {IOSQE_IO_LINK, IOSQE_IO_HARDLINK};

struct chain {
	struct ctx_ring *ring;
	struct pair pair;
	unsigned length;
	enum way_to_end way;
	struct ctx_context *contexts[LENGTH_MAX];
	struct probe probes[LENGTH_MAX];
	char sinks[LENGTH_MAX][8];
};

static void chain_submit(struct chain *chain, unsigned link)
{
	for (unsigned i = 0; i < chain->length; i++) {
		struct io_uring_sqe *sqe = probe_start(chain->ring, chain->contexts[i], &chain->probes[i]);
		io_uring_prep_recv(sqe, chain->pair.near, chain->sinks[i], sizeof(chain->sinks[i]), 0);
		sqe->flags |= (uint8_t)(i + 1 < chain->length ? link : 0);
	}
	/* None, if a context has ended by then: so the whole chain does. */
	ck_assert_int_ge(ctx_ring_submit(chain->ring), 0);
}

static void chain_start(struct chain *chain, int kind, unsigned length, unsigned link, enum way_to_end way)
{
	const struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};

	*chain = (struct chain){
		.ring = ring_with(kind, 16, &options), .pair = pair_new(), .length = length, .way = way};
	for (unsigned i = 0; i < length; i++)
		ck_assert_ok(
			ctx_with_movable_deadline(ctx_background(), CTX_FOREVER, NULL, &chain->contexts[i]));
	chain_submit(chain, link);
}

static void *cancel(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

static bool is_done(void *ctx)
{
	return ctx_err(ctx) != 0;
}

/* The owner of the ring only learns of what it does itself. */
static void end_one(struct chain *chain, struct ctx_context *ctx)
{
	pthread_t thread;

	switch (chain->way) {
	case BY_THREAD:
		ck_assert_ok(pthread_create(&thread, NULL, cancel, ctx));
		ck_assert_ok(pthread_join(thread, NULL));
		break;
	case BY_DEADLINE:
		ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + MILLISECOND));
		ck_assert(test_until(is_done, ctx));
		break;
	default:
		ck_assert_ok(ctx_cancel(ctx));
	}
}

static void chain_end(struct chain *chain)
{
	await_probes(chain->ring, chain->probes, chain->length);
	for (unsigned i = 0; i < chain->length; i++) {
		ck_assert_int_eq(chain->probes[i].last.res, -ECANCELED);
		ctx_finish(chain->contexts[i]);
	}
	ring_end(chain->ring);
	pair_end(chain->pair);
}

static void drains(struct chain *chain, unsigned member)
{
	struct ctx_stuck stuck;
	char text[200] = "";
	unsigned count = 0;
	int error = ctx_ring_drain(chain->ring, chain->contexts[member], SOON, &stuck, 1, &count);

	if (count)
		ctx_format_stuck(&stuck, text, sizeof(text));
	ck_assert_msg(!error, "drain of member %u of %u: %d, %s", member, chain->length, error, text);
}

/* The permutation of that number among those of length things. */
static void permute(unsigned number, unsigned length, unsigned *order)
{
	for (unsigned i = 0; i < length; i++)
		order[i] = i;
	for (unsigned i = 0; i < length; i++) {
		unsigned left = length - i, pick = i + number % left, taken = order[pick];
		number /= left;
		for (unsigned k = pick; k > i; k--)
			order[k] = order[k - 1];
		order[i] = taken;
	}
}

static unsigned permutations(unsigned length)
{
	return length > 1 ? length * permutations(length - 1) : 1;
}

/* Goal: no order of ends leaves a member behind. Method: all of them, and the drain of each member first in
 * turn. */
START_TEST(every_order_of_ends_lets_every_member_be_drained)
{
	unsigned step = test_mode() == TEST_NORMAL ? 1 : 7, order[LENGTH_MAX], round = 0;
	struct chain chain;

	for (unsigned length = 2; length <= LENGTH_MAX; length++)
		for (unsigned number = 0; number < permutations(length); number += step)
			for (unsigned way = 0; way < WAYS_TO_END; way++, round++) {
				chain_start(&chain, _i, length, link_flags[round / WAYS_TO_END % 2], way);
				permute(number, length, order);
				for (unsigned i = 0; i < length; i++)
					end_one(&chain, chain.contexts[order[i]]);
				for (unsigned i = 0; i < length; i++)
					drains(&chain, (round + i) % length);
				chain_end(&chain);
			}
}
END_TEST

/* One of them ends, the others go on: the chain ends, also what waits for its turn behind hard links. */
START_TEST(one_end_lets_every_member_be_drained)
{
	struct chain chain;

	for (unsigned length = 2; length <= LENGTH_MAX; length++)
		for (unsigned ended = 0; ended < length; ended++)
			for (unsigned drained = 0; drained < length; drained++)
				for (unsigned way = 0; way < WAYS_TO_END; way++) {
					chain_start(&chain, _i, length, link_flags[(drained + way) % 2], way);
					end_one(&chain, chain.contexts[ended]);
					drains(&chain, drained);
					for (unsigned i = 0; i < length; i++)
						drains(&chain, i);
					chain_end(&chain);
				}
}
END_TEST

/* The same without a drain: by dispatch alone, by a cancel of one operation, and by closing the ring. */
START_TEST(one_end_is_enough_for_dispatch_cancel_and_close)
{
	struct chain chain;

	for (unsigned length = 2; length <= LENGTH_MAX; length++)
		for (unsigned ended = 0; ended < length; ended++)
			for (unsigned link = 0; link < 2; link++) {
				chain_start(&chain, _i, length, link_flags[link], BY_THREAD);
				end_one(&chain, chain.contexts[ended]);
				chain_end(&chain);
				chain_start(&chain, _i, length, link_flags[link], BY_CALL);
				ck_assert_ok(ctx_op_cancel(chain.ring, &chain.probes[ended].op));
				ck_assert_int_eq(ctx_op_cancel(chain.ring, &chain.probes[0].op), -EALREADY);
				chain_end(&chain);
				chain_start(&chain, _i, length, link_flags[link], BY_THREAD);
				end_one(&chain, chain.contexts[ended]);
				ring_end(chain.ring);
				for (unsigned i = 0; i < length; i++) {
					ck_assert_uint_eq(chain.probes[i].finals, 1);
					ctx_finish(chain.contexts[i]);
				}
				pair_end(chain.pair);
			}
}
END_TEST

/* The deadline is in the kernel, behind its member, where the ring has it so; and in the library's timer. */
START_TEST(a_deadline_of_one_lets_every_member_be_drained)
{
	struct chain chain;

	for (unsigned ended = 0; ended < 4; ended++)
		for (unsigned link = 0; link < 2; link++) {
			chain = (struct chain){.ring = ring_of(_i), .pair = pair_new(), .length = 4};
			for (unsigned i = 0; i < 4; i++)
				chain.contexts[i] =
					i == ended ? timed_child_of(ctx_background(), 3 * MILLISECOND)
						   : child_of(ctx_background());
			chain_submit(&chain, link_flags[link]);
			for (unsigned i = 0; i < 4; i++)
				drains(&chain, (ended + i) % 4);
			chain_end(&chain);
		}
}
END_TEST

/* The head wins against its cancel; those behind it are live, but for the last one, and nobody ends them by
 * name. */
START_TEST(a_head_that_finished_first_leaves_no_member_behind)
{
	struct chain chain;

	for (unsigned link = 0; link < 2; link++) {
		chain_start(&chain, _i, 4, link_flags[link], BY_THREAD);
		end_one(&chain, chain.contexts[3]);
		ck_assert_int_eq(write(chain.pair.far, "12345678", 8), 8);
		drains(&chain, 3);
		await_probes(chain.ring, chain.probes, 4);
		ck_assert_probe(&chain.probes[3], -ECANCELED, CTX_OP_CANCELLED);
		for (unsigned i = 0; i < 4; i++)
			ctx_finish(chain.contexts[i]);
		ring_end(chain.ring);
		pair_end(chain.pair);
	}
}
END_TEST

/* A follower whose own timeout fires before its turn is among those to be cancelled one by one. */
START_TEST(a_follower_that_timed_out_still_ends_its_chain)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *live = child_of(ctx_background()), *ended = child_of(ctx_background());
	struct pair pair = pair_new();
	struct __kernel_timespec later = {.tv_nsec = 20 * MILLISECOND};
	struct probe probes[2], clock;
	char sink[8];

	struct io_uring_sqe *sqe = probe_start(ring, live, &probes[0]);
	io_uring_prep_recv(sqe, pair.near, sink, sizeof(sink), 0);
	sqe->flags |= IOSQE_IO_LINK;
	probe_recv(ring, ended, &probes[1], pair.near, sink, sizeof(sink));
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, MILLISECOND));
	io_uring_prep_timeout(probe_start(ring, ctx_background(), &clock), &later, 0, 0);
	ck_assert_int_eq(ctx_ring_submit(ring), 3);
	await_probes(ring, &clock, 1);
	ck_assert_uint_eq(probes[0].finals + probes[1].finals, 0);
	ck_assert_ok(ctx_cancel(ended));
	ck_assert_ok(ctx_ring_drain(ring, ended, SOON, NULL, 0, NULL));
	await_probes(ring, probes, 2);
	ctx_finish(live);
	ctx_finish(ended);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* A batch leaves it to its submit, which may put it behind what never ends. */
START_TEST(a_chain_ended_while_it_was_built_waits_for_nobody)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *live = child_of(ctx_background()), *ended = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe before, barrier, chain[2];
	char sink[8];

	for (unsigned by_context = 0; by_context < 2; by_context++) {
		probe_recv(ring, live, &before, pair.near, sink, sizeof(sink));
		struct io_uring_sqe *sqe = probe_start(ring, live, &barrier);
		io_uring_prep_nop(sqe);
		sqe->flags |= IOSQE_IO_DRAIN;
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
		sqe = probe_start(ring, ended, &chain[0]);
		io_uring_prep_nop(sqe);
		sqe->flags |= IOSQE_IO_LINK;
		ck_assert_ok(by_context ? ctx_cancel(ended) : ctx_op_cancel(ring, &chain[0].op));
		io_uring_prep_nop(probe_start(ring, live, &chain[1]));
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		ck_assert_ok(ctx_ring_drain(ring, ended, SOON, NULL, 0, NULL));
		await_probes(ring, chain, 2);
		ck_assert_probe(&chain[0], -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_probe(&chain[1], -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_uint_eq(before.finals + barrier.finals, 0);
		ck_assert_int_eq(write(pair.far, "12345678", 8), 8);
		await_probes(ring, &before, 1);
		await_probes(ring, &barrier, 1);
	}
	ctx_finish(live);
	ctx_finish(ended);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* What a drain waits for may wait itself for an operation of another context, which another thread has ended.
 */
START_TEST(a_drain_acts_on_ends_of_other_contexts)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *before = child_of(ctx_background()), *behind = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe first, second;
	pthread_t thread;
	char sink[8];

	probe_recv(ring, before, &first, pair.near, sink, sizeof(sink));
	struct io_uring_sqe *sqe = probe_start(ring, behind, &second);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(pthread_create(&thread, NULL, cancel, before));
	ck_assert_ok(ctx_ring_drain(ring, behind, SOON, NULL, 0, NULL));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(first.finals + second.finals, 0);
	await_probes(ring, &first, 1);
	await_probes(ring, &second, 1);
	ck_assert_probe(&first, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&second, 0, CTX_OP_FINISHED);
	ctx_finish(before);
	ctx_finish(behind);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("chains over contexts");
	TCase *ends = test_case_ring(suite, "ends");

	ON_EACH_RING(ends, every_order_of_ends_lets_every_member_be_drained);
	ON_EACH_RING(ends, one_end_lets_every_member_be_drained);
	ON_EACH_RING(ends, a_deadline_of_one_lets_every_member_be_drained);
	ON_EACH_RING(ends, one_end_is_enough_for_dispatch_cancel_and_close);
	ON_EACH_RING(ends, a_head_that_finished_first_leaves_no_member_behind);
	ON_EACH_RING(ends, a_follower_that_timed_out_still_ends_its_chain);
	ON_EACH_RING(ends, a_chain_ended_while_it_was_built_waits_for_nobody);
	ON_EACH_RING(ends, a_drain_acts_on_ends_of_other_contexts);
	return suite;
}
