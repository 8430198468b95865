/* SPDX-License-Identifier: MIT */
/*
 * The service's tables beside plain arrays, with random adding, removing and finding: what is found is what
 * was added, the latest of a key first, and lanes take turns.
 */
#include <stdlib.h>
#include <string.h>

#include "lanes.h"
#include "map.h"
#include "support/harness.h"
#include "tree.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

enum {
	NODES = 3000,
	STEPS = 60000,
};

/* ---- hash tables */

struct item {
	struct map_node node;
	bool in;
	uint64_t key, age;
};

/* The latest of that key that is older than age. */
static struct item *latest(struct item *items, uint64_t key, uint64_t age)
{
	struct item *found = NULL;

	for (unsigned i = 0; i < NODES; i++)
		if (items[i].in && items[i].key == key && items[i].age < age &&
		    (!found || items[i].age > found->age))
			found = &items[i];
	return found;
}

static void check_key(const struct map *map, struct item *items, uint64_t key)
{
	struct item *wanted = latest(items, key, UINT64_MAX);
	struct map_node *node = map_find(map, key);

	for (; wanted; wanted = latest(items, key, wanted->age), node = map_older(node))
		ck_assert_ptr_eq(node, &wanted->node);
	ck_assert_ptr_null(node);
}

/* Of few keys with many nodes each, and of many keys. */
START_TEST(a_map_finds_what_was_added_the_latest_first)
{
	struct item *items = calloc(NODES, sizeof(*items));
	uint64_t keys = _i ? 5 : NODES, age = 0;
	struct map map;

	ck_assert_ptr_nonnull(items);
	srandom(test_seed());
	ck_assert(map_init(&map));
	for (unsigned step = 0; step < test_scaled(STEPS); step++) {
		struct item *item = &items[random() % NODES];
		if (item->in) {
			map_remove(&map, &item->node);
		} else {
			item->key = (uint64_t)random() % keys;
			item->age = ++age;
			map_add(&map, &item->node, item->key);
		}
		item->in = !item->in;
		if (step % 64 == 0 || step < 1000)
			check_key(&map, items, _i ? item->key : (uint64_t)random() % keys);
	}
	for (unsigned i = 0; i < NODES; i++)
		if (items[i].in)
			map_remove(&map, &items[i].node);
	ck_assert_uint_eq(map.count, 0);
	map_free(&map);
	free(items);
}
END_TEST

/* ---- numbers in order */

START_TEST(a_tree_finds_the_next_number)
{
	struct tree_node *nodes = calloc(NODES, sizeof(*nodes)), *root = NULL;
	bool *in = calloc(NODES, sizeof(*in));

	ck_assert_ptr_nonnull(nodes);
	ck_assert_ptr_nonnull(in);
	srandom(test_seed());
	for (unsigned i = 0; i < NODES; i++) {
		tree_append(&root, &nodes[i], i + 1);
		in[i] = true;
		for (unsigned gone = (unsigned)random() % NODES; i % 2 && in[gone]; in[gone] = false)
			tree_remove(&root, &nodes[gone]);
	}
	for (uint64_t key = 0; key <= NODES + 1; key++) {
		unsigned next = (unsigned)key;
		while (next < NODES && !in[next])
			next++;
		ck_assert_ptr_eq(tree_after(root, key), next < NODES ? &nodes[next] : NULL);
	}
	for (unsigned i = 0; i < NODES; i++)
		if (in[i])
			tree_remove(&root, &nodes[i]);
	ck_assert_ptr_null(root);
	free(nodes);
	free(in);
}
END_TEST

/* ---- turns */

START_TEST(lanes_take_turns)
{
	enum {
		MANY = 1000
	};
	struct list many[MANY], one, others[LANES];
	struct lanes lanes;
	unsigned before = 0;

	lanes_init(&lanes);
	ck_assert_ptr_null(lanes_take(&lanes));
	for (unsigned i = 0; i < MANY; i++) {
		list_init(&many[i]);
		lanes_add(&lanes, 1, &many[i]);
	}
	/* Of so many users not all are in the lane of the first. */
	for (unsigned i = 0; i < LANES; i++) {
		list_init(&others[i]);
		lanes_add(&lanes, 2 + i, &others[i]);
	}
	list_init(&one);
	lanes_add(&lanes, 1, &one);
	lanes_remove(&lanes, &one);
	lanes_remove(&lanes, &one);
	ck_assert_uint_eq(lanes.count, MANY + LANES);
	for (unsigned i = 0; i < 2 * LANES; i++) {
		struct list *link = lanes_take(&lanes);
		before += link >= many && link < many + MANY;
	}
	/* In each round of the lanes one of them. */
	ck_assert_uint_lt(before, 2 * LANES);
	for (unsigned i = 0, last = 0; i < before; i++, last++)
		ck_assert(list_empty(&many[last]));
	while (lanes_take(&lanes))
		;
	ck_assert_uint_eq(lanes.count, 0);
}
END_TEST

/*
 * Goal: hardly anybody shares a lane with one who has much waiting, by chance or after trying many. Method:
 * of so many users, each alone beside that one, those are counted who do not have the second turn at the
 * latest. The lanes are dealt anew in each run: about ten are expected, and fifty are far beyond chance.
 */
START_TEST(few_share_the_lane_of_another)
{
	enum {
		MANY = 10,
		USERS = 10000,
	};
	struct list many[MANY], one;
	struct lanes *lanes = malloc(sizeof(*lanes));
	unsigned kept_waiting = 0;

	ck_assert_ptr_nonnull(lanes);
	for (unsigned user = 2; user < 2 + USERS; user++) {
		lanes_init(lanes);
		for (unsigned i = 0; i < MANY; i++) {
			list_init(&many[i]);
			lanes_add(lanes, 1, &many[i]);
		}
		list_init(&one);
		lanes_add(lanes, user, &one);
		lanes_take(lanes);
		lanes_take(lanes);
		kept_waiting += !list_empty(&one);
	}
	ck_assert_uint_lt(kept_waiting, 50);
	free(lanes);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("map");
	TCase *tables = test_case(suite, "tables");

	tcase_add_loop_test(tables, a_map_finds_what_was_added_the_latest_first, 0, 2);
	tcase_add_test(tables, a_tree_finds_the_next_number);
	tcase_add_test(tables, lanes_take_turns);
	tcase_add_test(tables, few_share_the_lane_of_another);
	return suite;
}
