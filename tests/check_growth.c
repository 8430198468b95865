/* SPDX-License-Identifier: MIT */
/*
 * Work that grows with what it touches and not faster. Where steps can be counted they are, else the sizes
 * are such that a square would not end within a test's time; bench/growth.c measures. And what the orders and
 * indices that this takes must not get wrong.
 */
#include <sys/eventfd.h>

#include "close_index.h"
#include "support/rings.h"
#include "sweep.h"
#include "walk.h"

static unsigned draw(unsigned *seed, unsigned count)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % count;
}

/* ---- walks */

#define LEVELS_MAX 400

struct lattice {
	struct ctx_context *top, *contexts[2 * LEVELS_MAX];
	unsigned levels;
};

/* Two merged contexts on each level, each of both above: there are 2^levels ways from the top to the bottom.
 */
static void lattice_make(struct lattice *lattice, unsigned levels)
{
	lattice->levels = levels;
	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, NULL, &lattice->top));
	for (unsigned i = 0; i < 2 * levels; i++) {
		const struct ctx_context *parents[] = {lattice->top, lattice->top};
		if (i >= 2) {
			parents[0] = lattice->contexts[i / 2 * 2 - 2];
			parents[1] = lattice->contexts[i / 2 * 2 - 1];
		}
		ck_assert_ok(ctx_merge(parents, 2, NULL, &lattice->contexts[i]));
	}
}

static void lattice_free(struct lattice *lattice)
{
	for (unsigned i = 0; i < 2 * lattice->levels; i++)
		ctx_unref(lattice->contexts[i]);
	ctx_finish(lattice->top);
}

static uint64_t visits_of_a_move(unsigned levels)
{
	struct lattice lattice;

	lattice_make(&lattice, levels);
	uint64_t before = walk_count_visits(), deadline_ns = clock_now_ns() + 2 * HOUR;
	ck_assert_ok(ctx_set_deadline(lattice.top, deadline_ns));
	uint64_t visits = walk_count_visits() - before;
	for (unsigned i = 0; i < 2 * levels; i++)
		ck_assert_uint_eq(ctx_deadline_ns(lattice.contexts[i]), deadline_ns);
	lattice_free(&lattice);
	return visits;
}

/* As when another thread has marked the top, and has come no further yet. */
static uint64_t visits_of_help(unsigned levels)
{
	struct lattice lattice;

	lattice_make(&lattice, levels);
	atomic_fetch_or(&lattice.top->state, ECANCELED | STATE_OWN);
	uint64_t before = walk_count_visits();
	context_spread_end(lattice.top);
	uint64_t visits = walk_count_visits() - before;
	for (unsigned i = 0; i < 2 * levels; i++)
		ck_assert_cancelled(lattice.contexts[i]);
	lattice_free(&lattice);
	return visits;
}

START_TEST(a_walk_comes_to_each_context_once)
{
	uint64_t (*const kinds[])(unsigned) = {visits_of_a_move, visits_of_help};

	for (unsigned i = 0; i < 2; i++) {
		uint64_t few = kinds[i](LEVELS_MAX / 4), many = kinds[i](LEVELS_MAX);
		ck_assert_uint_ge(few, LEVELS_MAX);
		ck_assert_uint_le(many, 5 * few);
	}
}
END_TEST

#define NODES 60

struct node {
	struct ctx_context *ctx;
	uint64_t own_ns;
	unsigned parents[3], parent_count;
};

static uint64_t deadline_of(const struct node *nodes, unsigned i)
{
	uint64_t deadline_ns = nodes[i].own_ns;

	for (unsigned k = 0; k < nodes[i].parent_count; k++) {
		uint64_t above_ns = ctx_deadline_ns(nodes[nodes[i].parents[k]].ctx);
		deadline_ns = above_ns < deadline_ns ? above_ns : deadline_ns;
	}
	return deadline_ns;
}

static void make_node(struct node *nodes, unsigned i, unsigned *seed, uint64_t base_ns)
{
	const struct ctx_context *parents[3];
	struct node *node = &nodes[i];

	node->own_ns = CTX_FOREVER;
	node->parent_count = i ? 1 + (draw(seed, 3) ? 0 : 2) : 0;
	for (unsigned k = 0; k < node->parent_count; k++) {
		node->parents[k] = draw(seed, i);
		parents[k] = nodes[node->parents[k]].ctx;
	}
	if (node->parent_count == 3) {
		ck_assert_ok(ctx_merge(parents, 3, NULL, &node->ctx));
		return;
	}
	node->own_ns = base_ns + draw(seed, 1000) * NS_PER_SECOND;
	ck_assert_ok(
		ctx_with_movable_deadline(i ? parents[0] : ctx_background(), node->own_ns, NULL, &node->ctx));
}

/* Goal: whichever way a moved deadline comes, each context has the earliest above it. Method: against a
 * model. */
START_TEST(a_moved_deadline_is_right_through_every_way)
{
	unsigned seed = test_seed(), rounds = test_scaled(200);
	uint64_t base_ns = clock_now_ns() + HOUR;

	for (unsigned round = 0; round < rounds; round++) {
		struct node nodes[NODES] = {0};
		for (unsigned i = 0; i < NODES; i++)
			make_node(nodes, i, &seed, base_ns);
		for (unsigned move = 0; move < 20; move++) {
			unsigned moved = draw(&seed, NODES);
			if (nodes[moved].parent_count == 3)
				continue;
			nodes[moved].own_ns = base_ns + draw(&seed, 1000) * NS_PER_SECOND;
			ck_assert_ok(ctx_set_deadline(nodes[moved].ctx, nodes[moved].own_ns));
			for (unsigned i = 0; i < NODES; i++)
				ck_assert_uint_eq(ctx_deadline_ns(nodes[i].ctx), deadline_of(nodes, i));
		}
		for (unsigned i = 0; i < NODES; i++)
			ctx_unref(nodes[i].ctx);
	}
}
END_TEST

/* ---- what is staged */

/* With a square this takes minutes. */
START_TEST(staged_operations_are_cancelled_last_first)
{
	unsigned count = test_mode() == TEST_NORMAL ? 200000 : 20000;
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = ring_of(_i);
	struct probe *probes = calloc(count, sizeof(*probes));

	for (unsigned i = 0; i < count; i++)
		io_uring_prep_nop(probe_start(ring, ctx, &probes[i]));
	for (unsigned i = count; i--;)
		ck_assert_ok(ctx_op_cancel(ring, &probes[i].op));
	ring_end(ring);
	for (unsigned i = 0; i < count; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(ctx);
	free(probes);
}
END_TEST

START_TEST(contexts_of_staged_operations_end_last_first)
{
	unsigned count = test_mode() == TEST_NORMAL ? 100000 : 10000;
	struct ctx_context **contexts = calloc(count, sizeof(struct ctx_context *));
	struct ctx_ring *ring = ring_of(_i);
	struct probe *probes = calloc(count, sizeof(*probes));

	for (unsigned i = 0; i < count; i++) {
		contexts[i] = child_of(ctx_background());
		io_uring_prep_nop(probe_start(ring, contexts[i], &probes[i]));
	}
	for (unsigned i = count; i--;)
		ck_assert_ok(ctx_cancel(contexts[i]));
	ring_end(ring);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
		ctx_unref(contexts[i]);
	}
	free(contexts);
	free(probes);
}
END_TEST

#define STAGED 60
#define OWNERS 8

struct staged {
	struct ctx_ring *ring;
	struct ctx_context *owners[OWNERS];
	struct probe probes[STAGED];
	unsigned owner[STAGED], unit[STAGED]; /* first of its chain */
	bool to_end[STAGED];		      /* it, or one of its chain, was ended before its submit */
	unsigned count, submitted;
};

static void mark_unit(struct staged *staged, unsigned member)
{
	for (unsigned i = staged->submitted; i < staged->count; i++)
		staged->to_end[i] |= staged->unit[i] == staged->unit[member];
}

static void end_owner(struct staged *staged, unsigned owner)
{
	ck_assert_ok(ctx_cancel(staged->owners[owner]));
	ctx_unref(staged->owners[owner]);
	staged->owners[owner] = child_of(ctx_background());
	for (unsigned i = staged->submitted; i < staged->count; i++)
		if (staged->owner[i] == owner)
			mark_unit(staged, i);
}

/* In chains of three; a submit ends one where it is. */
static void stage_one(struct staged *staged, unsigned *seed)
{
	unsigned i = staged->count++;
	bool follows = i > staged->submitted && i % 3 != 0;

	staged->owner[i] = draw(seed, OWNERS);
	staged->unit[i] = follows ? staged->unit[i - 1] : i;
	staged->to_end[i] = follows && staged->to_end[i - 1];
	struct io_uring_sqe *sqe =
		probe_start(staged->ring, staged->owners[staged->owner[i]], &staged->probes[i]);
	io_uring_prep_nop(sqe);
	if (i % 3 != 2)
		sqe->flags |= IOSQE_IO_LINK;
}

static void cancel_one(struct staged *staged, unsigned *seed)
{
	unsigned i = staged->submitted + draw(seed, staged->count - staged->submitted + 1);

	if (i == staged->count)
		return;
	int result = ctx_op_cancel(staged->ring, &staged->probes[i].op);
	ck_assert(result == 0 || (result == -EALREADY && staged->to_end[i]));
	mark_unit(staged, i);
}

/* Goal: each chain ends whole or runs whole, once. Method: chains over contexts, which end between stagings.
 */
START_TEST(of_what_is_staged_chains_end_whole)
{
	unsigned seed = test_seed(), rounds = test_scaled(300);

	for (unsigned round = 0; round < rounds; round++) {
		static struct staged staged;
		staged = (struct staged){.ring = ring_of(_i)};
		for (unsigned i = 0; i < OWNERS; i++)
			staged.owners[i] = child_of(ctx_background());
		while (staged.count < STAGED) {
			unsigned step = draw(&seed, 20);
			if (step < 15) {
				stage_one(&staged, &seed);
			} else if (step < 17) {
				end_owner(&staged, draw(&seed, OWNERS));
			} else if (step < 19) {
				cancel_one(&staged, &seed);
			} else {
				ck_assert_int_ge(ctx_ring_submit(staged.ring), 0);
				staged.submitted = staged.count;
			}
		}
		ck_assert_int_ge(ctx_ring_submit(staged.ring), 0);
		await_probes(staged.ring, staged.probes, STAGED);
		for (unsigned i = 0; i < STAGED; i++)
			ck_assert_int_eq(staged.probes[i].last.res, staged.to_end[i] ? -ECANCELED : 0);
		for (unsigned i = 0; i < OWNERS; i++)
			ctx_finish(staged.owners[i]);
		ring_end(staged.ring);
	}
}
END_TEST

/* ---- descriptors */

#define FDS 400u

static void read_counter(struct ctx_ring *ring, const struct ctx_context *ctx, struct probe *probe, int fd,
			 uint64_t *value)
{
	io_uring_prep_read(probe_start(ring, ctx, probe), fd, value, sizeof(*value), 0);
	ck_assert_ok(ctx_op_set_flags(&probe->op, CTX_OP_PENDING));
}

/* Goal: a close finds its own operations and looks at no others. Method: many closes, and numbers used again.
 */
START_TEST(closing_many_descriptors_looks_at_each_operation_once)
{
	static struct probe probes[2 * FDS];
	static uint64_t values[2 * FDS];
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = ring_of(_i);
	int fds[FDS];

	for (unsigned i = 0; i < FDS; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC);
		ck_assert_int_ge(fds[i], 0);
		read_counter(ring, ctx, &probes[2 * i], fds[i], &values[2 * i]);
		read_counter(ring, ctx, &probes[2 * i + 1], fds[i], &values[2 * i + 1]);
	}
	ck_assert_int_eq(ctx_ring_submit(ring), 2 * (int)FDS);
	for (unsigned i = 0; i < FDS; i += 2) {
		ck_assert_ok(ctx_ring_close_fd(ring, fds[i]));
		await_probes(ring, &probes[2 * i], 2);
		ck_assert_probe(&probes[2 * i], -ECANCELED, CTX_OP_CANCELLED);
		fds[i] = eventfd(0, EFD_CLOEXEC); /* most likely the same number, and the same slot */
		read_counter(ring, ctx, &probes[2 * i], fds[i], &values[2 * i]);
		ck_assert_int_eq(ctx_ring_submit(ring), 1);
	}
	for (unsigned i = 1; i < FDS; i += 2)
		ck_assert_uint_eq(probes[2 * i].finals + probes[2 * i + 1].finals, 0);
	for (unsigned i = 0; i < FDS; i++) {
		ck_assert_ok(ctx_ring_close_fd(ring, fds[i]));
		await_probes(ring, &probes[2 * i], 1 + i % 2);
		ck_assert_probe(&probes[2 * i], -ECANCELED, CTX_OP_CANCELLED);
	}
	ck_assert_ptr_nonnull(ring->close_index);
	/* Each is met twice at most: when it is ended, and when it is in the way of another. */
	ck_assert_uint_le(ring->close_index->looks, 2 * (2 * FDS + FDS / 2));
	ctx_finish(ctx);
	ring_end(ring);
}
END_TEST

/* What was put into the queue before the index was, and what comes when there are more slots than it has. */
START_TEST(an_index_of_descriptors_grows_with_the_ring)
{
	static struct probe probes[5 * FDS];
	static uint64_t values[5 * FDS];
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = ring_of(_i);
	int first = eventfd(0, EFD_CLOEXEC), second = eventfd(0, EFD_CLOEXEC);

	for (unsigned i = 0; i < FDS; i++)
		read_counter(ring, ctx, &probes[i], i % 2 ? first : second, &values[i]);
	ck_assert_int_eq(ctx_ring_submit(ring), (int)FDS);
	ck_assert_ok(ctx_ring_close_fd(ring, first));
	for (unsigned i = FDS; i < 5 * FDS; i++)
		read_counter(ring, ctx, &probes[i], second, &values[i]);
	ck_assert_int_eq(ctx_ring_submit(ring), 4 * (int)FDS);
	for (unsigned i = 1; i < FDS; i += 2)
		await_probes(ring, &probes[i], 1);
	for (unsigned i = 0; i < FDS; i += 2)
		ck_assert_uint_eq(probes[i].finals, 0);
	ck_assert_ok(ctx_ring_close_fd(ring, second));
	await_probes(ring, probes, 5 * FDS);
	for (unsigned i = 0; i < 5 * FDS; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(ctx);
	ring_end(ring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("growth");
	TCase *walks = test_case(suite, "walks");
	TCase *rings = test_case_ring(suite, "rings");

	tcase_add_test(walks, a_walk_comes_to_each_context_once);
	tcase_add_test(walks, a_moved_deadline_is_right_through_every_way);
	ON_EACH_RING(rings, staged_operations_are_cancelled_last_first);
	ON_EACH_RING(rings, contexts_of_staged_operations_end_last_first);
	ON_EACH_RING(rings, of_what_is_staged_chains_end_whole);
	ON_EACH_RING(rings, closing_many_descriptors_looks_at_each_operation_once);
	ON_EACH_RING(rings, an_index_of_descriptors_grows_with_the_ring);
	return suite;
}
