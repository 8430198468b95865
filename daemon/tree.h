/* SPDX-License-Identifier: MIT */
/*
 * A treap (Seidel, Aragon, 1996) of numbers that only grow, whose nodes live inside what they find. Each call
 * costs O(log n): the priorities are keyed hashes, which nobody else can foresee.
 */
#ifndef CTXD_TREE_H
#define CTXD_TREE_H

#include <stdint.h>

struct tree_node {
	struct tree_node *left, *right;
	uint64_t key, priority;
};

/* key is larger than all that are there. */
void tree_append(struct tree_node **root, struct tree_node *node, uint64_t key);
/* node is in it. */
void tree_remove(struct tree_node **root, struct tree_node *node);
/* The node of the smallest key above that one; NULL: none. */
struct tree_node *tree_after(struct tree_node *root, uint64_t key);

#endif
