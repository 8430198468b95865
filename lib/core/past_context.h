/* SPDX-License-Identifier: MIT */
/* Writes contexts that are freed to the journal of what is past, while somebody records. */
#ifndef CTX_PAST_CONTEXT_H
#define CTX_PAST_CONTEXT_H

#include "context.h"
#include "control.h"

/* Writes ctx, which is in the table and about to be freed. */
void past_write_context(const struct ctx_context *ctx);

static inline void past_context_freed(const struct ctx_context *ctx)
{
	if (control_is_on())
		past_write_context(ctx);
}

#endif
