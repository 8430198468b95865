/* SPDX-License-Identifier: MIT */
/*
 * The metrics as text, in two formats that differ in little: OpenMetrics names the family of a counter
 * without "_total", has a line for the unit of a family, and says where the text ends. In the older format of
 * Prometheus a histogram has a count.
 *
 * The histograms have one bound for each factor of four, from a microsecond to ten hours. They have no sum,
 * since the table has none. In OpenMetrics a histogram without a sum must not have a count; the older format
 * takes a count alone.
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "ctxring.h"
#include "json.h"
#include "stats.h"

/* Every fourth bucket ends with a power of four. */
#define BOUND_STEP 4u

struct writing {
	FILE *to;
	enum stats_format format;
	const struct stats *stats;
};

/* Writes the value of a label. What could harm a terminal, or is not UTF-8, is escaped first. */
static void write_value(const struct writing *writing, const char *text)
{
	char quoted[ESCAPED_SIZE];

	fputs_unlocked(json_text(text, quoted, sizeof(quoted)), writing->to);
}

static void write_family(const struct writing *writing, const char *name, const char *type, const char *unit,
			 const char *help)
{
	bool is_counter = strcmp(type, "counter") == 0;
	const char *suffix = is_counter && writing->format == STATS_PLAIN ? "_total" : "";

	fprintf(writing->to, "# TYPE %s%s %s\n", name, suffix, type);
	if (unit && writing->format == STATS_OPENMETRICS)
		fprintf(writing->to, "# UNIT %s %s\n", name, unit);
	fprintf(writing->to, "# HELP %s%s %s\n", name, suffix, help);
}

static void write_gauge(const struct writing *writing, const char *name, const char *help, uint64_t value)
{
	write_family(writing, name, "gauge", NULL, help);
	fprintf(writing->to, "%s %" PRIu64 "\n", name, value);
}

/* ---- sums over all processes */

static void write_opcodes(const struct writing *writing)
{
	write_family(writing, "ctxring_operations", "gauge", NULL, "Operations in flight by opcode.");
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (writing->stats->by_opcode[i])
			fprintf(writing->to, "ctxring_operations{opcode=\"%s\"} %" PRIu64 "\n",
				i < NAMES_OPCODES ? ctx_opcode_name(i) : "others",
				writing->stats->by_opcode[i]);
}

static void write_sums(const struct writing *writing)
{
	const struct stats *stats = writing->stats;

	write_gauge(writing, "ctxring_processes", "Processes with a readable context table.",
		    stats->processes);
	write_gauge(writing, "ctxring_unreadable_processes",
		    "Processes with a context table that could not be read.", stats->unreadable);
	write_gauge(writing, "ctxring_rings", "Open ctx rings.", stats->rings);
	write_family(writing, "ctxring_contexts", "gauge", NULL, "Contexts by state.");
	fprintf(writing->to,
		"ctxring_contexts{state=\"live\"} %" PRIu64 "\nctxring_contexts{state=\"cancelled\"} %" PRIu64
		"\nctxring_contexts{state=\"expired\"} %" PRIu64 "\n",
		stats->live, stats->cancelled, stats->expired);
	write_opcodes(writing);
	write_gauge(writing, "ctxring_batches", "Batches of cancels of the rings that are open now.",
		    stats->batches);
	write_family(writing, "ctxring_oldest_context_seconds", "gauge", "seconds",
		     "Age of the oldest live context.");
	fprintf(writing->to, "ctxring_oldest_context_seconds %.3f\n", (double)stats->oldest_ns / 1e9);
	write_gauge(writing, "ctxd_clients", "Clients of the service.", stats->clients);
	write_gauge(writing, "ctxd_published", "Clients that published their table.", stats->published);
	write_gauge(writing, "ctxd_shared_contexts", "Live shared contexts.", stats->shared);
	write_gauge(writing, "ctxd_joins", "Joins of shared contexts.", stats->joined);
}

/* ---- one series for each process and stem */

/* A family of which each row has one number at this place. */
struct row_family {
	const char *name, *help;
	size_t place;
	bool is_counter;
};

#define COUNTER(field) (offsetof(struct stats_row, counters) + offsetof(struct stem_counters, field))

static const struct row_family row_families[] = {
	{"ctxring_live_contexts", "Live contexts by label.", offsetof(struct stats_row, live), false},
	{"ctxring_operations_in_flight", "Operations in flight by label.",
	 offsetof(struct stats_row, operations), false},
	{"ctxring_contexts_begun", "Contexts that were made.", COUNTER(begun), true},
	{"ctxring_contexts_released", "Contexts that were freed while they were live.", COUNTER(released),
	 true},
	{"ctxring_operations_begun", "Operations that were submitted.", COUNTER(operations_begun), true},
	{"ctxring_operations_finished", "Operations that came to their final completion.",
	 COUNTER(operations_finished), true},
	{"ctxring_operations_cancelled", "Operations that ended because their context did.",
	 COUNTER(operations_cancelled), true},
};

/* Writes a name with its labels, except for the brace that closes them. */
static void write_labels(const struct writing *writing, const char *name, const char *suffix,
			 const struct stats_row *row)
{
	fprintf(writing->to, "%s%s{process=\"", name, suffix);
	write_value(writing, row->process->name);
	fprintf(writing->to, "\",pid=\"%d\",label=\"", (int)row->process->pid);
	write_value(writing, row->stem);
	putc_unlocked('"', writing->to);
	if (row->table)
		fprintf(writing->to, ",table=\"%u\"", row->table + 1);
}

static void write_numbers(const struct writing *writing, const struct row_family *family)
{
	write_family(writing, family->name, family->is_counter ? "counter" : "gauge", NULL, family->help);
	for (size_t i = 0; i < writing->stats->row_count; i++) {
		const struct stats_row *row = &writing->stats->rows[i];
		uint64_t value;

		if (family->is_counter && !row->counted)
			continue;
		memcpy(&value, (const char *)row + family->place, sizeof(value));
		write_labels(writing, family->name, family->is_counter ? "_total" : "", row);
		fprintf(writing->to, "} %" PRIu64 "\n", value);
	}
}

/* The two causes that every program has are there also with 0, so that a rate knows their beginning. */
static bool is_always_written(unsigned kind)
{
	return kind == CTX_CAUSE_CALL || kind == CTX_CAUSE_DEADLINE;
}

static void write_ends(const struct writing *writing)
{
	write_family(writing, "ctxring_contexts_ended", "counter", NULL,
		     "Contexts that ended, by kind of cause.");
	for (size_t i = 0; i < writing->stats->row_count; i++) {
		const struct stats_row *row = &writing->stats->rows[i];

		for (unsigned kind = 0; row->counted && kind <= CTX_CAUSE_UNREACHABLE; kind++) {
			if (!row->counters.ended[kind] && !is_always_written(kind))
				continue;
			write_labels(writing, "ctxring_contexts_ended", "_total", row);
			fprintf(writing->to, ",cause=\"%s\"} %" PRIu64 "\n",
				ctx_cause_kind_name((enum ctx_cause_kind)kind), row->counters.ended[kind]);
		}
	}
}

static void write_histogram(const struct writing *writing, const struct stats_row *row, const char *name,
			    const uint64_t *buckets)
{
	uint64_t sum = 0;

	for (unsigned bucket = 0; bucket < CTX_TABLE_BUCKETS; bucket++) {
		sum = UINT64_MAX - sum < buckets[bucket] ? UINT64_MAX : sum + buckets[bucket];
		if (bucket % BOUND_STEP && bucket != CTX_TABLE_BUCKETS - 1)
			continue;
		write_labels(writing, name, "_bucket", row);
		if (bucket == CTX_TABLE_BUCKETS - 1)
			fprintf(writing->to, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
		else
			fprintf(writing->to, ",le=\"%.9g\"} %" PRIu64 "\n",
				(double)histogram_bound(bucket) / 1e9, sum);
	}
	if (writing->format == STATS_PLAIN) {
		write_labels(writing, name, "_count", row);
		fprintf(writing->to, "} %" PRIu64 "\n", sum);
	}
}

static void write_histograms(const struct writing *writing, const char *name, const char *help, size_t place)
{
	write_family(writing, name, "histogram", "seconds", help);
	for (size_t i = 0; i < writing->stats->row_count; i++) {
		const struct stats_row *row = &writing->stats->rows[i];

		if (row->counted)
			write_histogram(writing, row, name,
					(const uint64_t *)(const void *)((const char *)row + place));
	}
}

void stats_write_metrics(const struct stats *stats, enum stats_format format, FILE *to)
{
	struct writing writing = {.to = to, .format = format, .stats = stats};

	write_sums(&writing);
	for (size_t i = 0; i < sizeof(row_families) / sizeof(*row_families); i++)
		write_numbers(&writing, &row_families[i]);
	write_ends(&writing);
	write_histograms(&writing, "ctxring_context_age_seconds", "Age of contexts when they ended.",
			 COUNTER(ages));
	write_histograms(&writing, "ctxring_cancel_seconds",
			 "Time from the end of a context to the last completion of its operations on a ring.",
			 COUNTER(cancels));
	if (format == STATS_OPENMETRICS)
		fputs("# EOF\n", to);
}
