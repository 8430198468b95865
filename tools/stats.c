/* SPDX-License-Identifier: MIT */
/*
 * ctxtool stats: prints sums as text, JSON or OpenMetrics text. Labels of contexts become labels of metrics,
 * of which there must not be many. So only the most frequent ones have a line each; the rest are summed as
 * "other".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "ctxring.h"
#include "format.h"
#include "json.h"
#include "names.h"
#include "service.h"
#include "stats_metrics.h"

#define LABELS_MAX 20
#define REST "other"

static const char help[] =
	"Usage: ctxtool stats [OPTION...] [SELECTION]\n"
	"Print sums over all processes: contexts, operations in flight, batches of cancels, and what\n"
	"the service knows.\n"
	"\n"
	"  -m, --openmetrics      print OpenMetrics text, for the textfile collector of a node exporter\n"
	"  -a, --all              count the contexts of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"Contexts are counted by label: the 20 most frequent labels, and the rest as \"other\". Of a label\n"
	"what follows the first blank, slash, colon or digit is left out, so that ids and paths do not\n"
	"make labels of their own.\n"
	"Exit codes: 0 shown, 1 nothing found, 2 wrong usage, 3 something could not be read, 4 no memory,\n"
	"or the output failed.\n";

struct label_sum {
	char label[CTX_LABEL_MAX + 1];
	uint64_t live, operations;
};

struct sums {
	uint64_t processes, rings, live, cancelled, expired, operations, batches, oldest_ns;
	uint64_t by_opcode[NAMES_OPCODES + 1]; /* the last sums up opcodes without a name */
	uint64_t clients, published, shared, joined;
	struct label_sum *labels; /* most frequent first */
	size_t label_count;
};

/* Copies the part of a label that several contexts may have in common. */
static void copy_stem(const char *label, char stem[CTX_LABEL_MAX + 1])
{
	size_t length = strcspn(label, " /:0123456789");

	length = length > CTX_LABEL_MAX ? CTX_LABEL_MAX : length;
	memcpy(stem, label, length);
	stem[length] = '\0';
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(((const struct label_sum *)left)->label, ((const struct label_sum *)right)->label);
}

static bool is_rest(const struct label_sum *sum)
{
	return strcmp(sum->label, REST) == 0;
}

static int compare_counts(const void *left, const void *right)
{
	const struct label_sum *a = left, *b = right;

	/* Contexts with the label "other" are added to the rest: OpenMetrics allows a series only once. */
	if (is_rest(a) != is_rest(b))
		return is_rest(a) ? 1 : -1;
	if (a->live != b->live)
		return a->live > b->live ? -1 : 1;
	return strcmp(a->label, b->label);
}

/* Adds up equal labels, sorts by frequency, and sums up all beyond LABELS_MAX in one more entry. */
static void fold_labels(struct sums *sums)
{
	size_t kept = 0;

	qsort(sums->labels, sums->label_count, sizeof(*sums->labels), compare_names);
	for (size_t i = 0; i < sums->label_count; i++) {
		if (kept && strcmp(sums->labels[kept - 1].label, sums->labels[i].label) == 0) {
			sums->labels[kept - 1].live += sums->labels[i].live;
			sums->labels[kept - 1].operations += sums->labels[i].operations;
		} else {
			sums->labels[kept++] = sums->labels[i];
		}
	}
	qsort(sums->labels, kept, sizeof(*sums->labels), compare_counts);
	for (size_t i = LABELS_MAX + 1; i < kept; i++) {
		sums->labels[LABELS_MAX].live += sums->labels[i].live;
		sums->labels[LABELS_MAX].operations += sums->labels[i].operations;
	}
	if (kept > LABELS_MAX) {
		strcpy(sums->labels[LABELS_MAX].label, REST);
		kept = LABELS_MAX + 1;
	}
	sums->label_count = kept;
}

static void add_context(struct sums *sums, const struct process *process,
			const struct reader_context *context)
{
	uint32_t state = context->record.state;
	uint64_t age = age_ns(process, context->record.created_ns);

	if (!(state & CTX_TABLE_LIVE)) {
		sums->cancelled += strcmp(state_name(state), "expired") != 0;
		sums->expired += strcmp(state_name(state), "expired") == 0;
		return;
	}
	sums->live++;
	sums->oldest_ns = age > sums->oldest_ns ? age : sums->oldest_ns;
	struct label_sum *label = &sums->labels[sums->label_count++];
	*label = (struct label_sum){.live = 1, .operations = context->operation_count};
	copy_stem(context->record.label, label->label);
}

static void add_process(struct sums *sums, const struct process *process)
{
	const struct snapshot *snapshot = &process->snapshot;

	sums->processes++;
	sums->rings += snapshot->ring_count;
	sums->operations += snapshot->operation_count;
	for (uint32_t i = 0; i < snapshot->ring_count; i++)
		sums->batches += snapshot->rings[i].record.batches;
	for (uint32_t i = 0; i < snapshot->operation_count; i++) {
		unsigned opcode = snapshot->operations[i].record.opcode;
		sums->by_opcode[opcode < NAMES_OPCODES ? opcode : NAMES_OPCODES]++;
	}
	for (uint32_t i = 0; i < snapshot->shown_count; i++)
		add_context(sums, process, &snapshot->contexts[snapshot->preorder[i]]);
}

static void add_service(struct sums *sums)
{
	size_t count;
	const struct ctxd_entry *entries = service_entries(&count);

	for (size_t i = 0; i < count; i++) {
		sums->clients += entries[i].kind == CTXD_PROCESS;
		sums->published += entries[i].kind == CTXD_PROCESS && entries[i].table;
		sums->shared += entries[i].kind == CTXD_SHARED && !entries[i].ended_ns;
		sums->joined += entries[i].kind == CTXD_JOINED;
	}
}

/* ---- output */

static void print_text(const struct sums *sums)
{
	char age[16], label[ESCAPED_SIZE];

	printf("processes   %" PRIu64 ", rings %" PRIu64 "\n", sums->processes, sums->rings);
	printf("contexts    %" PRIu64 " live, %" PRIu64 " cancelled, %" PRIu64 " expired; the oldest is %s\n",
	       sums->live, sums->cancelled, sums->expired, duration_text(sums->oldest_ns, age));
	printf("operations  %" PRIu64 " in flight", sums->operations);
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (sums->by_opcode[i])
			printf(", %s %" PRIu64, i < NAMES_OPCODES ? ctx_opcode_name(i) : "others",
			       sums->by_opcode[i]);
	printf("\nbatches     %" PRIu64 " so far\n", sums->batches);
	printf("service     %" PRIu64 " client%s, %" PRIu64 " published, %" PRIu64
	       " shared context%s, %" PRIu64 " join%s\n",
	       sums->clients, plural(sums->clients), sums->published, sums->shared, plural(sums->shared),
	       sums->joined, plural(sums->joined));
	for (size_t i = 0; i < sums->label_count; i++)
		printf("  %-32s %" PRIu64 " live, %" PRIu64 " operation%s\n",
		       sums->labels[i].label[0] ? escape(sums->labels[i].label, label, sizeof(label)) : "-",
		       sums->labels[i].live, sums->labels[i].operations, plural(sums->labels[i].operations));
}

static void print_json(const struct sums *sums)
{
	char label[ESCAPED_SIZE];
	const char *separator = "";

	printf("{\"processes\": %" PRIu64 ", \"rings\": %" PRIu64 ", \"live\": %" PRIu64
	       ", \"cancelled\": %" PRIu64 ", \"expired\": %" PRIu64 ", \"oldest_ns\": %" PRIu64
	       ", \"operations\": %" PRIu64 ", \"batches\": %" PRIu64 ", \"by_opcode\": {",
	       sums->processes, sums->rings, sums->live, sums->cancelled, sums->expired, sums->oldest_ns,
	       sums->operations, sums->batches);
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (sums->by_opcode[i]) {
			printf("%s\"%s\": %" PRIu64, separator,
			       i < NAMES_OPCODES ? ctx_opcode_name(i) : "others", sums->by_opcode[i]);
			separator = ", ";
		}
	printf("}, \"service\": {\"clients\": %" PRIu64 ", \"published\": %" PRIu64 ", \"shared\": %" PRIu64
	       ", \"joined\": %" PRIu64 "}, \"labels\": [",
	       sums->clients, sums->published, sums->shared, sums->joined);
	for (size_t i = 0; i < sums->label_count; i++)
		printf("%s{\"label\": \"%s\", \"live\": %" PRIu64 ", \"operations\": %" PRIu64 "}",
		       i ? ", " : "", json_text(sums->labels[i].label, label, sizeof(label)),
		       sums->labels[i].live, sums->labels[i].operations);
	puts("]}");
}

static void print_metric(const char *name, const char *type, const char *text, uint64_t value)
{
	printf("# TYPE %s %s\n# HELP %s %s\n%s%s %" PRIu64 "\n", name, type, name, text, name,
	       strcmp(type, "counter") == 0 ? "_total" : "", value);
}

static int print_metrics(const struct sums *sums, const struct survey *survey)
{
	char label[ESCAPED_SIZE];

	print_metric("ctxring_processes", "gauge", "Processes with a readable context table.",
		     sums->processes);
	print_metric("ctxring_rings", "gauge", "Open ctx rings.", sums->rings);
	puts("# TYPE ctxring_contexts gauge\n# HELP ctxring_contexts Contexts by state.");
	printf("ctxring_contexts{state=\"live\"} %" PRIu64 "\nctxring_contexts{state=\"cancelled\"} %" PRIu64
	       "\nctxring_contexts{state=\"expired\"} %" PRIu64 "\n",
	       sums->live, sums->cancelled, sums->expired);
	puts("# TYPE ctxring_operations gauge\n# HELP ctxring_operations Operations in flight by opcode.");
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (sums->by_opcode[i])
			printf("ctxring_operations{opcode=\"%s\"} %" PRIu64 "\n",
			       i < NAMES_OPCODES ? ctx_opcode_name(i) : "others", sums->by_opcode[i]);
	puts("# TYPE ctxring_live_contexts gauge\n# HELP ctxring_live_contexts Live contexts by label.");
	for (size_t i = 0; i < sums->label_count; i++)
		printf("ctxring_live_contexts{label=\"%s\"} %" PRIu64 "\n",
		       json_text(sums->labels[i].label, label, sizeof(label)), sums->labels[i].live);
	print_metric("ctxring_batches", "gauge", "Batches of cancels of the rings that are open now.",
		     sums->batches);
	printf("# TYPE ctxring_oldest_context_seconds gauge\n# UNIT ctxring_oldest_context_seconds seconds\n"
	       "# HELP ctxring_oldest_context_seconds Age of the oldest live context.\n"
	       "ctxring_oldest_context_seconds %.3f\n",
	       (double)sums->oldest_ns / 1e9);
	print_metric("ctxd_clients", "gauge", "Clients of the service.", sums->clients);
	print_metric("ctxd_published", "gauge", "Clients that published their table.", sums->published);
	print_metric("ctxd_shared_contexts", "gauge", "Live shared contexts.", sums->shared);
	print_metric("ctxd_joins", "gauge", "Joins of shared contexts.", sums->joined);
	int result = stats_print_counters(survey);
	puts("# EOF");
	return result;
}

static int print_stats(const struct view_options *options, struct survey *survey)
{
	struct sums sums = {0};
	size_t total = 1;
	int result = EXIT_OK;

	for (size_t i = 0; i < survey->process_count; i++)
		total += survey->processes[i].snapshot.context_count;
	sums.labels = calloc(total, sizeof(*sums.labels));
	if (!sums.labels) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	for (size_t i = 0; i < survey->process_count; i++)
		add_process(&sums, &survey->processes[i]);
	fold_labels(&sums);
	if (!options->core)
		add_service(&sums);
	if (options->openmetrics)
		result = print_metrics(&sums, survey) ? EXIT_TROUBLE : EXIT_OK;
	else if (options->json)
		print_json(&sums);
	else
		print_text(&sums);
	free(sums.labels);
	return result;
}

const struct view view_stats = {.name = "stats",
				.help = help,
				.letters = "ampcjwnh",
				.own_json = true,
				.always_prints = true,
				.print = print_stats};
