/* SPDX-License-Identifier: MIT */
#include "lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define PLACES_MIN 64u

void lookup_init(struct lookup *lookup, const struct store *store,
		 uint64_t (*number_of)(const void *structure))
{
	*lookup = (struct lookup){.store = store, .number_of = number_of};
}

void lookup_free(struct lookup *lookup)
{
	free(lookup->places);
	lookup->places = NULL;
	lookup->mask = lookup->count = 0;
}

void lookup_clear(struct lookup *lookup)
{
	lookup_free(lookup);
}

static uint32_t home_of(const struct lookup *lookup, uint64_t number)
{
	return (uint32_t)hash_bytes(&number, sizeof(number)) & lookup->mask;
}

static uint32_t home_of_slot(const struct lookup *lookup, uint32_t slot)
{
	return home_of(lookup, lookup->number_of(store_at(lookup->store, slot)));
}

static void put_slot(struct lookup *lookup, uint32_t slot)
{
	uint32_t place = home_of_slot(lookup, slot);

	while (lookup->places[place] != STORE_NONE)
		place = (place + 1) & lookup->mask;
	lookup->places[place] = slot;
}

static int resize_places(struct lookup *lookup, uint32_t room)
{
	uint32_t *before = lookup->places, before_room = before ? lookup->mask + 1 : 0;
	uint32_t *places = malloc(room * sizeof(*places));

	if (!places)
		return -ENOMEM;
	memset(places, 0xff, room * sizeof(*places));
	lookup->places = places;
	lookup->mask = room - 1;
	for (uint32_t i = 0; i < before_room; i++)
		if (before[i] != STORE_NONE)
			put_slot(lookup, before[i]);
	free(before);
	return 0;
}

int lookup_add(struct lookup *lookup, uint32_t slot)
{
	uint32_t room = lookup->places ? lookup->mask + 1 : 0;

	/* At most three of four places are taken. Without memory the table may get as full as all but one. */
	if (lookup->count >= room / 4 * 3 && resize_places(lookup, room ? room * 2 : PLACES_MIN) &&
	    lookup->count + 1 >= room)
		return -ENOMEM;
	put_slot(lookup, slot);
	lookup->count++;
	return 0;
}

/* The place of the slot. -1: it is not there. */
static int64_t place_of(const struct lookup *lookup, uint32_t slot)
{
	if (!lookup->places)
		return -1;
	for (uint32_t place = home_of_slot(lookup, slot); lookup->places[place] != STORE_NONE;
	     place = (place + 1) & lookup->mask)
		if (lookup->places[place] == slot)
			return place;
	return -1;
}

void lookup_remove(struct lookup *lookup, uint32_t slot)
{
	int64_t found = place_of(lookup, slot);

	if (found < 0)
		return;
	/* Those behind it that could not have their own place because of it move up. */
	uint32_t hole = (uint32_t)found, mask = lookup->mask;
	for (uint32_t at = (hole + 1) & mask; lookup->places[at] != STORE_NONE; at = (at + 1) & mask) {
		uint32_t home = home_of_slot(lookup, lookup->places[at]);
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		lookup->places[hole] = lookup->places[at];
		hole = at;
	}
	lookup->places[hole] = STORE_NONE;
	lookup->count--;
	if (mask + 1 > PLACES_MIN && lookup->count < (mask + 1) / 8)
		resize_places(lookup, (mask + 1) / 2);
}

void *lookup_next(const struct lookup *lookup, uint64_t number, uint32_t *at, uint32_t *ret_slot)
{
	if (!lookup->places)
		return NULL;
	for (uint32_t home = home_of(lookup, number); *at <= lookup->mask; ++*at) {
		uint32_t slot = lookup->places[(home + *at) & lookup->mask];
		if (slot == STORE_NONE)
			return NULL;
		void *structure = store_at(lookup->store, slot);
		if (lookup->number_of(structure) != number)
			continue;
		++*at;
		*ret_slot = slot;
		return structure;
	}
	return NULL;
}
