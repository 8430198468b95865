/* SPDX-License-Identifier: MIT */
/*
 * Hash tables whose nodes live inside what they find. A key is a number; what else must match, the caller
 * looks at. Each call costs the same, however many nodes there are and whatever keys clients choose: the hash
 * is keyed, so that a bucket has few nodes; a table grows by one bucket at a time (linear hashing: Litwin,
 * 1980); and the nodes of one key are a ring of which only the latest stands in the bucket.
 */
#ifndef CTXD_MAP_H
#define CTXD_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

struct map_node {
	struct map_node *next; /* in the bucket */
	struct list same_key;  /* those of its key, the latest first */
	bool in_bucket;	       /* in the bucket, for all of them: it is the latest */
	uint64_t key;
};

struct map {
	struct map_node **buckets;
	size_t used, room; /* buckets */
	size_t mask;	   /* the smallest of all ones that used - 1 fits into */
	size_t count;	   /* nodes that stand in buckets */
};

/* False: no memory. */
bool map_init(struct map *map);
void map_free(struct map *map);

/* Grows when it can, and works when it cannot. */
void map_add(struct map *map, struct map_node *node, uint64_t key);
void map_remove(struct map *map, struct map_node *node);

/* The latest node of that key; map_older(): the one that came before. */
struct map_node *map_find(const struct map *map, uint64_t key);
struct map_node *map_older(const struct map_node *node);

#endif
