/* SPDX-License-Identifier: MIT */
/* Writes to the journals of the table which contexts ended, and, while somebody records, which were freed. */
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

/* Writes ctx, which is in the table and about to be freed. */
void past_write_context(const struct ctx_context *ctx);

static inline void past_context_freed(const struct ctx_context *ctx)
{
	if (control_is_on())
		past_write_context(ctx);
}

#endif
