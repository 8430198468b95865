/* SPDX-License-Identifier: MIT */
/* Circular doubly linked lists whose nodes live inside what they link. */
#ifndef CTX_LIST_H
#define CTX_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *node)
{
	node->next = node->prev = node;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

/* Puts node behind where: list_insert(head) makes it first, list_insert(head->prev) last. */
static inline void list_insert(struct list *where, struct list *node)
{
	node->next = where->next;
	node->prev = where;
	where->next->prev = node;
	where->next = node;
}

static inline void list_append(struct list *head, struct list *node)
{
	list_insert(head->prev, node);
}

/* Takes node out; its own links are left as they were, so it must be inserted again before anything else. */
static inline void list_unlink(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

/* Leaves node alone in a list of its own, so that removing twice is harmless. */
static inline void list_remove(struct list *node)
{
	list_unlink(node);
	list_init(node);
}

/* Moves all nodes of from to the end of to. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	list_init(from);
}

#endif
