/* SPDX-License-Identifier: MIT */
/*
 * What is below a context, as ctx_ring_drain means it: what was made from it, through each parent of a merged
 * context, and through those that keep ends away.
 */
#include "tally.h"
#include "support/rings.h"

#define NODES 40

static unsigned reports;

static int look(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	return ctx_ring_drain(ring, ctx, 0, NULL, 0, NULL);
}

static struct ctx_context *merge_of(const struct ctx_context *a, const struct ctx_context *b)
{
	const struct ctx_context *parents[] = {a, b};
	struct ctx_context *merged = NULL;

	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	return merged;
}

START_TEST(a_merged_context_is_below_each_parent)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *a = child_of(ctx_todo()), *b = child_of(ctx_background()), *c = child_of(b),
			   *merged = merge_of(a, b), *below = child_of(merged);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, below, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(look(ring, ctx_background()), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, ctx_todo()), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, a), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, b), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, merged), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, below), -ETIMEDOUT);
	ck_assert_ok(look(ring, c));
	ck_assert_ok(ctx_cancel(a));
	ck_assert_ok(ctx_ring_drain(ring, ctx_background(), SOON, NULL, 0, NULL));
	ck_assert_ok(look(ring, ctx_todo()));
	ck_assert_ok(look(ring, b));
	ring_end(ring);
	ctx_finish(below);
	ctx_finish(merged);
	ctx_finish(c);
	ctx_finish(b);
	ctx_finish(a);
	pair_end(pair);
}
END_TEST

START_TEST(what_is_kept_from_an_end_is_below_all_the_same)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *request = child_of(ctx_background()), *other = child_of(ctx_background());
	const struct ctx_context *detached = detached_child_of(request);
	struct ctx_context *audit = child_of(detached);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, audit, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(request));
	ck_assert_live(audit);
	ck_assert_int_eq(look(ring, request), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, detached), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, audit), -ETIMEDOUT);
	ck_assert_int_eq(look(ring, ctx_background()), -ETIMEDOUT);
	ck_assert_ok(look(ring, other));
	ck_assert_ok(look(ring, ctx_todo()));
	ck_assert_ok(ctx_cancel(audit));
	ck_assert_ok(ctx_ring_drain(ring, request, SOON, NULL, 0, NULL));
	await_probes(ring, &probe, 1);
	ring_end(ring);
	ctx_finish(audit);
	ctx_unref(detached);
	ctx_finish(other);
	ctx_finish(request);
	pair_end(pair);
}
END_TEST

static void count_done(struct tally *reap)
{
	(void)reap;
	reports++;
}

/* Who asks what an end has reaped is not kept waiting by what the end does not reach. */
START_TEST(a_report_of_an_end_is_of_what_it_reaches)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *request = child_of(ctx_background());
	const struct ctx_context *detached = detached_child_of(request);
	struct pair pair = pair_new();
	struct probe probe;
	struct tally reap;
	char sink[8];

	probe_recv(ring, detached, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	reports = 0;
	tally_begin(&reap, request, count_done);
	ck_assert_ok(ctx_cancel(request));
	tally_end(&reap);
	ck_assert_uint_eq(reports, 1);
	ck_assert_uint_eq(reap.sum.operations, 0);
	ring_end(ring);
	ctx_unref(detached);
	ctx_finish(request);
	pair_end(pair);
}
END_TEST

/* One context of a random tree. */
struct node {
	const struct ctx_context *ctx;
	bool below[NODES]; /* of which others it is, and itself */
	struct probe probe;
};

static void inherit(struct node *nodes, unsigned from, unsigned to)
{
	for (unsigned i = 0; i < NODES; i++)
		nodes[to].below[i] |= nodes[from].below[i];
}

static unsigned draw(unsigned *seed, unsigned count)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % count;
}

static void make_node(struct node *nodes, unsigned count, unsigned *seed)
{
	static const struct ctx_key key = {.name = "key"};
	const struct ctx_context *parents[3];
	struct ctx_context *made = NULL;
	unsigned kind = draw(seed, 5), first = draw(seed, count);
	const struct ctx_context *parent = nodes[first].ctx;

	nodes[count].below[count] = true;
	inherit(nodes, first, count);
	if (kind == 0) {
		nodes[count].ctx = detached_child_of(parent);
	} else if (kind == 1) {
		nodes[count].ctx = value_child_of(parent, &key, NULL);
	} else if (kind == 2) {
		parents[0] = parent;
		for (unsigned i = 1; i < 3; i++) {
			unsigned other = draw(seed, count);
			parents[i] = nodes[other].ctx;
			inherit(nodes, other, count);
		}
		ck_assert_ok(ctx_merge(parents, 3, NULL, &made));
		nodes[count].ctx = made;
	} else {
		nodes[count].ctx = kind == 3 ? child_of(parent) : timed_child_of(parent, HOUR);
	}
}

/* Goal: below means the same for every context. Method: a drain of each against a model, with operations in a
 * few. */
START_TEST(a_drain_agrees_with_how_contexts_were_made)
{
	unsigned seed = test_seed(), rounds = test_mode() == TEST_NORMAL ? 20 : 3;
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	static char sink[8];

	for (unsigned round = 0; round < rounds; round++) {
		static struct node nodes[NODES];
		unsigned held[4];
		memset(nodes, 0, sizeof(nodes));
		nodes[0].ctx = ctx_background();
		nodes[1].ctx = ctx_todo();
		nodes[0].below[0] = nodes[1].below[1] = true;
		for (unsigned i = 2; i < NODES; i++)
			make_node(nodes, i, &seed);
		for (unsigned i = 0; i < 4; i++) {
			held[i] = i * NODES / 4 + draw(&seed, NODES / 4);
			probe_recv(ring, nodes[held[i]].ctx, &nodes[held[i]].probe, pair.near, sink, 1);
		}
		ck_assert_int_eq(ctx_ring_submit(ring), 4);
		for (unsigned i = 0; i < NODES; i++) {
			bool holds = false;
			for (unsigned k = 0; k < 4; k++)
				holds |= nodes[held[k]].below[i];
			ck_assert_int_eq(look(ring, nodes[i].ctx), holds ? -ETIMEDOUT : 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			ck_assert_ok(ctx_op_cancel(ring, &nodes[held[i]].probe.op));
			await_probes(ring, &nodes[held[i]].probe, 1);
		}
		for (unsigned i = 2; i < NODES; i++)
			ctx_unref(nodes[i].ctx);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("below");
	TCase *drains = test_case_ring(suite, "drains");

	ON_EACH_RING(drains, a_merged_context_is_below_each_parent);
	ON_EACH_RING(drains, what_is_kept_from_an_end_is_below_all_the_same);
	ON_EACH_RING(drains, a_report_of_an_end_is_of_what_it_reaches);
	ON_EACH_RING(drains, a_drain_agrees_with_how_contexts_were_made);
	return suite;
}
