/* SPDX-License-Identifier: MIT */
/*
 * Links the contexts of all hosts to a forest. What hosts tell is not believed: ids may be there twice, and
 * links may lead nowhere or round in a circle. Each step goes through the nodes once, or sorts them.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"

/* The nodes in the order in which they are shown, and the contexts among them by host and id. */
struct linking {
	struct fleet *fleet;
	uint32_t *shown, *by_id;
	size_t id_count;
	unsigned char *state; /* of each node, see cut_cycles() */
};

static int compare_hosts_and_ids(const struct fleet_node *a, const struct fleet_node *b)
{
	if (a->host != b->host)
		return a->host < b->host ? -1 : 1;
	if (a->entry.id.epoch != b->entry.id.epoch)
		return a->entry.id.epoch < b->entry.id.epoch ? -1 : 1;
	return a->entry.id.number < b->entry.id.number ? -1 : a->entry.id.number > b->entry.id.number;
}

static int compare_ids(const void *left, const void *right, void *data)
{
	const struct fleet_node *nodes = data;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	int order = compare_hosts_and_ids(&nodes[a], &nodes[b]);

	return order ? order : a < b ? -1 : a > b;
}

/* Joins come before contexts, and each kind as it came about. */
static int compare_shown(const void *left, const void *right, void *data)
{
	const struct fleet_node *nodes = data;
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	bool a_joins = nodes[a].entry.kind == CTXD_JOINED, b_joins = nodes[b].entry.kind == CTXD_JOINED;

	if (nodes[a].host != nodes[b].host)
		return nodes[a].host < nodes[b].host ? -1 : 1;
	if (a_joins != b_joins)
		return a_joins ? -1 : 1;
	return compare_ids(left, right, data);
}

/* The index of the host of that name, or FLEET_NONE. */
static uint32_t find_host(const struct fleet *fleet, const char *name)
{
	size_t low = 1, high = fleet->host_count;

	if (fleet->host_count && strcmp(fleet->hosts[0].name, name) == 0)
		return 0;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(fleet->hosts[middle].name, name);
		if (!order)
			return (uint32_t)middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return FLEET_NONE;
}

/* The first context with that id on that host, or FLEET_NONE. */
static uint32_t find_context(const struct linking *linking, uint32_t host, struct ctxd_id id)
{
	const struct fleet_node *nodes = linking->fleet->nodes;
	struct fleet_node wanted = {.host = host};
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
		return FLEET_NONE;
	return linking->by_id[low];
}

static void find_parents(struct linking *linking)
{
	struct fleet *fleet = linking->fleet;

	for (size_t i = 0; i < fleet->count; i++) {
		struct fleet_node *node = &fleet->nodes[i];
		const struct ctxd_entry *entry = &node->entry;
		uint32_t host = node->host;
		struct ctxd_id above = entry->kind == CTXD_JOINED ? entry->id : entry->parent;

		if (entry->kind == CTXD_SHARED && entry->host[0]) {
			host = find_host(fleet, entry->host);
			above = entry->origin;
		}
		node->parent =
			host == FLEET_NONE || !above.epoch ? FLEET_NONE : find_context(linking, host, above);
	}
}

/*
 * Cuts a link of each circle. From each node the links are followed upwards as far as they are new; a node
 * that is met again on the same way closes a circle. The states: 0 new, 1 on this way, 2 leads to a root.
 */
static void cut_cycles(struct linking *linking)
{
	struct fleet *fleet = linking->fleet;

	for (uint32_t i = 0; i < fleet->count; i++) {
		uint32_t at = i, last = FLEET_NONE;
		while (at != FLEET_NONE && linking->state[at] == 0) {
			linking->state[at] = 1;
			last = at;
			at = fleet->nodes[at].parent;
		}
		if (at != FLEET_NONE && linking->state[at] == 1) {
			fleet->nodes[last].parent = FLEET_NONE;
			fleet->cycles++;
		}
		for (at = i; at != FLEET_NONE && linking->state[at] == 1; at = fleet->nodes[at].parent)
			linking->state[at] = 2;
	}
}

/* Makes the lists of children, each in the order in which they are shown. Returns the first root. */
static uint32_t link_children(struct linking *linking)
{
	struct fleet *fleet = linking->fleet;
	uint32_t first_root = FLEET_NONE;

	for (size_t i = fleet->count; i-- > 0;) {
		uint32_t index = linking->shown[i];
		struct fleet_node *node = &fleet->nodes[index];
		uint32_t *first =
			node->parent == FLEET_NONE ? &first_root : &fleet->nodes[node->parent].first_child;
		node->next_sibling = *first;
		*first = index;
	}
	return first_root;
}

static void walk_preorder(struct fleet *fleet, uint32_t first_root)
{
	uint32_t at = first_root, depth = 0;

	for (size_t i = 0; at != FLEET_NONE; i++) {
		struct fleet_node *node = &fleet->nodes[at];
		fleet->preorder[i] = at;
		node->depth = depth;
		if (node->first_child != FLEET_NONE) {
			at = node->first_child;
			depth++;
			continue;
		}
		while (at != FLEET_NONE && fleet->nodes[at].next_sibling == FLEET_NONE) {
			at = fleet->nodes[at].parent;
			depth--;
		}
		if (at != FLEET_NONE)
			at = fleet->nodes[at].next_sibling;
	}
}

int fleet_link(struct fleet *fleet)
{
	struct linking linking = {.fleet = fleet};
	size_t room = fleet->count ? fleet->count : 1;
	int result = -ENOMEM;

	linking.shown = calloc(room, sizeof(*linking.shown));
	linking.by_id = calloc(room, sizeof(*linking.by_id));
	linking.state = calloc(room, 1);
	fleet->preorder = calloc(room, sizeof(*fleet->preorder));
	if (linking.shown && linking.by_id && linking.state && fleet->preorder) {
		for (uint32_t i = 0; i < fleet->count; i++) {
			fleet->nodes[i].first_child = fleet->nodes[i].next_sibling = FLEET_NONE;
			linking.shown[i] = i;
			if (fleet->nodes[i].entry.kind == CTXD_SHARED)
				linking.by_id[linking.id_count++] = i;
		}
		qsort_r(linking.shown, fleet->count, sizeof(*linking.shown), compare_shown, fleet->nodes);
		qsort_r(linking.by_id, linking.id_count, sizeof(*linking.by_id), compare_ids, fleet->nodes);
		find_parents(&linking);
		cut_cycles(&linking);
		walk_preorder(fleet, link_children(&linking));
		result = 0;
	}
	free(linking.shown);
	free(linking.by_id);
	free(linking.state);
	return result;
}

int fleet_add_host(struct fleet *fleet, const struct ctxd_host *host)
{
	/* The room doubles at each power of two. */
	if (!(fleet->host_count & (fleet->host_count - 1))) {
		size_t room = fleet->host_count ? fleet->host_count * 2 : 1;
		struct ctxd_host *larger = realloc(fleet->hosts, room * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		fleet->hosts = larger;
	}
	fleet->hosts[fleet->host_count++] = *host;
	return 0;
}

int fleet_add_entry(struct fleet *fleet, const struct ctxd_host *host, const struct ctxd_entry *entry)
{
	uint32_t index = find_host(fleet, host->name);

	if (index == FLEET_NONE || (entry->kind != CTXD_SHARED && entry->kind != CTXD_JOINED))
		return 0;
	if (fleet->count == fleet->room) {
		size_t room = fleet->room ? fleet->room * 2 : 64;
		struct fleet_node *larger =
			room < FLEET_NONE ? realloc(fleet->nodes, room * sizeof(*larger)) : NULL;
		if (!larger)
			return -ENOMEM;
		fleet->nodes = larger;
		fleet->room = room;
	}
	fleet->nodes[fleet->count++] =
		(struct fleet_node){.host = index, .parent = FLEET_NONE, .entry = *entry};
	return 0;
}

void fleet_free(struct fleet *fleet)
{
	free(fleet->hosts);
	free(fleet->nodes);
	free(fleet->preorder);
	*fleet = (struct fleet){0};
}
