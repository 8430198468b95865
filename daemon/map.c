/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <stdlib.h>

#define FIRST 64u

static size_t bucket(const struct map *map, uint64_t key)
{
	return (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & map->mask;
}

bool map_init(struct map *map)
{
	*map = (struct map){.buckets = calloc(FIRST, sizeof(*map->buckets)), .mask = FIRST - 1};
	return map->buckets != NULL;
}

void map_free(struct map *map)
{
	free(map->buckets);
	*map = (struct map){0};
}

static void grow(struct map *map)
{
	struct map larger = {.mask = map->mask * 2 + 1};

	larger.buckets = calloc(larger.mask + 1, sizeof(*larger.buckets));
	if (!larger.buckets)
		return;
	for (size_t i = 0; i <= map->mask; i++)
		for (struct map_node *node = map->buckets[i], *next; node; node = next) {
			next = node->next;
			struct map_node **place = &larger.buckets[bucket(&larger, node->key)];
			node->next = *place;
			*place = node;
		}
	free(map->buckets);
	map->buckets = larger.buckets;
	map->mask = larger.mask;
}

void map_add(struct map *map, struct map_node *node, uint64_t key)
{
	if (map->count++ > map->mask)
		grow(map);
	struct map_node **place = &map->buckets[bucket(map, key)];
	node->key = key;
	node->next = *place;
	*place = node;
}

void map_remove(struct map *map, struct map_node *node)
{
	struct map_node **place = &map->buckets[bucket(map, node->key)];

	while (*place != node)
		place = &(*place)->next;
	*place = node->next;
	map->count--;
}

struct map_node *map_find(const struct map *map, uint64_t key)
{
	struct map_node *node = map->buckets[bucket(map, key)];

	while (node && node->key != key)
		node = node->next;
	return node;
}

struct map_node *map_again(const struct map_node *node)
{
	struct map_node *next = node->next;

	while (next && next->key != node->key)
		next = next->next;
	return next;
}
