/* SPDX-License-Identifier: MIT */
/* Writes contexts that are freed to the journal of what is past, while somebody records. */
#ifndef CTX_PAST_CONTEXT_H
#define CTX_PAST_CONTEXT_H

#include "control.h"

/* Writes the context of slot, whose record it is, and which is about to be freed. */
void past_write_context(const struct ctx_table_context *record, uint32_t slot);

static inline void past_context_freed(const struct ctx_table_context *record, uint32_t slot)
{
	if (control_is_on())
		past_write_context(record, slot);
}

#endif
