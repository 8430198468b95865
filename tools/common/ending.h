/* SPDX-License-Identifier: MIT */
/*
 * Which contexts end with another one: those below it, except detached ones, which stand below their parent
 * but do not end with it, and what is below these.
 */
#ifndef TOOL_ENDING_H
#define TOOL_ENDING_H

#include "reader.h"

/*
 * A walk through the contexts that end with one, that one first. All steps together are at most two for each
 * context that it gives, and one for each detached one that it leaves out.
 */
struct ending {
	const struct snapshot *snapshot;
	uint32_t first; /* the context that ends */
	uint32_t at;	/* the context that was given last; READER_NONE: none was */
	uint64_t steps;
};

/* Returns the walk from the context of that index. */
struct ending ending_of(const struct snapshot *snapshot, uint32_t first);

/* Returns the next context, or NULL. */
const struct reader_context *ending_next(struct ending *ending);

/* Sets `covered` of each context that ends with another one of those that are `chosen`. One step for each
 * context. */
void ending_cover(struct snapshot *snapshot);

#endif
