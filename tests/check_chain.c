/* SPDX-License-Identifier: MIT */
/* Chains in all shapes, and IOSQE_IO_DRAIN, which the library does itself: each member ends exactly once. */
#include "support/rings.h"

#define LENGTH_MAX 6

struct chain {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct pair pair;
	struct probe probes[LENGTH_MAX];
	char sink[8];
	unsigned length;
};

/* shape: 'n' nop, 'r' receive that waits, 'x' an error; between them '-' links and '=' links hard. */
static void chain_start(struct chain *chain, const char *shape)
{
	chain->length = 0;
	for (const char *at = shape; *at; at += at[1] ? 2 : 1) {
		struct io_uring_sqe *sqe =
			probe_start(chain->ring, chain->ctx, &chain->probes[chain->length++]);
		if (*at == 'n')
			io_uring_prep_nop(sqe);
		else
			io_uring_prep_recv(sqe, *at == 'r' ? chain->pair.near : -1, chain->sink, 1, 0);
		if (at[1] == '-')
			sqe->flags |= IOSQE_IO_LINK;
		else if (at[1] == '=')
			sqe->flags |= IOSQE_IO_HARDLINK;
	}
}

static struct chain chain_open(int kind)
{
	return (struct chain){.ring = ring_of(kind), .ctx = child_of(ctx_background()), .pair = pair_new()};
}

static void chain_end(struct chain *chain)
{
	ring_end(chain->ring);
	ctx_finish(chain->ctx);
	pair_end(chain->pair);
}

static void chain_await(struct chain *chain)
{
	await_probes(chain->ring, chain->probes, chain->length);
}

/*
 * Waits for all members, and compares their ends with a letter for each: 'f' finished, 'r' received its byte,
 * 'x' failed, 'c' cancelled, 't' by its timeout, 'd' by the deadline of its context; '?' ended in any way.
 */
static void chain_expect(struct chain *chain, const char *ends)
{
	chain_await(chain);
	ck_assert_uint_eq(strlen(ends), chain->length);
	for (unsigned i = 0; i < chain->length; i++) {
		const struct probe *probe = &chain->probes[i];
		switch (ends[i]) {
		case 'f':
		case 'r':
			ck_assert_probe(probe, ends[i] == 'r', CTX_OP_FINISHED);
			break;
		case 'x':
			ck_assert_probe(probe, -EBADF, CTX_OP_FINISHED);
			break;
		case 'c':
			ck_assert_probe(probe, -ECANCELED, CTX_OP_CANCELLED);
			break;
		case 't':
			ck_assert_probe(probe, -ECANCELED, CTX_OP_TIMEOUT);
			break;
		case 'd':
			ck_assert_probe(probe, -ECANCELED, CTX_OP_DEADLINE);
			break;
		default:
			ck_assert_int_eq(ends[i], '?');
		}
	}
}

START_TEST(a_chain_runs_in_order)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "n-r=n-n");
	ck_assert_int_eq(ctx_ring_submit(chain.ring), 4);
	ck_assert_int_eq(write(chain.pair.far, "x", 1), 1);
	chain_expect(&chain, "frff");
	chain_end(&chain);
}
END_TEST

START_TEST(a_cancelled_chain_whose_head_waits_ends_whole)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "r-n-n-n");
	ck_assert_int_eq(ctx_ring_submit(chain.ring), 4);
	ck_assert_ok(ctx_cancel(chain.ctx));
	chain_expect(&chain, "cccc");
	chain_end(&chain);
}
END_TEST

START_TEST(a_cancelled_chain_whose_follower_waits_ends_whole)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "n-n-r-n");
	ck_assert_int_eq(ctx_ring_submit(chain.ring), 4);
	while (!chain.probes[1].finals)
		ck_assert_int_ge(ctx_ring_dispatch(chain.ring, SOON), 0);
	ck_assert_ok(ctx_cancel(chain.ctx));
	chain_expect(&chain, "?fcc");
	chain_end(&chain);
}
END_TEST

/* Hard links go on after a failure: each of them waits in its turn and is cancelled then. */
START_TEST(a_cancelled_hard_linked_chain_ends_whole)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "r=r=n=r=r");
	ck_assert_int_eq(ctx_ring_submit(chain.ring), 5);
	ck_assert_ok(ctx_cancel(chain.ctx));
	chain_expect(&chain, "cc??c");
	chain_end(&chain);
}
END_TEST

START_TEST(a_failed_member_breaks_a_soft_chain_only)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "x-n-n");
	chain_expect(&chain, "xcc");
	chain_start(&chain, "x=n");
	chain_expect(&chain, "xf");
	chain_end(&chain);
}
END_TEST

START_TEST(cancelling_a_follower_cancels_its_chain)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "r=r-n");
	ck_assert_int_eq(ctx_ring_submit(chain.ring), 3);
	ck_assert_ok(ctx_op_cancel(chain.ring, &chain.probes[1].op));
	/* Behind a hard link the second starts all the same, and is cancelled then. */
	chain_expect(&chain, "ccc");
	chain_end(&chain);
}
END_TEST

START_TEST(a_chain_with_a_link_timeout_of_the_program_ends_whole)
{
	struct chain chain = chain_open(_i);
	struct __kernel_timespec soon = {.tv_nsec = 10000000}, late = {.tv_sec = 3600};

	chain.length = 2;
	for (int round = 0; round < 2; round++) {
		struct io_uring_sqe *sqe = probe_start(chain.ring, chain.ctx, &chain.probes[0]);
		io_uring_prep_recv(sqe, chain.pair.near, chain.sink, 1, 0);
		sqe->flags |= IOSQE_IO_LINK;
		io_uring_prep_link_timeout(probe_start(chain.ring, chain.ctx, &chain.probes[1]),
					   round ? &late : &soon, 0);
		ck_assert_int_eq(ctx_ring_submit(chain.ring), 2);
		if (round)
			ck_assert_ok(ctx_cancel(chain.ctx));
		chain_await(&chain);
		ck_assert_probe(&chain.probes[0], -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_int_eq(chain.probes[1].last.res, round ? -ECANCELED : -ETIME);
	}
	chain_end(&chain);
}
END_TEST

START_TEST(timeouts_and_deadlines_work_inside_chains)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "r-n-n");
	ck_assert_ok(ctx_op_set_timeout(&chain.probes[0].op, 10 * MILLISECOND));
	ck_assert_ok(ctx_op_set_timeout(&chain.probes[1].op, HOUR));
	chain_expect(&chain, "tc?");
	struct ctx_context *ctx = chain.ctx;
	/* On a busy machine the deadline may be first. */
	for (uint64_t timeout_ns = 10 * MILLISECOND;; timeout_ns *= 2) {
		chain.ctx = timed_child_of(ctx, timeout_ns);
		chain_start(&chain, "n-r=r-n");
		bool sent = ctx_ring_submit(chain.ring) == 4;
		chain_await(&chain);
		if (sent)
			break;
		ctx_finish(chain.ctx);
	}
	chain_expect(&chain, "fdd?");
	ctx_finish(chain.ctx);
	chain.ctx = ctx;
	chain_end(&chain);
}
END_TEST

START_TEST(a_chain_of_two_contexts_ends_whole)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *first = child_of(ctx_background()), *second = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probes[3];
	char sink[8];

	for (int which = 0; which < 2; which++) {
		struct ctx_context *victim = child_of(which ? second : first);
		for (int i = 0; i < 3; i++) {
			struct io_uring_sqe *sqe =
				probe_start(ring, i == which ? victim : ctx_background(), &probes[i]);
			io_uring_prep_recv(sqe, pair.near, sink, 1, 0);
			if (i < 2)
				sqe->flags |= IOSQE_IO_LINK;
		}
		ck_assert_int_eq(ctx_ring_submit(ring), 3);
		ck_assert_ok(ctx_cancel(victim));
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		await_probes(ring, probes, 3);
		ck_assert_int_eq(probes[0].last.res, -ECANCELED);
		ck_assert_int_eq(probes[1].last.res, -ECANCELED);
		ck_assert_int_eq(probes[2].last.res, -ECANCELED);
		ctx_finish(victim);
	}
	ring_end(ring);
	ctx_finish(first);
	ctx_finish(second);
	pair_end(pair);
}
END_TEST

START_TEST(a_chain_that_does_not_fit_the_queue_is_refused)
{
	struct ctx_ring *ring = ring_with(_i, 8, NULL);
	struct probe probes[20];

	const int length = 9;

	for (int i = 0; i < length; i++) {
		struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[i]);
		io_uring_prep_nop(sqe);
		if (i < length - 1)
			sqe->flags |= IOSQE_IO_LINK;
	}
	io_uring_prep_nop(probe_start(ring, ctx_background(), &probes[length]));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	await_probes(ring, probes, (unsigned)length + 1);
	for (int i = 0; i < length; i++)
		ck_assert_probe(&probes[i], -E2BIG, CTX_OP_FINISHED);
	ck_assert_probe(&probes[length], 0, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

START_TEST(a_done_context_refuses_the_whole_chain)
{
	struct chain chain = chain_open(_i);

	chain_start(&chain, "n-n-n");
	ck_assert_ok(ctx_op_cancel(chain.ring, &chain.probes[2].op));
	chain_await(&chain);
	chain_start(&chain, "n-n-n");
	ck_assert_ok(ctx_cancel(chain.ctx));
	chain_expect(&chain, "ccc");
	chain_end(&chain);
}
END_TEST

static void random_shape(char shape[2 * LENGTH_MAX], unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		shape[2 * i] = "nrrx"[rand() % 4];
		shape[2 * i + 1] = i + 1 < length ? "-="[rand() % 2] : '\0';
	}
}

/* Goal: whatever the shapes, and whatever is cancelled when, each member ends exactly once. */
START_TEST(random_chains_end_whole)
{
	srand(test_seed());
	struct ctx_ring *ring = ring_of(_i);

	for (unsigned round = 0; round < test_scaled(400); round++) {
		static struct chain chains[10];
		struct ctx_context *ctx = child_of(ctx_background());
		struct pair pair = pair_new();
		for (int i = 0; i < 10; i++) {
			char shape[2 * LENGTH_MAX];
			random_shape(shape, 1 + (unsigned)rand() % LENGTH_MAX);
			chains[i].ring = ring;
			chains[i].ctx = ctx;
			chains[i].pair = pair;
			chain_start(&chains[i], shape);
			for (unsigned n = 0; n < chains[i].length; n++)
				if (rand() % 4 == 0)
					ctx_op_set_timeout(&chains[i].probes[n].op,
							   ((unsigned)rand() % 3) * MILLISECOND);
		}
		if (rand() % 8)
			ctx_ring_submit(ring);
		for (int n = rand() % 4; n--;)
			ctx_op_cancel(ring, &chains[rand() % 10].probes[0].op);
		for (int n = rand() % 20; n--;)
			ck_assert_int_eq(write(pair.far, "x", 1), 1);
		for (int n = rand() % 3; n--;)
			ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		ck_assert_ok(ctx_cancel(ctx));
		for (int i = 0; i < 10; i++)
			chain_await(&chains[i]);
		pair_end(pair);
		ctx_finish(ctx);
	}
	ring_end(ring);
}
END_TEST

/* ---- IOSQE_IO_DRAIN */

struct barrier {
	struct ctx_ring *ring;
	struct ctx_context *before, *at, *after;
	struct pair pair;
	struct probe first, drain, behind;
	char sink[8];
};

static void barrier_open(struct barrier *barrier, int kind)
{
	*barrier = (struct barrier){.ring = ring_of(kind),
				    .before = child_of(ctx_background()),
				    .at = child_of(ctx_background()),
				    .after = child_of(ctx_background()),
				    .pair = pair_new()};
	probe_recv(barrier->ring, barrier->before, &barrier->first, barrier->pair.near, barrier->sink, 1);
	struct io_uring_sqe *sqe = probe_start(barrier->ring, barrier->at, &barrier->drain);
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_DRAIN;
	io_uring_prep_nop(probe_start(barrier->ring, barrier->after, &barrier->behind));
	ck_assert_int_eq(ctx_ring_submit(barrier->ring), 1);
	ck_assert_int_eq(ctx_ring_dispatch(barrier->ring, 0), 0);
}

static void barrier_end(struct barrier *barrier)
{
	ring_end(barrier->ring);
	ctx_finish(barrier->before);
	ctx_finish(barrier->at);
	ctx_finish(barrier->after);
	pair_end(barrier->pair);
}

START_TEST(what_drains_waits_for_all_before_it)
{
	struct barrier barrier;

	barrier_open(&barrier, _i);
	ck_assert_uint_eq(barrier.drain.finals + barrier.behind.finals, 0);
	ck_assert_int_eq(write(barrier.pair.far, "x", 1), 1);
	await_probes(barrier.ring, &barrier.first, 1);
	await_probes(barrier.ring, &barrier.drain, 1);
	await_probes(barrier.ring, &barrier.behind, 1);
	ck_assert_probe(&barrier.drain, 0, CTX_OP_FINISHED);
	ck_assert_probe(&barrier.behind, 0, CTX_OP_FINISHED);
	barrier_end(&barrier);
}
END_TEST

START_TEST(what_stands_behind_a_drain_can_be_cancelled)
{
	struct barrier barrier;

	barrier_open(&barrier, _i);
	ck_assert_ok(ctx_cancel(barrier.after));
	await_probes(barrier.ring, &barrier.behind, 1);
	ck_assert_probe(&barrier.behind, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_ok(ctx_op_cancel(barrier.ring, &barrier.drain.op));
	await_probes(barrier.ring, &barrier.drain, 1);
	ck_assert_probe(&barrier.drain, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(barrier.first.finals, 0);
	barrier_end(&barrier);
	ck_assert_probe(&barrier.first, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

START_TEST(what_stands_before_a_drain_can_be_cancelled)
{
	struct barrier barrier;

	barrier_open(&barrier, _i);
	ck_assert_ok(ctx_cancel(barrier.before));
	await_probes(barrier.ring, &barrier.first, 1);
	await_probes(barrier.ring, &barrier.behind, 1);
	ck_assert_probe(&barrier.first, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&barrier.drain, 0, CTX_OP_FINISHED);
	ck_assert_probe(&barrier.behind, 0, CTX_OP_FINISHED);
	barrier_end(&barrier);
}
END_TEST

START_TEST(a_ring_closes_with_operations_behind_a_drain)
{
	struct barrier barrier;

	barrier_open(&barrier, _i);
	barrier_end(&barrier);
	ck_assert_probe(&barrier.first, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&barrier.drain, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&barrier.behind, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("chain");
	TCase *chains = test_case_ring(suite, "chains"), *drains = test_case_ring(suite, "drains");

	ON_EACH_RING(chains, a_chain_runs_in_order);
	ON_EACH_RING(chains, a_cancelled_chain_whose_head_waits_ends_whole);
	ON_EACH_RING(chains, a_cancelled_chain_whose_follower_waits_ends_whole);
	ON_EACH_RING(chains, a_cancelled_hard_linked_chain_ends_whole);
	ON_EACH_RING(chains, a_failed_member_breaks_a_soft_chain_only);
	ON_EACH_RING(chains, cancelling_a_follower_cancels_its_chain);
	ON_EACH_RING(chains, a_chain_with_a_link_timeout_of_the_program_ends_whole);
	ON_EACH_RING(chains, timeouts_and_deadlines_work_inside_chains);
	ON_EACH_RING(chains, a_chain_of_two_contexts_ends_whole);
	ON_EACH_RING(chains, a_chain_that_does_not_fit_the_queue_is_refused);
	ON_EACH_RING(chains, a_done_context_refuses_the_whole_chain);
	ON_EACH_RING(chains, random_chains_end_whole);
	ON_EACH_RING(drains, what_drains_waits_for_all_before_it);
	ON_EACH_RING(drains, what_stands_behind_a_drain_can_be_cancelled);
	ON_EACH_RING(drains, what_stands_before_a_drain_can_be_cancelled);
	ON_EACH_RING(drains, a_ring_closes_with_operations_behind_a_drain);
	return suite;
}
