/* SPDX-License-Identifier: MIT */
/* Hash tables whose nodes live inside what they find. A key is a number; what else must match, the caller
 * looks at. */
#ifndef CTXD_MAP_H
#define CTXD_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define owner_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct map_node {
	struct map_node *next;
	uint64_t key;
};

struct map {
	struct map_node **buckets;
	size_t mask, count;
};

/* False: no memory. */
bool map_init(struct map *map);
void map_free(struct map *map);

/* Grows when it can, and works when it cannot. */
void map_add(struct map *map, struct map_node *node, uint64_t key);
void map_remove(struct map *map, struct map_node *node);

/* The first node of that key; map_again(): the next one. */
struct map_node *map_find(const struct map *map, uint64_t key);
struct map_node *map_again(const struct map_node *node);

#endif
