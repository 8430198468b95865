/* SPDX-License-Identifier: MIT */
/*
 * The counters of processes as OpenMetrics text: one series for each process and stem of labels. Of stems a
 * process has at most a hundred and twenty-eight; those beyond STEMS_MAX, the least used ones, are added up
 * as "other", so that the sums stay right.
 *
 * The histograms have one bound for each factor of four, from a microsecond to ten hours. They have no sum,
 * since the table has none, and so no count either: OpenMetrics has both or neither.
 */
#include "stats_metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"

#define STEMS_MAX 20u
#define OTHER "other"
/* Every fourth bucket ends with a power of four. */
#define BOUND_STEP 4u

/* The stems of one process that are shown, most used first, and the sum of the others. */
struct shown {
	const struct process *process;
	struct stem_counters stems[STEMS_MAX + 1];
	unsigned count;
	unsigned table; /* which of the tables of its process, if it has more than one copy of the library */
};

static bool is_other(const struct stem_counters *stem)
{
	return !strcmp(stem->stem, OTHER);
}

static int compare_use(const void *left, const void *right)
{
	const struct stem_counters *a = *(const struct stem_counters *const *)left,
				   *b = *(const struct stem_counters *const *)right;

	if (is_other(a) != is_other(b))
		return is_other(a) ? 1 : -1;
	if (a->begun != b->begun)
		return a->begun > b->begun ? -1 : 1;
	return strcmp(a->stem, b->stem);
}

static void choose_stems(const struct process *process, struct shown *ret_shown)
{
	const struct counters *counters = &process->snapshot.counters;
	const struct stem_counters *order[CTX_TABLE_STEMS];

	*ret_shown = (struct shown){.process = process};
	for (uint32_t i = 0; i < counters->count; i++)
		order[i] = &counters->stems[i];
	if (counters->count)
		qsort(order, counters->count, sizeof(*order), compare_use);
	for (uint32_t i = 0; i < counters->count; i++) {
		struct stem_counters *to = &ret_shown->stems[i < STEMS_MAX ? i : STEMS_MAX];
		ret_shown->count = i < STEMS_MAX ? i + 1 : STEMS_MAX + 1;
		stem_counters_add(to, order[i]);
		memcpy(to->stem, i < STEMS_MAX ? order[i]->stem : OTHER,
		       i < STEMS_MAX ? sizeof(to->stem) : sizeof(OTHER));
	}
}

/* Prints the value of a label, in which three characters have a meaning. */
static void print_value(const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			putchar('\\');
		if (*text == '\n')
			fputs("\\n", stdout);
		else
			putchar(*text);
	}
}

static void print_labels(const char *name, const struct shown *shown, unsigned stem)
{
	printf("%s{process=\"", name);
	print_value(shown->process->name);
	printf("\",pid=\"%d\",label=\"", (int)shown->process->pid);
	print_value(shown->stems[stem].stem);
	putchar('"');
	if (shown->table)
		printf(",table=\"%u\"", shown->table + 1);
}

static void print_family(const char *name, const char *type, const char *unit, const char *help)
{
	printf("# TYPE %s %s\n", name, type);
	if (unit)
		printf("# UNIT %s %s\n", name, unit);
	printf("# HELP %s %s\n", name, help);
}

/* A family of counters, of which each stem has one at this place. */
struct counter_family {
	const char *name, *help;
	size_t place;
};

static const struct counter_family counter_families[] = {
	{"ctxring_contexts_begun", "Contexts that were made.", offsetof(struct stem_counters, begun)},
	{"ctxring_contexts_released", "Contexts that were freed while they were live.",
	 offsetof(struct stem_counters, released)},
	{"ctxring_operations_begun", "Operations that were submitted.",
	 offsetof(struct stem_counters, operations_begun)},
	{"ctxring_operations_finished", "Operations that came to their final completion.",
	 offsetof(struct stem_counters, operations_finished)},
	{"ctxring_operations_cancelled", "Operations that ended because their context did.",
	 offsetof(struct stem_counters, operations_cancelled)},
};

static void print_counters(const struct shown *shown, size_t count, const struct counter_family *family)
{
	char name[80];

	print_family(family->name, "counter", NULL, family->help);
	snprintf(name, sizeof(name), "%s_total", family->name);
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < shown[i].count; j++) {
			uint64_t value;
			memcpy(&value, (const char *)&shown[i].stems[j] + family->place, sizeof(value));
			print_labels(name, &shown[i], j);
			printf("} %" PRIu64 "\n", value);
		}
}

static void print_ends(const struct shown *shown, size_t count)
{
	print_family("ctxring_contexts_ended", "counter", NULL, "Contexts that ended, by kind of cause.");
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < shown[i].count; j++)
			for (unsigned kind = 0; kind <= CTX_CAUSE_UNREACHABLE; kind++) {
				if (!shown[i].stems[j].ended[kind])
					continue;
				print_labels("ctxring_contexts_ended_total", &shown[i], j);
				printf(",cause=\"%s\"} %" PRIu64 "\n",
				       ctx_cause_kind_name((enum ctx_cause_kind)kind),
				       shown[i].stems[j].ended[kind]);
			}
}

static void print_histogram(const struct shown *shown, unsigned stem, const char *name,
			    const uint64_t *buckets)
{
	uint64_t sum = 0;

	for (unsigned bucket = 0; bucket < CTX_TABLE_BUCKETS; bucket++) {
		sum += buckets[bucket];
		if (bucket % BOUND_STEP && bucket != CTX_TABLE_BUCKETS - 1)
			continue;
		print_labels(name, shown, stem);
		if (bucket == CTX_TABLE_BUCKETS - 1)
			printf(",le=\"+Inf\"} %" PRIu64 "\n", sum);
		else
			printf(",le=\"%.9g\"} %" PRIu64 "\n", (double)histogram_bound(bucket) / 1e9, sum);
	}
}

static void print_histograms(const struct shown *shown, size_t count)
{
	print_family("ctxring_context_age_seconds", "histogram", "seconds",
		     "Age of contexts when they ended.");
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < shown[i].count; j++)
			print_histogram(&shown[i], j, "ctxring_context_age_seconds_bucket",
					shown[i].stems[j].ages);
	print_family("ctxring_cancel_seconds", "histogram", "seconds",
		     "Time from the end of a context to the last completion of its operations on a ring.");
	for (size_t i = 0; i < count; i++)
		for (unsigned j = 0; j < shown[i].count; j++)
			if (histogram_count(shown[i].stems[j].cancels))
				print_histogram(&shown[i], j, "ctxring_cancel_seconds_bucket",
						shown[i].stems[j].cancels);
}

int stats_print_counters(const struct survey *survey)
{
	struct shown *shown = calloc(survey->process_count + 1, sizeof(*shown));

	if (!shown)
		return -1;
	for (size_t i = 0; i < survey->process_count; i++)
		choose_stems(&survey->processes[i], &shown[i]);
	for (size_t i = 1; i < survey->process_count; i++)
		if (survey->processes[i].pid == survey->processes[i - 1].pid)
			shown[i].table = shown[i - 1].table + 1;
	for (size_t i = 0; i < sizeof(counter_families) / sizeof(*counter_families); i++)
		print_counters(shown, survey->process_count, &counter_families[i]);
	print_ends(shown, survey->process_count);
	print_histograms(shown, survey->process_count);
	free(shown);
	return 0;
}
