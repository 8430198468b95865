/* SPDX-License-Identifier: MIT */
/*
 * Many small structures of one size, each with a number, the slot, by which others name it: a number takes
 * half of a pointer's room, and fits into the serial of a message and the data of an epoll event. A structure
 * stays where it is. The memory of released slots is used again, and is not given back before the end.
 */
#ifndef CTXD_STORE_H
#define CTXD_STORE_H

#include <stddef.h>
#include <stdint.h>

#define STORE_NONE UINT32_MAX

struct store {
	size_t size;	   /* Of each structure, at least four bytes. */
	uint32_t count;	   /* How many are in use. */
	uint32_t used;	   /* How many have ever been in use: the slots are below it. */
	uint32_t released; /* The first slot that was released, or STORE_NONE. */
	uint32_t chunk_count;
	char **chunks;
};

void store_init(struct store *store, size_t size);
void store_free(struct store *store);

/* A slot whose structure is all zeros. STORE_NONE: no memory. */
uint32_t store_take(struct store *store);
/* All of the structure becomes zeros but its first four bytes. */
void store_release(struct store *store, uint32_t slot);

/* NULL: there has never been such a slot. A slot that was released is not told from one in use. */
void *store_at(const struct store *store, uint32_t slot);

/* ---- lists of slots. A structure has a link for each list that it can be in. */

struct store_link {
	uint32_t next, prev; /* STORE_NONE: there is none. */
};

struct store_list {
	uint32_t first, last; /* STORE_NONE: the list is empty. */
	size_t offset;	      /* Of the link in the structure. */
};

void store_list_init(struct store_list *list, size_t offset);
void store_list_append(const struct store *store, struct store_list *list, uint32_t slot);
void store_list_remove(const struct store *store, struct store_list *list, uint32_t slot);

#endif
