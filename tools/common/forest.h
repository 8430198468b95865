/* SPDX-License-Identifier: MIT */
/*
 * What the hosts of a fleet have told: the hosts themselves, and their shared contexts and joins as one
 * forest. A context that was joined from another host stands, as that host's copy of it, below the original.
 */
#ifndef TOOL_FOREST_H
#define TOOL_FOREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctxring.h"
#include "selection.h"

#define FOREST_NONE UINT32_MAX

/* A shared context, or a process that joined one. The links are indexes of nodes, or FOREST_NONE. */
struct forest_node {
	uint32_t host; /* index of the host that told of it */
	/* The context that it stands below: of a copy, the original; of a join, what was joined; of others,
	 * the joined context below which their owner made them. */
	uint32_t parent;
	uint32_t first_child, next_sibling; /* joins come before contexts */
	uint32_t depth;
	uint32_t copies; /* how many copies of it other hosts have told of */
	/* Of forest_filter(): not selected, and shown only because something below it is. */
	bool beside;
	struct ctxd_entry entry;
};

struct forest {
	struct ctxd_host *hosts; /* this one first, the others by name */
	size_t host_count;
	struct forest_node *nodes;
	size_t count, room;
	uint32_t *preorder; /* indexes of nodes: roots host by host, parents before children */
	size_t shown_count; /* how many of them are to be shown: all, except after forest_filter() */
	uint32_t cycles;    /* links that were cut because they led round in a circle */
	uint64_t now_ns;    /* when the answer came */
};

/* Add a host, in the order of the hosts; and an entry of a host that was added. 0 or -ENOMEM. */
int forest_add_host(struct forest *forest, const struct ctxd_host *host);
int forest_add_entry(struct forest *forest, const struct ctxd_host *host, const struct ctxd_entry *entry);

/*
 * Links the nodes, after all were added. O(n log n) for n nodes and hosts, without recursion. 0 or -ENOMEM.
 */
int forest_link(struct forest *forest);

/*
 * Takes out of preorder what is not selected. With_ancestors keeps there, marked as beside, what the selected
 * nodes stand below; the links to children and siblings then lead from one that is kept to the next. A
 * selection of NULL leaves everything.
 */
void forest_filter(struct forest *forest, const struct selection *selection, bool with_ancestors);

/* Frees what a forest has. */
void forest_free(struct forest *forest);

#endif
