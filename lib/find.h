/* SPDX-License-Identifier: MIT */
/*
 * From the id of a context in this process's table to the context: for requests that come from outside.
 *
 * A record leads to its node, but does not keep it. Whoever frees a node therefore first takes the way to it
 * away and then looks whether anybody is on that way; whoever looks a node up says so, and makes that seen by
 * all threads with membarrier(2), before the first step. So freeing costs one load, and the looking up pays.
 */
#ifndef CTX_FIND_H
#define CTX_FIND_H

#include "node.h"

/* Once before the first context_find. 0, or -ENOTSUP: membarrier(2) is not to be had here. */
int find_enable(void);

/* The live context of that id, pinned: node_drop() it. NULL: there is none. May block for a moment. */
struct ctx_context *context_find(uint64_t id);

#endif
