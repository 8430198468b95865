/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "facts.h"
#include "forest.h"

/* Children stand behind their parents: see keep_ancestors() of survey_filter.c. */
static void keep_ancestors(struct forest *forest)
{
	size_t to = forest->count;
	uint32_t first_root = FOREST_NONE;

	for (size_t i = 0; i < forest->count; i++)
		forest->nodes[i].first_child = FOREST_NONE;
	for (size_t i = forest->count; i-- > 0;) {
		uint32_t index = forest->preorder[i];
		struct forest_node *node = &forest->nodes[index];

		if (node->beside && node->first_child == FOREST_NONE)
			continue;
		uint32_t *first =
			node->parent == FOREST_NONE ? &first_root : &forest->nodes[node->parent].first_child;
		node->next_sibling = *first;
		*first = index;
		forest->preorder[--to] = index;
	}
	forest->shown_count = forest->count - to;
	memmove(forest->preorder, forest->preorder + to, forest->shown_count * sizeof(*forest->preorder));
}

void forest_filter(struct forest *forest, const struct selection *selection, bool with_ancestors)
{
	if (!selection)
		return;
	for (size_t i = 0; i < forest->count; i++)
		forest->nodes[i].beside =
			!selection_matches_entry(selection, &forest->nodes[i].entry, forest->now_ns);
	if (with_ancestors) {
		keep_ancestors(forest);
		return;
	}
	forest->shown_count = 0;
	for (size_t i = 0; i < forest->count; i++)
		if (!forest->nodes[forest->preorder[i]].beside)
			forest->preorder[forest->shown_count++] = forest->preorder[i];
}
