/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <stdlib.h>

#include "hash.h"

#define FIRST 64u

static struct map_node **bucket(const struct map *map, uint64_t key)
{
	size_t number = (size_t)hash_bytes(&key, sizeof(key)) & map->mask;

	return &map->buckets[number < map->used ? number : number & map->mask >> 1];
}

bool map_init(struct map *map)
{
	*map = (struct map){.buckets = calloc(FIRST, sizeof(*map->buckets)),
			    .used = FIRST,
			    .room = FIRST,
			    .mask = FIRST - 1};
	return map->buckets != NULL;
}

void map_free(struct map *map)
{
	free(map->buckets);
	*map = (struct map){0};
}

static void stand(struct map *map, struct map_node *node)
{
	struct map_node **place = bucket(map, node->key);

	node->next = *place;
	*place = node;
	node->stands = true;
	map->count++;
}

static void step_out(struct map *map, struct map_node *node)
{
	struct map_node **place = bucket(map, node->key);

	while (*place != node)
		place = &(*place)->next;
	*place = node->next;
	node->stands = false;
	map->count--;
}

/* One bucket more: what belongs there stands in one other. */
static void grow(struct map *map)
{
	if (map->used == map->room) {
		struct map_node **larger = realloc(map->buckets, map->room * 2 * sizeof(*larger));
		if (!larger)
			return;
		map->buckets = larger;
		map->room *= 2;
	}
	size_t fresh = map->used++;
	if (fresh > map->mask)
		map->mask = map->mask * 2 + 1;
	struct map_node *node = map->buckets[fresh & map->mask >> 1];
	map->buckets[fresh] = map->buckets[fresh & map->mask >> 1] = NULL;
	for (struct map_node *next; node; node = next) {
		struct map_node **place = bucket(map, node->key);
		next = node->next;
		node->next = *place;
		*place = node;
	}
}

void map_add(struct map *map, struct map_node *node, uint64_t key)
{
	struct map_node *latest = map_find(map, key);

	node->key = key;
	list_init(&node->alike);
	if (latest) {
		list_append(&latest->alike,
			    &node->alike); /* a ring: behind the oldest is before the latest */
		step_out(map, latest);
	} else if (map->count >= map->used) {
		grow(map);
	}
	stand(map, node);
}

void map_remove(struct map *map, struct map_node *node)
{
	struct map_node *before = container_of(node->alike.next, struct map_node, alike);

	if (node->stands) {
		step_out(map, node);
		if (before != node)
			stand(map, before);
	}
	list_remove(&node->alike);
}

struct map_node *map_find(const struct map *map, uint64_t key)
{
	struct map_node *node = *bucket(map, key);

	while (node && node->key != key)
		node = node->next;
	return node;
}

struct map_node *map_again(const struct map_node *node)
{
	struct map_node *before = container_of(node->alike.next, struct map_node, alike);

	return before->stands ? NULL : before;
}
