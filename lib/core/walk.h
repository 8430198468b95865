/* SPDX-License-Identifier: MIT */
/*
 * Going through what is below a node without a lock over all of it, and without
 * memory: the way from the root to where the walk is stays pinned, and a pinned
 * node stays in its parent's list, from where the next sibling is found.
 */
#ifndef CTX_WALK_H
#define CTX_WALK_H

#include "node.h"

/*
 * One walk at a time, since merged nodes that a walk meets are queued by nodes of
 * their own. Taken first of all locks; no code of the program runs under it.
 */
extern struct lock walk_lock;

/*
 * Calls visit for each node below root, with the walk lock held by the caller; it
 * says whether to go on below that node. For a merged node visit gets its links first, one
 * for each parent met, and says whether to come to the node itself: that is once, when all its
 * links have been visited. Detached nodes are visited too. root must be kept by the caller.
 * Nodes that nobody holds any more are put on *dead, for node_free_all.
 *
 * Costs one visit for each node and link, and for m merged nodes O(m log m), however they hang together.
 */
void walk_below(struct ctx_context *root, bool (*visit)(struct ctx_context *node, void *data), void *data,
		struct ctx_context **dead);

/*
 * In a forked child: an inherited context above ctx, or ctx itself, that has ended, and whose end is to reach
 * ctx; NULL: there is none. Of a merged context all parents are asked, each merged one once.
 */
struct ctx_context *walk_find_ended(struct ctx_context *ctx);

/* For tests: how many visits walks have made so far. */
uint64_t walk_count_visits(void);

/* For tests: live children that can be cancelled, those behind value nodes included. */
unsigned context_count_children(const struct ctx_context *ctx);

#endif
