/* SPDX-License-Identifier: MIT */
/* Writes to the journal of ends with which contexts ends began. */
#ifndef CTX_PAST_H
#define CTX_PAST_H

#include "journal.h"
#include "sweep.h"

/* Writes the end that began with ctx, which is done and in the table, unless it has been written. below is
 * how many contexts ended with it. */
void past_write_end(struct ctx_context *ctx, uint32_t below);

/*
 * As past_write_end() for the context with which the end of ctx began. For a ring that has operations of ctx.
 * Returns the id of that context; 0: ctx is live, since its ring is being closed, or it is not in the table.
 */
uint64_t past_write_origin(struct ctx_context *ctx);

/* Whether an end says why it came, so that it is written also where nobody noticed it. */
static inline bool past_has_reason(const struct end *end)
{
	return end->kind != CTX_CAUSE_CALL || end->text || end->code;
}

/* Whether somebody notices that ctx has ended: other than rings, which write it when they have operations. */
bool past_has_audience(struct ctx_context *ctx, uint32_t state_before);

#endif
