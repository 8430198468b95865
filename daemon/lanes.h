/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is, of many that wait: users are dealt into lanes by a keyed hash, and the lanes take turns
 * (stochastic fairness queueing: McKenney, 1990). However many one user has waiting, the first of another in
 * a lane that is not his waits for one turn of each lane at most. Nothing here costs more the more wait.
 */
#ifndef CTXD_LANES_H
#define CTXD_LANES_H

#include <stdint.h>
#include <sys/types.h>

#include "hash.h"
#include "link.h"

#define LANES 64u

struct lanes {
	struct link lanes[LANES];
	unsigned at;	/* whose turn is next */
	unsigned count; /* that wait */
};

static inline void lanes_init(struct lanes *lanes)
{
	*lanes = (struct lanes){0};
	for (unsigned i = 0; i < LANES; i++)
		link_init(&lanes->lanes[i]);
}

/* link is alone. It goes behind all others of its user. */
static inline void lanes_put(struct lanes *lanes, uid_t uid, struct link *link)
{
	link_append(&lanes->lanes[hash_bytes(&uid, sizeof(uid)) % LANES], link);
	lanes->count++;
}

/* Also for one that does not wait. */
static inline void lanes_drop(struct lanes *lanes, struct link *link)
{
	if (link_alone(link))
		return;
	link_remove(link);
	lanes->count--;
}

/* NULL: none waits. */
static inline struct link *lanes_take(struct lanes *lanes)
{
	if (!lanes->count)
		return NULL;
	while (link_alone(&lanes->lanes[lanes->at])) /* at most all the lanes */
		lanes->at = (lanes->at + 1) % LANES;
	struct link *link = lanes->lanes[lanes->at].next;
	lanes->at = (lanes->at + 1) % LANES;
	lanes_drop(lanes, link);
	return link;
}

#endif
