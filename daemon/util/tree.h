/* SPDX-License-Identifier: MIT */
/*
 * A treap (Seidel, Aragon, 1996) with nodes that are part of the objects that they find. Keys only grow. Each
 * call costs O(log n), since the priorities are keyed hashes, which nobody else can foresee.
 */
#ifndef CTXD_TREE_H
#define CTXD_TREE_H

#include <stdint.h>

struct tree_node {
	struct tree_node *left, *right;
	uint64_t key, priority;
};

/* key must be larger than all keys in the tree. */
void tree_append(struct tree_node **root, struct tree_node *node, uint64_t key);
/* node must be in the tree. */
void tree_remove(struct tree_node **root, struct tree_node *node);
/* The node with the smallest key above that one. NULL: there is none. */
struct tree_node *tree_after(struct tree_node *root, uint64_t key);

#endif
