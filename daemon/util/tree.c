/* SPDX-License-Identifier: MIT */
#include "tree.h"

#include <stddef.h>

#include "hash.h"

void tree_append(struct tree_node **root, struct tree_node *node, uint64_t key)
{
	struct tree_node **place = root;

	node->key = key;
	node->priority = hash_bytes(&key, sizeof(key));
	while (*place && (*place)->priority >= node->priority)
		place = &(*place)->right;
	node->left = *place;
	node->right = NULL;
	*place = node;
}

void tree_remove(struct tree_node **root, struct tree_node *node)
{
	struct tree_node **place = root, *left = node->left, *right = node->right;

	while (*place != node)
		place = node->key < (*place)->key ? &(*place)->left : &(*place)->right;
	while (left && right) {
		if (left->priority > right->priority) {
			*place = left;
			place = &left->right;
			left = left->right;
		} else {
			*place = right;
			place = &right->left;
			right = right->left;
		}
	}
	*place = left ? left : right;
}

struct tree_node *tree_after(struct tree_node *root, uint64_t key)
{
	struct tree_node *after = NULL;

	while (root) {
		if (root->key > key)
			after = root;
		root = root->key > key ? root->left : root->right;
	}
	return after;
}
