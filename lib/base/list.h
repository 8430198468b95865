/* SPDX-License-Identifier: MIT */
/* Circular doubly linked lists whose nodes live inside what they link. */
#ifndef CTX_LIST_H
#define CTX_LIST_H

#include <stdatomic.h>
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

/*
 * Puts node behind where: list_insert(head) makes it first, list_insert(head->prev) last. Whenever a process
 * forks amid this or list_unlink() in another thread, the child finds a way through the list from node to
 * next.
 */
static inline void list_insert(struct list *where, struct list *node)
{
	node->next = where->next;
	node->prev = where;
	where->next->prev = node;
	atomic_signal_fence(memory_order_release);
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

/* What list_insert() and list_unlink() leave undone in a thread that a fork left behind: the way back. */
static inline void list_mend(struct list *head)
{
	struct list *node = head;

	do {
		node->next->prev = node;
		node = node->next;
	} while (node != head);
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
