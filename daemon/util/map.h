/* SPDX-License-Identifier: MIT */
/*
 * Hash tables whose nodes are part of the objects that they find. A key is a number; what else must match,
 * the caller compares. The cost of a call does not depend on the number of nodes or on the keys that clients
 * choose: the hash is keyed, so that a bucket has few nodes; a table grows by one bucket at a time (linear
 * hashing: Litwin, 1980); and of the nodes with one key only the latest is in the bucket, while the others
 * form a ring with it.
 */
#ifndef CTXD_MAP_H
#define CTXD_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

struct map_node {
	/* The next node in the bucket. The node itself: it is not in the bucket, where the latest of its key
	 * is. */
	struct map_node *next;
	struct list same_key; /* The ring of all nodes with this key, the latest first. */
	uint64_t key;
};

struct map {
	struct map_node **buckets;
	size_t used, room; /* The number of buckets in use, and that for which there is memory. */
	size_t mask;	   /* The smallest number of the form 2^n - 1 that is not below used - 1. */
	size_t count;	   /* The number of nodes that are in buckets. */
};

/* False: no memory. */
bool map_init(struct map *map);
void map_free(struct map *map);

/* Never fails: without memory the table does not grow. */
void map_add(struct map *map, struct map_node *node, uint64_t key);
void map_remove(struct map *map, struct map_node *node);

/*
 * map_find() gives the latest node of that key, map_older() the one that was added before node. NULL: there
 * is none.
 */
struct map_node *map_find(const struct map *map, uint64_t key);
struct map_node *map_older(const struct map_node *node);

#endif
