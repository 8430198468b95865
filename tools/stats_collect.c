/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "format.h"
#include "service.h"
#include "stats.h"
#include "stem.h"

/* The contexts and counters of one stem, before the rows are chosen. */
struct part {
	char stem[CTX_TABLE_LABEL_SIZE];
	uint64_t live, operations;
	const struct stem_counters *counters; /* NULL: it has none */
};

/* All stems of one process. They are found by a hash table, since a library that does not count may have any
 * number of them. */
struct parts {
	struct part *parts;
	uint32_t count, room;
	uint32_t *buckets;		 /* twice as many as there is room for parts: 1 + an index, or 0 */
	uint32_t slots[CTX_TABLE_STEMS]; /* the same by the slot of a stem in the table */
};

static uint32_t hash_of(const char *stem)
{
	uint32_t hash = 0x811c9dc5;

	for (; *stem; stem++)
		hash = (hash ^ (unsigned char)*stem) * 0x01000193;
	return hash ^ hash >> 15;
}

/* Returns the place in the hash table at which the stem is, or belongs. */
static uint32_t *find_bucket(const struct parts *parts, const char *stem)
{
	uint32_t mask = 2 * parts->room - 1;

	for (uint32_t at = hash_of(stem) & mask;; at = (at + 1) & mask) {
		uint32_t *bucket = &parts->buckets[at];

		if (!*bucket || strcmp(parts->parts[*bucket - 1].stem, stem) == 0)
			return bucket;
	}
}

static int grow_parts(struct parts *parts)
{
	uint32_t room = parts->room ? 2 * parts->room : 64;
	struct part *larger = realloc(parts->parts, room * sizeof(*larger));
	uint32_t *buckets;

	if (!larger)
		return -ENOMEM;
	parts->parts = larger;
	buckets = calloc(2 * (size_t)room, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(parts->buckets);
	parts->buckets = buckets;
	parts->room = room;
	for (uint32_t i = 0; i < parts->count; i++)
		*find_bucket(parts, larger[i].stem) = i + 1;
	return 0;
}

/* Returns 1 + the index of the part of that stem, which it makes if needed; 0: no memory. */
static uint32_t take_part(struct parts *parts, const char *stem)
{
	uint32_t *bucket;

	if (parts->count == parts->room && grow_parts(parts))
		return 0;
	bucket = find_bucket(parts, stem);
	if (!*bucket) {
		parts->parts[parts->count] = (struct part){0};
		memcpy(parts->parts[parts->count].stem, stem, strlen(stem));
		*bucket = ++parts->count;
	}
	return *bucket;
}

/* The same for the part of a context: by the slot that its record names, or else by its label. */
static uint32_t part_of(struct parts *parts, const struct counters *counters,
			const struct ctx_table_context *record)
{
	const char *text = counters_stem_at(counters, record->stem);
	char stem[CTX_TABLE_LABEL_SIZE];

	if (!text || record->stem >= CTX_TABLE_STEMS) {
		table_stem_of(record->label, stem);
		return take_part(parts, stem);
	}
	if (!parts->slots[record->stem])
		parts->slots[record->stem] = take_part(parts, text);
	return parts->slots[record->stem];
}

static int add_contexts(struct stats *stats, struct parts *parts, const struct process *process)
{
	const struct snapshot *snapshot = &process->snapshot;

	for (uint32_t i = 0; i < snapshot->shown_count; i++) {
		const struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];
		uint32_t part;

		if (!(context->record.state & CTX_TABLE_LIVE)) {
			bool expired = strcmp(state_name(context->record.state), "expired") == 0;

			stats->cancelled += !expired;
			stats->expired += expired;
		} else {
			uint64_t age = age_ns(process, context->record.created_ns);

			stats->live++;
			stats->oldest_ns = age > stats->oldest_ns ? age : stats->oldest_ns;
		}
		/* Operations of a context that is done may still be in flight. */
		if (!(context->record.state & CTX_TABLE_LIVE) && !context->operation_count)
			continue;
		part = part_of(parts, &snapshot->counters, &context->record);
		if (!part)
			return -ENOMEM;
		parts->parts[part - 1].live += (context->record.state & CTX_TABLE_LIVE) != 0;
		parts->parts[part - 1].operations += context->operation_count;
	}
	return 0;
}

static int add_counters(struct parts *parts, const struct counters *counters)
{
	for (uint32_t i = 0; i < counters->count; i++) {
		uint32_t part = take_part(parts, counters->stems[i].stem);

		if (!part)
			return -ENOMEM;
		parts->parts[part - 1].counters = &counters->stems[i];
	}
	return 0;
}

/* The stem "other" comes last: it is added to the rest, because a series may be there only once. */
static int compare_use(const void *left, const void *right)
{
	const struct part *a = left, *b = right;
	bool a_other = strcmp(a->stem, STATS_OTHER) == 0, b_other = strcmp(b->stem, STATS_OTHER) == 0;
	uint64_t a_begun = a->counters ? a->counters->begun : 0;
	uint64_t b_begun = b->counters ? b->counters->begun : 0;

	if (a_other != b_other)
		return a_other ? 1 : -1;
	if (a_begun != b_begun)
		return a_begun > b_begun ? -1 : 1;
	if (a->live != b->live)
		return a->live > b->live ? -1 : 1;
	return strcmp(a->stem, b->stem);
}

static void add_rows(struct stats *stats, struct parts *parts, struct process *process, unsigned table)
{
	struct stats_row *rows = &stats->rows[stats->row_count];

	if (parts->count)
		qsort(parts->parts, parts->count, sizeof(*parts->parts), compare_use);
	for (uint32_t i = 0; i < parts->count; i++) {
		const struct part *part = &parts->parts[i];
		bool is_rest = i >= STATS_STEMS_MAX;
		struct stats_row *row = &rows[is_rest ? STATS_STEMS_MAX : i];

		row->process = process;
		row->table = table;
		row->live += part->live;
		row->operations += part->operations;
		row->counted = process->snapshot.counters.present;
		if (part->counters)
			stem_counters_add(&row->counters, part->counters);
		strcpy(row->stem, is_rest ? STATS_OTHER : part->stem);
	}
	stats->row_count += parts->count <= STATS_STEMS_MAX ? parts->count : STATS_STEMS_MAX + 1;
}

static int add_process(struct stats *stats, struct process *process, unsigned table)
{
	const struct snapshot *snapshot = &process->snapshot;
	struct parts parts = {0};
	int result;

	stats->processes++;
	stats->rings += snapshot->ring_count;
	stats->operations += snapshot->operation_count;
	for (uint32_t i = 0; i < snapshot->ring_count; i++)
		stats->batches += snapshot->rings[i].record.batches;
	for (uint32_t i = 0; i < snapshot->operation_count; i++) {
		unsigned opcode = snapshot->operations[i].record.opcode;

		stats->by_opcode[opcode < NAMES_OPCODES ? opcode : NAMES_OPCODES]++;
	}
	result = add_contexts(stats, &parts, process);
	if (!result)
		result = add_counters(&parts, &snapshot->counters);
	if (!result)
		add_rows(stats, &parts, process, table);
	free(parts.parts);
	free(parts.buckets);
	return result;
}

static void add_service(struct stats *stats)
{
	size_t count;
	const struct ctxd_entry *entries = service_entries(&count);

	for (size_t i = 0; i < count; i++) {
		stats->clients += entries[i].kind == CTXD_PROCESS;
		stats->published += entries[i].kind == CTXD_PROCESS && entries[i].table;
		stats->shared += entries[i].kind == CTXD_SHARED && !entries[i].ended_ns;
		stats->joined += entries[i].kind == CTXD_JOINED;
	}
}

/* A process that has several copies of the library has as many tables. */
static unsigned count_earlier_tables(const struct survey *survey, size_t process)
{
	unsigned count = 0;

	for (size_t i = 0; i < process; i++)
		count += survey->processes[i].pid == survey->processes[process].pid;
	return count;
}

int stats_collect(const struct survey *survey, bool with_service, struct stats *ret_stats)
{
	struct stats stats = {0};
	int result = 0;

	*ret_stats = stats;
	stats.rows = calloc(survey->process_count + 1, (STATS_STEMS_MAX + 1) * sizeof(*stats.rows));
	if (!stats.rows)
		return -ENOMEM;
	for (size_t i = 0; i < survey->process_count && !result; i++)
		result = add_process(&stats, &survey->processes[i], count_earlier_tables(survey, i));
	for (size_t i = 0; i < survey->unreadable_count; i++)
		stats.unreadable += !survey->unreadables[i].missing;
	if (result) {
		stats_free(&stats);
		return result;
	}
	if (with_service)
		add_service(&stats);
	*ret_stats = stats;
	return 0;
}

void stats_free(struct stats *stats)
{
	free(stats->rows);
	*stats = (struct stats){0};
}

uint64_t stats_row_ended(const struct stats_row *row)
{
	return stem_counters_ended(&row->counters) + row->counters.released;
}

uint64_t stats_row_cancelled(const struct stats_row *row)
{
	uint64_t ended = stem_counters_ended(&row->counters);
	uint64_t expired = row->counters.ended[CTX_CAUSE_DEADLINE];

	return ended > expired ? ended - expired : 0;
}
