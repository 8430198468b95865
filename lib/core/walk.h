/* SPDX-License-Identifier: MIT */
/*
 * Walking through all nodes below a node, without one lock over all of them and without memory. The walk has
 * a reference on each node on the way from the root to where it stands. A node with a reference stays in its
 * parent's list, from where the walk finds the next sibling.
 */
#ifndef CTX_WALK_H
#define CTX_WALK_H

#include "node.h"

/*
 * There is one walk at a time, because a merged node has only one place to be queued in (struct merge,
 * walk_node). This lock is taken before all others; no function of the program is called under it.
 */
extern struct lock walk_lock;

/*
 * Calls visit for each node below root. visit returns whether to go on below that node. A merged node is
 * visited in two steps. First visit gets its links, one for each parent that the walk comes through, and
 * returns whether to go on to the node. Then, after all these links, it gets the node itself, once. Detached
 * nodes are visited too. The caller holds the walk lock and has a reference on root. Nodes that have no
 * reference any more are put on *dead, for node_free_all().
 *
 * Costs one visit for each node and link, and O(m log m) for m merged nodes, however they are connected.
 */
void walk_below(struct ctx_context *root, bool (*visit)(struct ctx_context *node, void *data), void *data,
		struct ctx_context **dead);

/*
 * For a forked child: returns an inherited context that has ended and whose end has to reach ctx. It is above
 * ctx, or ctx itself. NULL: there is none. Looks at all parents of merged contexts, and at each merged
 * context once.
 */
struct ctx_context *walk_find_ended(struct ctx_context *ctx);

/* For tests: how many visits walks have made so far. */
uint64_t walk_count_visits(void);

/* For tests: how many live children can be cancelled. Children of value nodes below ctx count as children of
 * ctx. */
unsigned context_count_children(const struct ctx_context *ctx);

#endif
