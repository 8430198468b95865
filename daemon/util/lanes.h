/* SPDX-License-Identifier: MIT */
/*
 * Lanes decide whose turn it is. A keyed hash gives each user one of LANES lanes, and the lanes take turns
 * (stochastic fairness queueing: McKenney, 1990). However much one user has waiting, another user in another
 * lane waits for at most one turn of each lane. Nobody can find out who is in which lane, or choose its own.
 * Two given users share a lane with a probability of one in LANES. No call costs more the more is waiting.
 */
#ifndef CTXD_LANES_H
#define CTXD_LANES_H

#include <stdint.h>
#include <sys/types.h>

#include "hash.h"
#include "list.h"

#define LANES 1024u

struct lane {
	struct list waiting; /* What waits, of all users in this lane. The first has its turn next. */
	struct list of_busy; /* In lanes->busy, or linked to itself. */
};

struct lanes {
	struct lane lanes[LANES];
	/*
	 * The lanes in which something waits, and perhaps some where everything was removed. The first has
	 * its turn next.
	 */
	struct list busy;
	unsigned count; /* The number of those that wait. */
};

static inline void lanes_init(struct lanes *lanes)
{
	for (unsigned i = 0; i < LANES; i++) {
		list_init(&lanes->lanes[i].waiting);
		list_init(&lanes->lanes[i].of_busy);
	}
	list_init(&lanes->busy);
	lanes->count = 0;
}

/* Adds link behind all others of its user. It must be linked to itself. */
static inline void lanes_add(struct lanes *lanes, uid_t uid, struct list *link)
{
	struct lane *lane = &lanes->lanes[hash_bytes(&uid, sizeof(uid)) % LANES];

	list_append(&lane->waiting, link);
	if (list_empty(&lane->of_busy))
		list_append(&lanes->busy, &lane->of_busy);
	lanes->count++;
}

/* Does nothing if link does not wait. */
static inline void lanes_remove(struct lanes *lanes, struct list *link)
{
	if (list_empty(link))
		return;
	list_remove(link);
	lanes->count--;
}

/* Takes out the one whose turn it is. NULL: nothing waits. */
static inline struct list *lanes_take(struct lanes *lanes)
{
	struct list *link = NULL;

	while (!link && !list_empty(&lanes->busy)) {
		struct lane *lane = container_of(lanes->busy.next, struct lane, of_busy);
		list_remove(&lane->of_busy);
		if (!list_empty(&lane->waiting))
			link = lane->waiting.next;
		if (link)
			lanes_remove(lanes, link);
		if (!list_empty(&lane->waiting))
			list_append(&lanes->busy, &lane->of_busy);
	}
	return link;
}

#endif
