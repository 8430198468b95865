/* SPDX-License-Identifier: MIT */
/*
 * A pairing heap of times (Fredman, Sedgewick, Sleator, Tarjan, 1986). Its nodes live inside the structures
 * that are timed, so nothing is allocated. Inserting a node and looking at the earliest one are O(1);
 * removing any node is O(log n) amortised. No recursion.
 */
#ifndef CTX_HEAP_H
#define CTX_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key_ns;
	struct heap_node *child, *next;
	struct heap_node **link; /* the pointer that points to this node; NULL: it is in no heap */
};

struct heap {
	struct heap_node *root; /* the earliest, NULL when empty */
};

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key_ns);

/* Does nothing when node is in no heap. node->link must be NULL before the first use of node. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* Moves all nodes of from into heap. O(1). */
void heap_take_over(struct heap *heap, struct heap *from);

static inline bool heap_contains(const struct heap_node *node)
{
	return node->link != NULL;
}

#endif
