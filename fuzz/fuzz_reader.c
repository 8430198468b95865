/* SPDX-License-Identifier: MIT */
/* Fuzzes the reading of a context table, which a hostile process may have written. Everything that the reader
 * returns is visited. */
#include <stdlib.h>
#include <string.h>

#include "reader.h"

static volatile uint64_t sink; /* written so that the compiler keeps all of the walk */

static void walk_snapshot(const struct snapshot *snapshot)
{
	uint64_t steps = 0;

	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		const struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];
		steps += strlen(context->record.label);
		for (uint32_t j = context->first_operation; j != READER_NONE;
		     j = snapshot->operations[j].next)
			steps += snapshot->operations[j].record.opcode;
		for (uint32_t j = context->first_child; j != READER_NONE;
		     j = snapshot->contexts[j].next_sibling)
			if (snapshot->contexts[j].parent != snapshot->preorder[i])
				abort();
		uint32_t up = snapshot->preorder[i], depth = 0;
		for (; snapshot->contexts[up].parent != READER_NONE && depth < 64; depth++)
			up = snapshot->contexts[up].parent;
		if (context->cause != READER_NONE)
			steps += strlen(snapshot->causes[context->cause].text);
		if (context->origin != READER_NONE)
			steps += snapshot->contexts[context->origin].slot;
	}
	for (uint32_t i = 0; i < snapshot->ring_count; i++)
		steps += snapshot->rings[i].record.fd;
	for (uint32_t i = 0; i < snapshot->counters.count; i++) {
		const struct stem_counters *stem = &snapshot->counters.stems[i];
		steps += strlen(stem->stem) + stem->begun + histogram_percentile(stem->ages, 0.99);
	}
	sink = steps;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[READER_REASON_SIZE];
	struct reader_range ranges[READER_RANGES];
	struct snapshot snapshot;
	void *bytes = aligned_alloc(8, (size + 15) / 8 * 8);

	memcpy(bytes, data, size);
	if (!snapshot_read(bytes, size, 1 << 20, &snapshot, reason)) {
		walk_snapshot(&snapshot);
		snapshot_free(&snapshot);
	}
	snapshot_ranges(bytes, size, size, ranges, reason);
	free(bytes);
	return 0;
}
