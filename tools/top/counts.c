/* SPDX-License-Identifier: MIT */
#include "counts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctxring.h"
#include "groups.h"

static void fill_total(const struct process *process, const struct stem_counters *counters, uint64_t now_ns,
		       struct top_total *total)
{
	/* The process may have a clock of its own. */
	uint64_t created_ns = process->snapshot.header.created_ns;
	uint64_t age_ns = process->now_ns > created_ns ? process->now_ns - created_ns : 0;

	*total = (struct top_total){
		.table = process->inode,
		.uid = process->uid,
		.table_created_ns = now_ns > age_ns ? now_ns - age_ns : 0,
		.begun = counters->begun,
		.ended = stem_counters_ended(counters),
		.expired = counters->ended[CTX_CAUSE_DEADLINE],
	};
	total->cancelled = total->ended > total->expired ? total->ended - total->expired : 0;
	total->ended += counters->released;
	snprintf(total->stem, sizeof(total->stem), "%s", counters->stem);
	for (size_t i = 0; i < CTX_TABLE_BUCKETS; i++)
		total->ages[i] = counters->ages[i];
}

int top_read_totals(const struct survey *survey, uint64_t now_ns, struct top_total **ret_totals,
		    size_t *ret_count)
{
	size_t count = 0, filled = 0;
	struct top_total *totals;

	for (size_t i = 0; i < survey->process_count; i++)
		count += survey->processes[i].snapshot.counters.count;
	totals = malloc((count + 1) * sizeof(*totals));
	if (!totals)
		return -ENOMEM;
	for (size_t i = 0; i < survey->process_count; i++) {
		const struct process *process = &survey->processes[i];
		const struct counters *counters = &process->snapshot.counters;

		for (uint32_t j = 0; j < counters->count; j++)
			fill_total(process, &counters->stems[j], now_ns, &totals[filled++]);
	}
	*ret_totals = totals;
	*ret_count = count;
	return 0;
}

void top_context_stem(const struct process *process, const struct reader_context *context,
		      char ret_stem[CTX_TABLE_LABEL_SIZE])
{
	const char *stem = counters_stem_at(&process->snapshot.counters, context->record.stem);

	/* A table may have stems, and a context that was not counted. */
	if (stem && (stem[0] || !context->record.label[0]))
		snprintf(ret_stem, CTX_TABLE_LABEL_SIZE, "%s", stem);
	else
		top_stem_of(context->record.label, ret_stem);
}
