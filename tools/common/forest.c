/* SPDX-License-Identifier: MIT */
/*
 * Links the contexts of all hosts to a forest. What hosts tell is not believed: ids may be there twice, and
 * links may lead nowhere or round in a circle. Each step goes through the nodes once, or sorts them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "forest.h"

/* The nodes in the order in which they are shown, and the contexts among them by host and id. */
struct linking {
	struct forest *forest;
	uint32_t *shown, *by_id;
	size_t id_count;
	unsigned char *state; /* of each node, see cut_cycles() */
};

static int compare_hosts_and_ids(const struct forest_node *a, const struct forest_node *b)
{
	if (a->host != b->host)
		return a->host < b->host ? -1 : 1;
	if (a->entry.id.epoch != b->entry.id.epoch)
		return a->entry.id.epoch < b->entry.id.epoch ? -1 : 1;
	return a->entry.id.number < b->entry.id.number ? -1 : a->entry.id.number > b->entry.id.number;
}

static int compare_ids(const void *left, const void *right, void *data)
{
	const struct forest_node *nodes = data;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	int order = compare_hosts_and_ids(&nodes[a], &nodes[b]);

	return order ? order : a < b ? -1 : a > b;
}

/* Joins come before contexts, and each kind as it came about. */
static int compare_shown(const void *left, const void *right, void *data)
{
	const struct forest_node *nodes = data;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	bool a_joins = nodes[a].entry.kind == CTXD_JOINED, b_joins = nodes[b].entry.kind == CTXD_JOINED;

	if (nodes[a].host != nodes[b].host)
		return nodes[a].host < nodes[b].host ? -1 : 1;
	if (a_joins != b_joins)
		return a_joins ? -1 : 1;
	return compare_ids(left, right, data);
}

/* The index of the host of that name, or FOREST_NONE. */
static uint32_t find_host(const struct forest *forest, const char *name)
{
	size_t low = 1, high = forest->host_count;

	if (forest->host_count && strcmp(forest->hosts[0].name, name) == 0)
		return 0;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(forest->hosts[middle].name, name);
		if (!order)
			return (uint32_t)middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return FOREST_NONE;
}

/* The first context with that id on that host, or FOREST_NONE. */
static uint32_t find_context(const struct linking *linking, uint32_t host, struct ctxd_id id)
{
	const struct forest_node *nodes = linking->forest->nodes;
	struct forest_node wanted = {.host = host};
	size_t low = 0, high = linking->id_count;

	wanted.entry.id = id;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (compare_hosts_and_ids(&nodes[linking->by_id[middle]], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == linking->id_count || compare_hosts_and_ids(&nodes[linking->by_id[low]], &wanted) != 0)
		return FOREST_NONE;
	return linking->by_id[low];
}

static void find_parents(struct linking *linking)
{
	struct forest *forest = linking->forest;

	for (size_t i = 0; i < forest->count; i++) {
		struct forest_node *node = &forest->nodes[i];
		const struct ctxd_entry *entry = &node->entry;
		uint32_t host = node->host;
		struct ctxd_id above = entry->kind == CTXD_JOINED ? entry->id : entry->parent;

		if (entry->kind == CTXD_SHARED && entry->host[0]) {
			host = find_host(forest, entry->host);
			above = entry->origin;
		}
		node->parent = host == FOREST_NONE || !above.epoch ? FOREST_NONE
								   : find_context(linking, host, above);
		if (node->parent != FOREST_NONE && entry->kind == CTXD_SHARED && entry->host[0])
			forest->nodes[node->parent].copies++;
	}
}

/*
 * Cuts a link of each circle. From each node the links are followed upwards as far as they are new; a node
 * that is met again on the same way closes a circle. The states: 0 new, 1 on this way, 2 leads to a root.
 */
static void cut_cycles(struct linking *linking)
{
	struct forest *forest = linking->forest;

	for (uint32_t i = 0; i < forest->count; i++) {
		uint32_t at = i, last = FOREST_NONE;
		while (at != FOREST_NONE && linking->state[at] == 0) {
			linking->state[at] = 1;
			last = at;
			at = forest->nodes[at].parent;
		}
		if (at != FOREST_NONE && linking->state[at] == 1) {
			forest->nodes[last].parent = FOREST_NONE;
			forest->cycles++;
		}
		for (at = i; at != FOREST_NONE && linking->state[at] == 1; at = forest->nodes[at].parent)
			linking->state[at] = 2;
	}
}

/* Makes the lists of children, each in the order in which they are shown. Returns the first root. */
static uint32_t link_children(struct linking *linking)
{
	struct forest *forest = linking->forest;
	uint32_t first_root = FOREST_NONE;

	for (size_t i = forest->count; i-- > 0;) {
		uint32_t index = linking->shown[i];
		struct forest_node *node = &forest->nodes[index];
		uint32_t *first =
			node->parent == FOREST_NONE ? &first_root : &forest->nodes[node->parent].first_child;
		node->next_sibling = *first;
		*first = index;
	}
	return first_root;
}

static void walk_preorder(struct forest *forest, uint32_t first_root)
{
	uint32_t at = first_root, depth = 0;

	for (size_t i = 0; at != FOREST_NONE; i++) {
		struct forest_node *node = &forest->nodes[at];
		forest->preorder[i] = at;
		node->depth = depth;
		if (node->first_child != FOREST_NONE) {
			at = node->first_child;
			depth++;
			continue;
		}
		while (at != FOREST_NONE && forest->nodes[at].next_sibling == FOREST_NONE) {
			at = forest->nodes[at].parent;
			depth--;
		}
		if (at != FOREST_NONE)
			at = forest->nodes[at].next_sibling;
	}
}

int forest_link(struct forest *forest)
{
	struct linking linking = {.forest = forest};
	size_t room = forest->count ? forest->count : 1;
	int result = -ENOMEM;

	linking.shown = calloc(room, sizeof(*linking.shown));
	linking.by_id = calloc(room, sizeof(*linking.by_id));
	linking.state = calloc(room, 1);
	forest->preorder = calloc(room, sizeof(*forest->preorder));
	if (linking.shown && linking.by_id && linking.state && forest->preorder) {
		for (uint32_t i = 0; i < forest->count; i++) {
			forest->nodes[i].first_child = forest->nodes[i].next_sibling = FOREST_NONE;
			linking.shown[i] = i;
			if (forest->nodes[i].entry.kind == CTXD_SHARED)
				linking.by_id[linking.id_count++] = i;
		}
		qsort_r(linking.shown, forest->count, sizeof(*linking.shown), compare_shown, forest->nodes);
		qsort_r(linking.by_id, linking.id_count, sizeof(*linking.by_id), compare_ids, forest->nodes);
		find_parents(&linking);
		cut_cycles(&linking);
		walk_preorder(forest, link_children(&linking));
		forest->shown_count = forest->count;
		result = 0;
	}
	free(linking.shown);
	free(linking.by_id);
	free(linking.state);
	return result;
}

int forest_add_host(struct forest *forest, const struct ctxd_host *host)
{
	/* The room doubles at each power of two. */
	if (!(forest->host_count & (forest->host_count - 1))) {
		size_t room = forest->host_count ? forest->host_count * 2 : 1;
		struct ctxd_host *larger = realloc(forest->hosts, room * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		forest->hosts = larger;
	}
	forest->hosts[forest->host_count++] = *host;
	return 0;
}

int forest_add_entry(struct forest *forest, const struct ctxd_host *host, const struct ctxd_entry *entry)
{
	uint32_t index = find_host(forest, host->name);

	if (index == FOREST_NONE || (entry->kind != CTXD_SHARED && entry->kind != CTXD_JOINED))
		return 0;
	if (forest->count == forest->room) {
		size_t room = forest->room ? forest->room * 2 : 64;
		struct forest_node *larger =
			room < FOREST_NONE ? realloc(forest->nodes, room * sizeof(*larger)) : NULL;
		if (!larger)
			return -ENOMEM;
		forest->nodes = larger;
		forest->room = room;
	}
	forest->nodes[forest->count++] =
		(struct forest_node){.host = index, .parent = FOREST_NONE, .entry = *entry};
	return 0;
}

void forest_free(struct forest *forest)
{
	free(forest->hosts);
	free(forest->nodes);
	free(forest->preorder);
	*forest = (struct forest){0};
}
