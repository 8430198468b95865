/* SPDX-License-Identifier: MIT */
/*
 * Finding shares and joins: a hash table by id, and one by context. Each step of a message or a call that
 * means one of them takes the same time however many there are. The chains go through the bonds themselves.
 * So to add one never fails: without memory for a larger table the chains get longer.
 */
#include <string.h>

#include "client.h"
#include "memory.h"

static uint64_t number_of(const struct bond *bond, enum bond_key key)
{
	return key == BOND_ID ? bond->id.number : (uintptr_t)bond->ctx;
}

static struct bond **head_of(struct bond_index *index, uint64_t number)
{
	if (!index->places)
		return &index->first;
	/* Multiplied by 2^64 divided by the golden ratio, neighbouring numbers are spread evenly. */
	return &index->places[number * 0x9e3779b97f4a7c15u >> index->shift];
}

static void index_put(struct bond_index *index, struct bond *bond, enum bond_key key)
{
	struct bond **head = head_of(index, number_of(bond, key));

	bond->chain[key] = *head;
	*head = bond;
}

/* Gives a table of 2^bits places. Without memory the one before stays. */
static void index_resize(struct bond_index *index, enum bond_key key, unsigned bits)
{
	size_t size = sizeof(*index->places) << bits;
	struct bond_index larger = {.shift = 64 - bits, .bits = bits, .count = index->count};

	larger.places = memory_allocate(size);
	if (!larger.places)
		return;
	memset(larger.places, 0, size);
	for (size_t i = 0; i < (size_t)1 << index->bits; i++)
		for (struct bond *bond = index->places ? index->places[i] : index->first, *next; bond;
		     bond = next) {
			next = bond->chain[key];
			index_put(&larger, bond, key);
		}
	memory_release(index->places);
	*index = larger;
}

void bond_index_add(struct ctxd_client *client, struct bond *bond, enum bond_key key)
{
	struct bond_index *index = &client->indexes[key];

	if (!number_of(bond, key))
		return;
	if (index->count >= 1u << index->bits)
		index_resize(index, key, index->bits ? index->bits + 1 : 4);
	index_put(index, bond, key);
	index->count++;
}

void bond_index_remove(struct ctxd_client *client, struct bond *bond, enum bond_key key)
{
	struct bond_index *index = &client->indexes[key];
	struct bond **at = head_of(index, number_of(bond, key));

	while (*at && *at != bond)
		at = &(*at)->chain[key];
	if (!*at)
		return;
	*at = bond->chain[key];
	index->count--;
}

struct bond *bond_index_next(struct ctxd_client *client, enum bond_key key, uint64_t number,
			     const struct bond *after)
{
	struct bond *bond = after ? after->chain[key] : *head_of(&client->indexes[key], number);

	while (bond && number_of(bond, key) != number)
		bond = bond->chain[key];
	return bond;
}

void bond_index_free(struct ctxd_client *client)
{
	for (unsigned key = 0; key < BOND_KEYS; key++) {
		memory_release(client->indexes[key].places);
		client->indexes[key] = (struct bond_index){0};
	}
}
