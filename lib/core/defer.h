/* SPDX-License-Identifier: MIT */
/* Work that is put off until everything is marked and no lock is held. */
#ifndef CTX_DEFER_H
#define CTX_DEFER_H

/* Lives in what the work is about, which has to last until run is called. */
struct deferred {
	struct deferred *next;
	void (*run)(struct deferred *deferred);
};

/* Belongs to one thread. */
struct deferred_list {
	struct deferred *first, **last;
};

static inline void deferred_list_init(struct deferred_list *list)
{
	list->first = 0;
	list->last = &list->first;
}

/* Appends deferred, which is in no list. Under any lock. */
void defer(struct deferred_list *list, struct deferred *deferred);

/* Runs all of it, in order, and leaves the list empty. No lock held. */
void deferred_run(struct deferred_list *list);

#endif
