/* SPDX-License-Identifier: MIT */
#include "map.h"

#include <stdlib.h>

#include "hash.h"

#define BUCKETS_MIN 64u

static struct map_node **bucket_of(const struct map *map, uint64_t key)
{
	size_t number = (size_t)hash_bytes(&key, sizeof(key)) & map->mask;

	return &map->buckets[number < map->used ? number : number & map->mask >> 1];
}

bool map_init(struct map *map)
{
	*map = (struct map){.buckets = calloc(BUCKETS_MIN, sizeof(*map->buckets)),
			    .used = BUCKETS_MIN,
			    .room = BUCKETS_MIN,
			    .mask = BUCKETS_MIN - 1};
	return map->buckets != NULL;
}

void map_free(struct map *map)
{
	free(map->buckets);
	*map = (struct map){0};
}

static bool is_in_bucket(const struct map_node *node)
{
	return node->next != node;
}

static void add_to_bucket(struct map *map, struct map_node *node)
{
	struct map_node **place = bucket_of(map, node->key);

	node->next = *place;
	*place = node;
	map->count++;
}

static void remove_from_bucket(struct map *map, struct map_node *node)
{
	struct map_node **place = bucket_of(map, node->key);

	while (*place != node)
		place = &(*place)->next;
	*place = node->next;
	node->next = node;
	map->count--;
}

/* Adds one bucket. The nodes that belong there are all in one other bucket. */
static void map_grow(struct map *map)
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
		struct map_node **place = bucket_of(map, node->key);
		next = node->next;
		node->next = *place;
		*place = node;
	}
}

void map_add(struct map *map, struct map_node *node, uint64_t key)
{
	struct map_node *latest = map_find(map, key);

	node->key = key;
	list_init(&node->same_key);
	if (latest) {
		/* The list is a ring, so what is behind the oldest is before the latest. */
		list_append(&latest->same_key, &node->same_key);
		remove_from_bucket(map, latest);
	} else if (map->count >= map->used) {
		map_grow(map);
	}
	add_to_bucket(map, node);
}

void map_remove(struct map *map, struct map_node *node)
{
	struct map_node *before = container_of(node->same_key.next, struct map_node, same_key);

	if (is_in_bucket(node)) {
		remove_from_bucket(map, node);
		if (before != node)
			add_to_bucket(map, before);
	}
	list_remove(&node->same_key);
}

struct map_node *map_find(const struct map *map, uint64_t key)
{
	struct map_node *node = *bucket_of(map, key);

	while (node && node->key != key)
		node = node->next;
	return node;
}

struct map_node *map_older(const struct map_node *node)
{
	struct map_node *before = container_of(node->same_key.next, struct map_node, same_key);

	return is_in_bucket(before) ? NULL : before;
}
