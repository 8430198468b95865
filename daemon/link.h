/* SPDX-License-Identifier: MIT */
/* Lists whose links live inside what they hold: to add, remove and look at either end costs the same however
 * long they are. */
#ifndef CTXD_LINK_H
#define CTXD_LINK_H

#include <stdbool.h>
#include <stddef.h>

#define owner_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct link {
	struct link *next, *prev;
};

static inline void link_init(struct link *link)
{
	link->next = link->prev = link;
}

static inline bool link_alone(const struct link *link)
{
	return link->next == link;
}

static inline void link_append(struct link *head, struct link *link)
{
	link->next = head;
	link->prev = head->prev;
	head->prev->next = link;
	head->prev = link;
}

static inline void link_remove(struct link *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	link_init(link);
}

#endif
