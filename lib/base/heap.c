/* SPDX-License-Identifier: MIT */
#include "heap.h"

/* Joins two trees: the later root becomes the first child of the earlier one, which is returned. Neither is
 * NULL. The caller sets next and link of the root that is returned. */
static struct heap_node *join_trees(struct heap_node *a, struct heap_node *b)
{
	if (b->key_ns < a->key_ns) {
		struct heap_node *swap = a;
		a = b;
		b = swap;
	}
	b->next = a->child;
	if (b->next)
		b->next->link = &b->next;
	b->link = &a->child;
	a->child = b;
	return a;
}

/* Makes one tree of siblings: joins pairs from left to right, then all pairs from right to left. */
static struct heap_node *join_all(struct heap_node *first)
{
	struct heap_node *pairs = NULL;

	while (first) {
		struct heap_node *a = first, *b = a->next;
		first = b ? b->next : NULL;
		if (b)
			a = join_trees(a, b);
		a->next = pairs;
		pairs = a;
	}
	struct heap_node *root = pairs;
	if (!root)
		return NULL;
	pairs = root->next;
	while (pairs) {
		struct heap_node *next = pairs->next;
		root = join_trees(root, pairs);
		pairs = next;
	}
	return root;
}

static void set_root(struct heap *heap, struct heap_node *root)
{
	heap->root = root;
	if (root) {
		root->next = NULL;
		root->link = &heap->root;
	}
}

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key_ns)
{
	node->key_ns = key_ns;
	node->child = node->next = NULL;
	set_root(heap, heap->root ? join_trees(heap->root, node) : node);
}

void heap_take_over(struct heap *heap, struct heap *from)
{
	struct heap_node *root = from->root;

	from->root = NULL;
	if (root)
		set_root(heap, heap->root ? join_trees(heap->root, root) : root);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
	if (!node->link)
		return;
	bool was_root = node == heap->root;
	struct heap_node *below = join_all(node->child);

	if (was_root) {
		set_root(heap, below);
	} else {
		*node->link = node->next;
		if (node->next)
			node->next->link = node->link;
		if (below)
			set_root(heap, join_trees(heap->root, below));
	}
	node->child = node->next = NULL;
	node->link = NULL;
}
