/* SPDX-License-Identifier: MIT */
/*
 * A hash table that finds the slots of a store by a number. It has four bytes for each place, where a node of
 * map.h has 32: the bridge has two for each context. Open addressing with linear probing; the number is
 * hashed with a secret. Slots may have the same number; the caller compares what else must match.
 */
#ifndef CTXD_LOOKUP_H
#define CTXD_LOOKUP_H

#include "store.h"

struct lookup {
	const struct store *store;
	uint64_t (*number_of)(const void *structure); /* Must not change while the slot is in the table. */
	uint32_t *places;			      /* STORE_NONE: nothing is there. */
	uint32_t mask, count;
};

void lookup_init(struct lookup *lookup, const struct store *store,
		 uint64_t (*number_of)(const void *structure));
void lookup_free(struct lookup *lookup);
/* Forgets all slots. */
void lookup_clear(struct lookup *lookup);

/* O(1), and O(slots) when it grows. -ENOMEM: the slot is not in the table. */
int lookup_add(struct lookup *lookup, uint32_t slot);
/* Does nothing when the slot is not in the table. */
void lookup_remove(struct lookup *lookup, uint32_t slot);

/* Goes through the structures with that number. *at is 0 at first; NULL: there are no more. */
void *lookup_next(const struct lookup *lookup, uint64_t number, uint32_t *at, uint32_t *ret_slot);

#endif
