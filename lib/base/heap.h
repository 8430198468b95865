/* SPDX-License-Identifier: MIT */
/*
 * A pairing heap of times, whose nodes live inside what they time: no allocation,
 * insert and looking at the earliest are O(1), removing any is O(log n) amortised
 * (Fredman, Sedgewick, Sleator, Tarjan, 1986). No recursion.
 */
#ifndef CTX_HEAP_H
#define CTX_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key_ns;
	struct heap_node *child, *next;
	struct heap_node **link; /* what points here: NULL when it is in no heap */
};

struct heap {
	struct heap_node *root; /* the earliest, NULL when empty */
};

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key_ns);

/* Does nothing for a node that is in no heap; node->link must be NULL before its first use. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* Moves all of from into heap. O(1). */
void heap_take_over(struct heap *heap, struct heap *from);

static inline bool heap_contains(const struct heap_node *node)
{
	return node->link != NULL;
}

#endif
