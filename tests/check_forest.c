/* SPDX-License-Identifier: MIT */
/*
 * Goal: what the hosts of a fleet tell becomes one forest, whatever they tell. Method: the file that links it
 * is a part of this program, and gets hosts and contexts made by hand and at random.
 */
#include "support/harness.h"

#include <stdio.h>

#include "../tools/common/forest.c"

TEST_HOLDS("tools/common/forest.c");

static void add_hosts(struct forest *forest, unsigned count)
{
	*forest = (struct forest){0};
	for (unsigned i = 0; i < count; i++) {
		struct ctxd_host host = {.state = i ? CTXD_HOST_ALIVE : CTXD_HOST_SELF};
		snprintf(host.name, sizeof(host.name), "host-%04u", i);
		ck_assert_ok(forest_add_host(forest, &host));
	}
}

static struct ctxd_entry *add_entry(struct forest *forest, unsigned host, enum ctxd_entry_kind kind,
				    uint64_t number)
{
	struct ctxd_entry entry = {.kind = kind, .id = {1, number}};

	ck_assert_ok(forest_add_entry(forest, &forest->hosts[host], &entry));
	return &forest->nodes[forest->count - 1].entry;
}

static void add_copy(struct forest *forest, unsigned host, uint64_t number, unsigned of, uint64_t of_number)
{
	struct ctxd_entry *entry = add_entry(forest, host, CTXD_SHARED, number);

	snprintf(entry->host, sizeof(entry->host), "host-%04u", of);
	entry->origin = (struct ctxd_id){1, of_number};
}

/* Each node once, parents before children, with their depths. */
static void check_forest(const struct forest *forest)
{
	uint32_t *place = malloc((forest->count + 1) * sizeof(*place));

	for (size_t i = 0; i < forest->count; i++)
		place[i] = FOREST_NONE;
	for (uint32_t i = 0; i < forest->count; i++) {
		uint32_t index = forest->preorder[i];
		const struct forest_node *node = &forest->nodes[index];
		ck_assert_uint_lt(index, forest->count);
		ck_assert_uint_eq(place[index], FOREST_NONE);
		place[index] = i;
		if (node->parent == FOREST_NONE) {
			ck_assert_uint_eq(node->depth, 0);
		} else {
			ck_assert_uint_ne(place[node->parent], FOREST_NONE);
			ck_assert_uint_eq(node->depth, forest->nodes[node->parent].depth + 1);
		}
	}
	free(place);
}

START_TEST(a_copy_stands_below_its_original_on_another_host)
{
	struct forest forest;

	add_hosts(&forest, 3);
	/* Node 0 is the copy on host 1 of what host 0 owns, node 3; host 2 has joined what host 1 made below
	 * it. */
	add_copy(&forest, 1, 5, 0, 7);
	add_entry(&forest, 1, CTXD_SHARED, 6)->parent = (struct ctxd_id){1, 5};
	add_copy(&forest, 2, 9, 1, 6);
	add_entry(&forest, 0, CTXD_SHARED, 7);
	add_entry(&forest, 1, CTXD_JOINED, 5);
	ck_assert_ok(forest_link(&forest));
	check_forest(&forest);
	const uint32_t order[] = {3, 0, 4, 1, 2}, depths[] = {0, 1, 2, 2, 3};
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_uint_eq(forest.preorder[i], order[i]);
		ck_assert_uint_eq(forest.nodes[order[i]].depth, depths[i]);
	}
	ck_assert_uint_eq(forest.nodes[3].copies, 1);
	ck_assert_uint_eq(forest.cycles, 0);
	forest_free(&forest);
}
END_TEST

START_TEST(what_is_not_there_leaves_roots)
{
	struct forest forest;

	add_hosts(&forest, 2);
	add_copy(&forest, 1, 1, 0, 99);
	add_copy(&forest, 1, 2, 77, 1);
	add_entry(&forest, 1, CTXD_JOINED, 98);
	add_entry(&forest, 0, CTXD_SHARED, 3)->parent = (struct ctxd_id){2, 3};
	ck_assert_ok(forest_link(&forest));
	check_forest(&forest);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(forest.nodes[i].parent, FOREST_NONE);
	forest_free(&forest);
	add_hosts(&forest, 0);
	ck_assert_ok(forest_link(&forest));
	forest_free(&forest);
}
END_TEST

START_TEST(circles_across_hosts_are_cut)
{
	struct forest forest;

	add_hosts(&forest, 3);
	add_copy(&forest, 0, 1, 1, 1);
	add_copy(&forest, 1, 1, 2, 1);
	add_copy(&forest, 2, 1, 0, 1);
	add_copy(&forest, 2, 8, 2, 8);
	add_entry(&forest, 0, CTXD_JOINED, 1);
	ck_assert_ok(forest_link(&forest));
	check_forest(&forest);
	ck_assert_uint_eq(forest.cycles, 2);
	forest_free(&forest);
}
END_TEST

/* Links between few ids on few hosts, most of which meet something: circles, doubles, long chains. */
START_TEST(whatever_hosts_tell_becomes_a_forest)
{
	uint64_t state = (uint64_t)_i * 7919 + 1;
	struct forest forest;

	add_hosts(&forest, 5);
	for (unsigned i = 0; i < 200; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		uint32_t roll = (uint32_t)(state >> 32);
		if (roll % 3 == 0)
			add_copy(&forest, roll / 3 % 5, roll / 15 % 40 + 1, roll / 600 % 6,
				 roll / 3600 % 40 + 1);
		else if (roll % 3 == 1)
			add_entry(&forest, roll / 3 % 5, CTXD_JOINED, roll / 15 % 40 + 1);
		else
			add_entry(&forest, roll / 3 % 5, CTXD_SHARED, roll / 15 % 40 + 1)->parent =
				(struct ctxd_id){1, roll / 600 % 40 + 1};
	}
	ck_assert_ok(forest_link(&forest));
	check_forest(&forest);
	forest_free(&forest);
}
END_TEST

/* A chain over all hosts that would overflow the stack of a walk by recursion. */
START_TEST(a_chain_of_a_hundred_thousand_is_walked)
{
	enum {
		COUNT = 100000
	};
	struct forest forest;

	add_hosts(&forest, 100);
	for (unsigned i = 0; i < COUNT; i++)
		add_copy(&forest, i % 100, i / 100 + 1, (i + 1) % 100, (i + 1) / 100 + 1);
	ck_assert_ok(forest_link(&forest));
	check_forest(&forest);
	ck_assert_uint_eq(forest.nodes[0].depth, COUNT - 1);
	forest_free(&forest);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("forest");
	TCase *forest = test_case(suite, "forest");

	tcase_add_test(forest, a_copy_stands_below_its_original_on_another_host);
	tcase_add_test(forest, what_is_not_there_leaves_roots);
	tcase_add_test(forest, circles_across_hosts_are_cut);
	tcase_add_loop_test(forest, whatever_hosts_tell_becomes_a_forest, 0, 50);
	tcase_add_test(forest, a_chain_of_a_hundred_thousand_is_walked);
	return suite;
}
