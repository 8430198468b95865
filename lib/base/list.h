/* SPDX-License-Identifier: MIT */
/* Circular doubly linked lists. The nodes live inside the structures that are linked. */
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
 * Puts node behind where: list_insert(head) makes it first, list_insert(head->prev) last. When a process
 * forks while another thread is in the middle of this function or of list_unlink(), the links from node to
 * next are whole in the child; list_mend() makes the links back anew.
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

/* Takes node out of its list. The links of node itself stay as they were: initialize or insert it next. */
static inline void list_unlink(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

/* Takes node out and makes it a list of its own, so that removing it twice is harmless. */
static inline void list_remove(struct list *node)
{
	list_unlink(node);
	list_init(node);
}

/* In a forked child: makes the links back anew, which a thread of the parent may have been about to set. */
static inline void list_mend(struct list *head)
{
	struct list *node = head;

	do {
		node->next->prev = node;
		node = node->next;
	} while (node != head);
}

/* Moves the nodes of the list from that stand before end to the end of the list to. */
static inline void list_splice_until(struct list *to, struct list *from, struct list *end)
{
	struct list *first = from->next, *last = end->prev;

	if (first == end)
		return;
	from->next = end;
	end->prev = from;
	first->prev = to->prev;
	to->prev->next = first;
	last->next = to;
	to->prev = last;
}

/* Moves all nodes of the list from to the end of the list to. */
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
