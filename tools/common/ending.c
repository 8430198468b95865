/* SPDX-License-Identifier: MIT */
#include "ending.h"

struct ending ending_of(const struct snapshot *snapshot, uint32_t first)
{
	return (struct ending){.snapshot = snapshot, .first = first, .at = READER_NONE};
}

const struct reader_context *ending_next(struct ending *ending)
{
	const struct reader_context *contexts = ending->snapshot->contexts;
	uint32_t next = ending->at == READER_NONE ? ending->first : contexts[ending->at].first_child;

	for (;;) {
		ending->steps++;
		if (next == READER_NONE) {
			if (ending->at == ending->first)
				return NULL;
			next = contexts[ending->at].next_sibling;
			ending->at = contexts[ending->at].parent;
		} else if (contexts[next].record.kind == CTX_TABLE_DETACHED && next != ending->first) {
			next = contexts[next].next_sibling;
		} else {
			ending->at = next;
			return &contexts[next];
		}
	}
}

void ending_cover(struct snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];

		if (context->parent == READER_NONE || context->record.kind == CTX_TABLE_DETACHED)
			continue;
		const struct reader_context *parent = &snapshot->contexts[context->parent];
		context->covered = parent->chosen || parent->covered;
	}
}
