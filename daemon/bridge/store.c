/* SPDX-License-Identifier: MIT */
#include "store.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SLOTS 256u

void store_init(struct store *store, size_t size)
{
	*store = (struct store){.size = size, .released = STORE_NONE};
}

void store_free(struct store *store)
{
	for (uint32_t i = 0; i < store->chunk_count; i++)
		free(store->chunks[i]);
	free(store->chunks);
	store_init(store, store->size);
}

void *store_at(const struct store *store, uint32_t slot)
{
	if (slot >= store->used)
		return NULL;
	return store->chunks[slot / CHUNK_SLOTS] + slot % CHUNK_SLOTS * store->size;
}

static int store_grow(struct store *store)
{
	uint32_t count = store->chunk_count;

	/* The number of chunks is a power of two whenever their array is full. */
	if ((count & (count - 1)) == 0) {
		char **chunks =
			reallocarray(store->chunks, count ? (size_t)count * 2 : 1, sizeof(*store->chunks));
		if (!chunks)
			return -1;
		store->chunks = chunks;
	}
	store->chunks[count] = calloc(CHUNK_SLOTS, store->size);
	if (!store->chunks[count])
		return -1;
	store->chunk_count++;
	return 0;
}

uint32_t store_take(struct store *store)
{
	uint32_t slot = store->released;

	if (slot != STORE_NONE) {
		uint32_t *next = store_at(store, slot);
		store->released = *next;
		*next = 0;
	} else {
		if (store->used == STORE_NONE ||
		    (store->used == store->chunk_count * CHUNK_SLOTS && store_grow(store)))
			return STORE_NONE;
		slot = store->used++;
	}
	store->count++;
	return slot;
}

void store_release(struct store *store, uint32_t slot)
{
	uint32_t *next = store_at(store, slot);

	memset(next, 0, store->size);
	*next = store->released;
	store->released = slot;
	store->count--;
}

/* ---- lists */

static struct store_link *link_of(const struct store *store, const struct store_list *list, uint32_t slot)
{
	return (struct store_link *)((char *)store_at(store, slot) + list->offset);
}

void store_list_init(struct store_list *list, size_t offset)
{
	*list = (struct store_list){.first = STORE_NONE, .last = STORE_NONE, .offset = offset};
}

void store_list_append(const struct store *store, struct store_list *list, uint32_t slot)
{
	*link_of(store, list, slot) = (struct store_link){.next = STORE_NONE, .prev = list->last};
	if (list->last == STORE_NONE)
		list->first = slot;
	else
		link_of(store, list, list->last)->next = slot;
	list->last = slot;
}

void store_list_remove(const struct store *store, struct store_list *list, uint32_t slot)
{
	struct store_link *link = link_of(store, list, slot);

	if (link->prev == STORE_NONE)
		list->first = link->next;
	else
		link_of(store, list, link->prev)->next = link->next;
	if (link->next == STORE_NONE)
		list->last = link->prev;
	else
		link_of(store, list, link->next)->prev = link->prev;
}
