/* SPDX-License-Identifier: MIT */
/* ctxtool stats: prints sums as text, JSON or OpenMetrics text, or serves them as metrics. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "ctxring.h"
#include "format.h"
#include "json.h"
#include "process_columns.h"
#include "stats.h"
#include "stats_listen.h"
#include "usage.h"

static const char help[] =
	"Usage: ctxtool stats [OPTION...] [SELECTION]\n"
	"Print sums over all processes: contexts, operations in flight, batches of cancels, and what\n"
	"the service knows; and for each label how many contexts began and ended, and how old they got.\n"
	"\n"
	"  -m, --openmetrics      print OpenMetrics text, for the textfile collector of a node exporter\n"
	"  -l, --listen=[ADDRESS:]PORT\n"
	"                         serve these metrics by HTTP to Prometheus, until Ctrl-C; the address is\n"
	"                         127.0.0.1 if not given; port 0: any that is free\n"
	"  -a, --all              count the contexts of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -s, --sort=COLUMNS     sort labels by these; a - before a column: the opposite order\n"
	"  -C, --columns=COLUMNS  print these: process, pid, user, label, live, begun, ended, cancelled,\n"
	"                         expired, ops, ops-begun, ops-finished, ops-cancelled, age-p50, age-p99,\n"
	"                         cancel-p50, cancel-p99\n"
	"  -N, --no-header        leave out the sums and the headings\n"
	"  -j, --json             print JSON\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"Ids, numbers and ports in labels are shown as *, so that labels stay few. Each process has a line\n"
	"for the 20 labels that it used most; the rest is \"other\". LIVE and OPS are of what is selected,\n"
	"all other columns of all contexts of the label since the process began; labels are left out that\n"
	"the selection does not name and of which no context is selected. A process with an earlier version\n"
	"of the library does not count: it has - there.\n" SELECTION_HELP
	"Exit codes: 0 shown, 1 nothing found, 2 wrong usage, 3 something could not be read, 4 no memory,\n"
	"or the output failed.\n";

/* ---- columns */

static const struct stats_row *row_of(const void *row)
{
	return row;
}

static const char *label_text(const void *row, char buffer[TEXT_SIZE])
{
	return escaped_text(row_of(row)->stem, buffer);
}

static int compare_labels(const void *left, const void *right)
{
	return strcmp(row_of(left)->stem, row_of(right)->stem);
}

/* A column with a number that NAME_of() takes from the row. Not every library tells it if COUNTED is set. */
#define NUMBER_COLUMN(NAME, COUNTED)                                            \
	static const char *NAME##_text(const void *row, char buffer[TEXT_SIZE]) \
	{                                                                       \
		if ((COUNTED) && !row_of(row)->counted)                         \
			return "-";                                             \
		return number_text(NAME##_of(row), buffer);                     \
	}                                                                       \
	static int compare_##NAME(const void *left, const void *right)          \
	{                                                                       \
		return order_numbers(NAME##_of(left), NAME##_of(right));        \
	}

static uint64_t live_of(const struct stats_row *row)
{
	return row->live;
}
NUMBER_COLUMN(live, false)

static uint64_t begun_of(const struct stats_row *row)
{
	return row->counters.begun;
}
NUMBER_COLUMN(begun, true)

static uint64_t ended_of(const struct stats_row *row)
{
	return stats_row_ended(row);
}
NUMBER_COLUMN(ended, true)

static uint64_t cancelled_of(const struct stats_row *row)
{
	return stats_row_cancelled(row);
}
NUMBER_COLUMN(cancelled, true)

static uint64_t expired_of(const struct stats_row *row)
{
	return row->counters.ended[CTX_CAUSE_DEADLINE];
}
NUMBER_COLUMN(expired, true)

static uint64_t ops_of(const struct stats_row *row)
{
	return row->operations;
}
NUMBER_COLUMN(ops, false)

static uint64_t ops_begun_of(const struct stats_row *row)
{
	return row->counters.operations_begun;
}
NUMBER_COLUMN(ops_begun, true)

static uint64_t ops_finished_of(const struct stats_row *row)
{
	return row->counters.operations_finished;
}
NUMBER_COLUMN(ops_finished, true)

static uint64_t ops_cancelled_of(const struct stats_row *row)
{
	return row->counters.operations_cancelled;
}
NUMBER_COLUMN(ops_cancelled, true)

/* The same with a time, which is not known either where nothing ended yet. */
#define TIME_COLUMN(NAME, BUCKETS, SHARE)                                            \
	static uint64_t NAME##_of(const struct stats_row *row)                       \
	{                                                                            \
		return histogram_percentile(row->counters.BUCKETS, SHARE);           \
	}                                                                            \
	static const char *NAME##_text(const void *row, char buffer[TEXT_SIZE])      \
	{                                                                            \
		return NAME##_of(row) ? duration_text(NAME##_of(row), buffer) : "-"; \
	}                                                                            \
	static int compare_##NAME(const void *left, const void *right)               \
	{                                                                            \
		return order_numbers(NAME##_of(left), NAME##_of(right));             \
	}

TIME_COLUMN(age_p50, ages, 0.5)
TIME_COLUMN(age_p99, ages, 0.99)
TIME_COLUMN(cancel_p50, cancels, 0.5)
TIME_COLUMN(cancel_p99, cancels, 0.99)

static const struct column columns[] = {
	{"process", "PROCESS", 7, 15, false, row_process_text, row_compare_processes, NULL},
	{"pid", "PID", 6, 10, true, row_pid_text, row_compare_pids, NULL},
	{"user", "USER", 4, 15, false, row_user_text, row_compare_users, NULL},
	{"label", "LABEL", 10, 31, false, label_text, compare_labels, NULL},
	{"live", "LIVE", 4, 20, true, live_text, compare_live, NULL},
	{"begun", "BEGUN", 5, 20, true, begun_text, compare_begun, NULL},
	{"ended", "ENDED", 5, 20, true, ended_text, compare_ended, NULL},
	{"cancelled", "CANCELLED", 5, 20, true, cancelled_text, compare_cancelled, NULL},
	{"expired", "EXPIRED", 5, 20, true, expired_text, compare_expired, NULL},
	{"ops", "OPS", 4, 20, true, ops_text, compare_ops, NULL},
	{"ops-begun", "OPS-BEGUN", 5, 20, true, ops_begun_text, compare_ops_begun, NULL},
	{"ops-finished", "FINISHED", 5, 20, true, ops_finished_text, compare_ops_finished, NULL},
	{"ops-cancelled", "OPS-CANC", 5, 20, true, ops_cancelled_text, compare_ops_cancelled, NULL},
	{"age-p50", "AGE-P50", 7, 15, true, age_p50_text, compare_age_p50, NULL},
	{"age-p99", "AGE-P99", 7, 15, true, age_p99_text, compare_age_p99, NULL},
	{"cancel-p50", "CANC-P50", 7, 15, true, cancel_p50_text, compare_cancel_p50, NULL},
	{"cancel-p99", "CANC-P99", 7, 15, true, cancel_p99_text, compare_cancel_p99, NULL},
	{0},
};
#define COLUMNS                                                                                    \
	"label,live,begun,ended,cancelled,expired,ops,ops-finished,ops-cancelled,age-p50,age-p99," \
	"cancel-p99"

/* ---- output */

static void print_sums(const struct stats *stats)
{
	char age[16];

	printf("processes   %" PRIu64 ", rings %" PRIu64 "\n", stats->processes, stats->rings);
	printf("contexts    %" PRIu64 " live, %" PRIu64 " cancelled, %" PRIu64 " expired; the oldest is %s\n",
	       stats->live, stats->cancelled, stats->expired, duration_text(stats->oldest_ns, age));
	printf("operations  %" PRIu64 " in flight", stats->operations);
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (stats->by_opcode[i])
			printf(", %s %" PRIu64, i < NAMES_OPCODES ? ctx_opcode_name(i) : "others",
			       stats->by_opcode[i]);
	printf("\nbatches     %" PRIu64 " so far\n", stats->batches);
	printf("service     %" PRIu64 " client%s, %" PRIu64 " published, %" PRIu64
	       " shared context%s, %" PRIu64 " join%s\n",
	       stats->clients, plural(stats->clients), stats->published, stats->shared, plural(stats->shared),
	       stats->joined, plural(stats->joined));
}

/* Prints a line for each row; those of several processes with what process it is. */
static int print_rows(const struct view_options *options, const struct stats *stats)
{
	struct layout layout = options->layout;
	char message[TEXT_SIZE];
	bool several =
		stats->row_count && stats->rows[0].process != stats->rows[stats->row_count - 1].process;

	if (several && !options->columns)
		layout_choose(&layout, columns, "process,pid," COLUMNS, NULL, options->sort, message);
	int result = layout_sort(&layout, stats->rows, stats->row_count, sizeof(*stats->rows));
	if (result)
		return result;
	for (size_t i = 0; i < stats->row_count; i++)
		layout_measure(&layout, &stats->rows[i]);
	if (!options->no_header && stats->row_count) {
		putchar('\n');
		layout_print_head(&layout);
	}
	for (size_t i = 0; i < stats->row_count; i++)
		layout_print(&layout, &stats->rows[i]);
	return 0;
}

/* Writes a percentile as a number, or null where nothing was counted. */
static void print_time(const char *name, const uint64_t *buckets, double share)
{
	if (histogram_count(buckets))
		printf(", \"%s\": %" PRIu64, name, histogram_percentile(buckets, share));
	else
		printf(", \"%s\": null", name);
}

static void print_row_json(const struct stats_row *row)
{
	const struct stem_counters *counters = &row->counters;
	char text[ESCAPED_SIZE];

	printf("{\"label\": \"%s\", ", json_text(row->stem, text, sizeof(text)));
	printf("\"process\": \"%s\", \"pid\": %d, \"live\": %" PRIu64 ", \"operations\": %" PRIu64
	       ", \"counters\": ",
	       json_text(row->process->name, text, sizeof(text)), (int)row->process->pid, row->live,
	       row->operations);
	if (!row->counted) {
		fputs("null}", stdout);
		return;
	}
	printf("{\"begun\": %" PRIu64 ", \"ended\": %" PRIu64 ", \"cancelled\": %" PRIu64
	       ", \"expired\": %" PRIu64 ", \"operations_begun\": %" PRIu64
	       ", \"operations_finished\": %" PRIu64 ", \"operations_cancelled\": %" PRIu64,
	       counters->begun, stats_row_ended(row), stats_row_cancelled(row),
	       counters->ended[CTX_CAUSE_DEADLINE], counters->operations_begun, counters->operations_finished,
	       counters->operations_cancelled);
	print_time("age_p50_ns", counters->ages, 0.5);
	print_time("age_p99_ns", counters->ages, 0.99);
	print_time("cancel_p50_ns", counters->cancels, 0.5);
	print_time("cancel_p99_ns", counters->cancels, 0.99);
	fputs("}}", stdout);
}

static void print_json(const struct stats *stats)
{
	const char *separator = "";

	printf("{\"processes\": %" PRIu64 ", \"rings\": %" PRIu64 ", \"live\": %" PRIu64
	       ", \"cancelled\": %" PRIu64 ", \"expired\": %" PRIu64 ", \"oldest_ns\": %" PRIu64
	       ", \"operations\": %" PRIu64 ", \"batches\": %" PRIu64 ", \"by_opcode\": {",
	       stats->processes, stats->rings, stats->live, stats->cancelled, stats->expired,
	       stats->oldest_ns, stats->operations, stats->batches);
	for (unsigned i = 0; i <= NAMES_OPCODES; i++)
		if (stats->by_opcode[i]) {
			printf("%s\"%s\": %" PRIu64, separator,
			       i < NAMES_OPCODES ? ctx_opcode_name(i) : "others", stats->by_opcode[i]);
			separator = ", ";
		}
	printf("}, \"service\": {\"clients\": %" PRIu64 ", \"published\": %" PRIu64 ", \"shared\": %" PRIu64
	       ", \"joined\": %" PRIu64 "}, \"labels\": [",
	       stats->clients, stats->published, stats->shared, stats->joined);
	for (size_t i = 0; i < stats->row_count; i++) {
		fputs(i ? ", " : "", stdout);
		print_row_json(&stats->rows[i]);
	}
	puts("]}");
}

static int print_stats(const struct view_options *options, struct survey *survey)
{
	struct stats stats;
	int result = stats_collect(survey, !options->core, &stats);

	if (!result && options->openmetrics) {
		stats_write_metrics(&stats, STATS_OPENMETRICS, stdout);
	} else if (!result && options->json) {
		print_json(&stats);
	} else if (!result) {
		if (!options->no_header)
			print_sums(&stats);
		result = print_rows(options, &stats);
	}
	stats_free(&stats);
	if (!result)
		return EXIT_OK;
	fprintf(stderr, "ctxtool: not enough memory\n");
	return EXIT_TROUBLE;
}

/* ---- options */

static int complain(const char *what)
{
	complain_of_usage("ctxtool stats", what, NULL);
	return EXIT_USAGE;
}

static int check_stats(const struct view_options *options)
{
	bool lists = options->columns || options->sort || options->no_header;

	if (options->openmetrics && (options->json || lists))
		return complain(
			"--openmetrics has a form of its own: leave out --json, --columns, --sort and "
			"--no-header");
	if (!options->listen)
		return -1;
	if (options->json || options->openmetrics || lists)
		return complain("--listen prints nothing: leave out --json, --openmetrics, --columns, --sort "
				"and --no-header");
	if (options->watch || options->rounds)
		return complain("--listen looks when it is asked: leave out --watch and --count");
	if (options->core)
		return complain("a core file does not change: leave out --listen, or --core");
	return -1;
}

static int serve_stats(const struct view_options *options)
{
	return options->listen ? stats_listen(options) : -1;
}

const struct view view_stats = {.name = "stats",
				.help = help,
				.letters = "amlpcsCNjwnh",
				.columns = columns,
				.default_columns = COLUMNS,
				.keeps_counters = true,
				.own_json = true,
				.always_prints = true,
				.check = check_stats,
				.run = serve_stats,
				.print = print_stats};
