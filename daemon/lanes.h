/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is, of many that wait: users are dealt into lanes by a keyed hash, and the lanes take turns
 * (stochastic fairness queueing: McKenney, 1990). However many one user has waiting, the first of another in
 * a lane that is not his waits for one turn of each lane at most. Nobody can tell who is in which lane, or
 * choose his own; that a given user is in that of another has a chance of one in LANES. Nothing here costs
 * more the more wait.
 */
#ifndef CTXD_LANES_H
#define CTXD_LANES_H

#include <stdint.h>
#include <sys/types.h>

#include "hash.h"
#include "list.h"

#define LANES 1024u

struct lane {
	struct list waiting; /* the first of its users' has its turn first */
	struct list of_busy; /* or alone */
};

struct lanes {
	struct lane lanes[LANES];
	/* Those in which something waits, or did until it was dropped; the next to have its turn is first. */
	struct list busy;
	unsigned count; /* that wait */
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

/* link is alone. It goes behind all others of its user. */
static inline void lanes_add(struct lanes *lanes, uid_t uid, struct list *link)
{
	struct lane *lane = &lanes->lanes[hash_bytes(&uid, sizeof(uid)) % LANES];

	list_append(&lane->waiting, link);
	if (list_empty(&lane->of_busy))
		list_append(&lanes->busy, &lane->of_busy);
	lanes->count++;
}

/* Also for one that does not wait. */
static inline void lanes_remove(struct lanes *lanes, struct list *link)
{
	if (list_empty(link))
		return;
	list_remove(link);
	lanes->count--;
}

/* NULL: none waits. */
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
