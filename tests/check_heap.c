/* SPDX-License-Identifier: MIT */
/* The heap of deadlines against a sorted array that does the same. */
#include <stdlib.h>

#include "heap.h"
#include "support/harness.h"

enum {
	NODES = 200
};

struct model {
	struct heap heap;
	struct heap_node nodes[NODES];
	uint64_t keys[NODES]; /* sorted: what the heap should hold */
	unsigned count;
};

static void model_insert(struct model *model, struct heap_node *node, uint64_t key)
{
	unsigned at = model->count++;

	for (; at > 0 && model->keys[at - 1] > key; at--)
		model->keys[at] = model->keys[at - 1];
	model->keys[at] = key;
	heap_insert(&model->heap, node, key);
}

static void model_remove(struct model *model, struct heap_node *node)
{
	unsigned at = 0;

	while (model->keys[at] != node->key_ns)
		ck_assert_uint_lt(++at, model->count);
	for (model->count--; at < model->count; at++)
		model->keys[at] = model->keys[at + 1];
	heap_remove(&model->heap, node);
	ck_assert(!heap_contains(node));
}

static void model_compare(const struct model *model)
{
	if (model->count == 0) {
		ck_assert_ptr_null(model->heap.root);
		return;
	}
	ck_assert_ptr_nonnull(model->heap.root);
	ck_assert_uint_eq(model->heap.root->key_ns, model->keys[0]);
}

/* Keys come from a small range, so that many are equal; times from a big one, too. */
START_TEST(random_inserts_and_removals_agree_with_a_sorted_array)
{
	static struct model model;
	unsigned seed = test_seed(), rounds = test_scaled(400000);
	static const unsigned ranges[] = {4, 100, 1u << 30};

	for (unsigned round = 0; round < rounds; round++) {
		struct heap_node *node = &model.nodes[rand_r(&seed) % NODES];
		if (rand_r(&seed) % 7 == 0 && model.heap.root)
			node = model.heap.root;
		if (heap_contains(node))
			model_remove(&model, node);
		else
			model_insert(&model, node, (unsigned)rand_r(&seed) % ranges[round / 1000 % 3]);
		model_compare(&model);
	}
	while (model.heap.root) {
		model_compare(&model);
		model_remove(&model, model.heap.root);
	}
	ck_assert_uint_eq(model.count, 0);
}
END_TEST

START_TEST(removing_a_node_that_is_in_no_heap_does_nothing)
{
	struct heap heap = {NULL};
	struct heap_node node = {.link = NULL}, other = {.link = NULL};

	heap_insert(&heap, &other, 5);
	heap_remove(&heap, &node);
	ck_assert_ptr_eq(heap.root, &other);
	heap_remove(&heap, &other);
	heap_remove(&heap, &other);
	ck_assert_ptr_null(heap.root);
	heap_insert(&heap, &other, UINT64_MAX);
	ck_assert_ptr_eq(heap.root, &other);
}
END_TEST

/* Ascending, descending and equal keys, a million deep: no recursion, all come out in order. */
START_TEST(a_million_come_out_in_order)
{
	unsigned count = test_scaled(1000000);
	struct heap_node *nodes = calloc(count, sizeof(*nodes));
	struct heap heap = {NULL};

	ck_assert_ptr_nonnull(nodes);
	for (int shape = 0; shape < 3; shape++) {
		uint64_t last = 0;
		for (unsigned i = 0; i < count; i++)
			heap_insert(&heap, &nodes[i], shape == 0 ? i : shape == 1 ? count - i : 7);
		for (unsigned i = 0; i < count; i++) {
			ck_assert_ptr_nonnull(heap.root);
			ck_assert_uint_ge(heap.root->key_ns, last);
			last = heap.root->key_ns;
			heap_remove(&heap, heap.root);
		}
		ck_assert_ptr_null(heap.root);
	}
	free(nodes);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("heap");
	TCase *heap = test_case_cold(suite, "heap");

	tcase_add_test(heap, random_inserts_and_removals_agree_with_a_sorted_array);
	tcase_add_test(heap, removing_a_node_that_is_in_no_heap_does_nothing);
	tcase_add_test(heap, a_million_come_out_in_order);
	return suite;
}
