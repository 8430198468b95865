/* SPDX-License-Identifier: MIT */
/* ctxtool top: the contexts with most in flight, refreshed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format.h"
#include "names.h"
#include "view.h"

#define ROWS_IN_PIPE 40
#define HEAD_ROWS 3 /* above the contexts */

static const char help[] =
	"Usage: ctxtool top [OPTION...]\n"
	"Show the contexts with most operations in flight, the longest waiting first among\n"
	"equals, refreshed every second. q or Ctrl-C ends it.\n"
	"\n"
	"  -p, --pid=PID          only this process; repeatable\n"
	"  -j, --json             JSON: one document with everything on each line\n"
	"  -w, --watch=SECONDS    refresh at this interval\n"
	"  -n, --count=N          stop after N times\n"
	"  -h, --help             this text\n"
	"\n"
	"In a pipe it prints plain blocks, with an empty line between them.\n"
	"Exit: 0 ended as asked, 2 usage, 3 something could not be read, 4 trouble.\n";

struct row {
	struct source *source;
	const struct reader_context *context;
	uint64_t waiting_ns; /* of its oldest operation */
};

static int compare_rows(const void *left, const void *right)
{
	const struct row *a = left, *b = right;
	bool a_live = a->context->record.state & CTX_TABLE_LIVE,
	     b_live = b->context->record.state & CTX_TABLE_LIVE;

	if (a->context->operation_count != b->context->operation_count)
		return a->context->operation_count > b->context->operation_count ? -1 : 1;
	if (a->waiting_ns != b->waiting_ns)
		return a->waiting_ns > b->waiting_ns ? -1 : 1;
	if (a_live != b_live)
		return a_live ? -1 : 1;
	if (a->context->record.created_ns != b->context->record.created_ns)
		return a->context->record.created_ns < b->context->record.created_ns ? -1 : 1;
	return a->context->slot < b->context->slot ? -1 : a->context->slot > b->context->slot;
}

static const struct reader_operation *oldest_operation(const struct source *source,
						       const struct reader_context *context)
{
	const struct reader_operation *oldest = NULL;

	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = source->snapshot.operations[i].next) {
		const struct reader_operation *operation = &source->snapshot.operations[i];

		if (!oldest || operation->record.since_ns < oldest->record.since_ns)
			oldest = operation;
	}
	return oldest;
}

static size_t collect(struct survey *survey, struct row *rows)
{
	size_t count = 0;

	for (size_t i = 0; i < survey->source_count; i++) {
		struct source *source = &survey->sources[i];

		for (uint32_t j = 0; j < source->snapshot.context_count; j++) {
			const struct reader_context *context = &source->snapshot.contexts[j];
			const struct reader_operation *oldest = oldest_operation(source, context);

			rows[count++] = (struct row){source, context,
						     oldest ? age_ns(source, oldest->record.since_ns) : 0};
		}
	}
	qsort(rows, count, sizeof(*rows), compare_rows);
	return count;
}

/* Prints at most columns characters, so that no line wraps. */
static void print_cut(const char *line, unsigned columns)
{
	unsigned width = 0;

	for (; *line; line++) {
		if (((unsigned char)*line & 0xc0) != 0x80 && width++ == columns)
			break;
		putchar(*line);
	}
	putchar('\n');
}

static void print_row(const struct row *row, unsigned columns)
{
	const struct reader_operation *oldest = oldest_operation(row->source, row->context);
	char id[ID_SIZE], left[16], age[16], label[ESCAPED_SIZE], operation[TEXT_SIZE], line[TEXT_SIZE * 2];

	operation[0] = '\0';
	if (oldest)
		format_operation(row->source, oldest, operation);
	else if (!(row->context->record.state & CTX_TABLE_LIVE))
		format_cause(row->source, row->context, false, operation);
	escape(row->context->record.label, label, sizeof(label));
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6" PRIu32 "  %-24s %s",
		 format_id(row->source, row->context, id), state_name(row->context->record.state),
		 duration_text(age_ns(row->source, row->context->record.created_ns), age),
		 format_time_left(row->source, row->context, left), row->context->operation_count, label,
		 operation);
	fputs(colour(state_colour(row->context->record.state)), stdout);
	print_cut(line, columns);
	fputs(colour(COLOUR_PLAIN), stdout);
}

static void print_head(const struct survey *survey, unsigned columns)
{
	uint64_t contexts = 0, live = 0, operations = 0, rings = 0;
	time_t now = time(NULL);
	char line[TEXT_SIZE], clock[16];
	struct tm local;

	for (size_t i = 0; i < survey->source_count; i++) {
		contexts += survey->sources[i].snapshot.context_count;
		live += survey->sources[i].snapshot.live_count;
		operations += survey->sources[i].snapshot.operation_count;
		rings += survey->sources[i].snapshot.ring_count;
	}
	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(line, sizeof(line),
		 "ctxtool top %s: %zu processes, %" PRIu64 " rings, %" PRIu64 " contexts, %" PRIu64
		 " live, %" PRIu64 " operations in flight",
		 clock, survey->source_count, rings, contexts, live, operations);
	print_cut(line, columns);
	if (survey->unreadable_count + survey->strangers)
		snprintf(line, sizeof(line), "%zu processes could not be read",
			 survey->unreadable_count + survey->strangers);
	else
		line[0] = '\0';
	print_cut(line, columns);
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6s  %-24s %s", "ID", "STATE", "AGE", "LEFT", "OPS",
		 "LABEL", "OLDEST OPERATION, OR CAUSE");
	fputs(colour(COLOUR_BOLD), stdout);
	print_cut(line, columns);
	fputs(colour(COLOUR_PLAIN), stdout);
}

static int print(const struct view_options *options, struct survey *survey)
{
	unsigned columns = TEXT_SIZE, lines = ROWS_IN_PIPE + HEAD_ROWS + 1;
	size_t total = 0, count;
	struct row *rows;

	(void)options;
	for (size_t i = 0; i < survey->source_count; i++)
		total += survey->sources[i].snapshot.context_count;
	rows = malloc((total + 1) * sizeof(*rows));
	if (!rows) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	if (terminal()->is_tty)
		terminal_size(&columns, &lines);
	count = collect(survey, rows);
	print_head(survey, columns);
	/* The last line of the screen stays empty: a newline there would scroll. */
	for (size_t i = 0; i < count && i + HEAD_ROWS + 1 < lines; i++)
		print_row(&rows[i], columns);
	free(rows);
	return EXIT_OK;
}

const struct view view_top = {.name = "top", .help = help, .full_screen = true, .print = print};
