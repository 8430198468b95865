/* SPDX-License-Identifier: MIT */
/* Deferred work: what has to wait until all nodes of a sweep are marked and no lock is held. */
#ifndef CTX_DEFER_H
#define CTX_DEFER_H

/* One piece of work. It lies in the structure that the work is about, which must last until run is called. */
struct deferred {
	struct deferred *next;
	void (*run)(struct deferred *deferred);
};

/* The deferred work of one thread, in the order in which it came. */
struct deferred_list {
	struct deferred *first, **last;
};

static inline void deferred_list_init(struct deferred_list *list)
{
	list->first = 0;
	list->last = &list->first;
}

/* Appends deferred, which is in no list. May be called with any lock held. */
void defer(struct deferred_list *list, struct deferred *deferred);

/* Runs all work of the list in order, and leaves the list empty. No lock held. */
void deferred_run(struct deferred_list *list);

#endif
