/* SPDX-License-Identifier: MIT */
/* ctxtool top: its help, and its plain form in a pipe. top_sort.c sorts, top_screen.c is the screen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "format.h"
#include "names.h"
#include "top.h"

#define ROWS_IN_PIPE 40
#define HEAD_ROWS 3 /* lines above the contexts */

static const char help[] =
	"Usage: ctxtool top [OPTION...]\n"
	"Show the contexts with most operations in flight, and of those with equally many the one that\n"
	"waits longest first. Refresh that every second. On a terminal the keys are:\n"
	"  arrows, j k, PgUp PgDn, Home End  move      s S  sort by the next column, reverse\n"
	"  f or /  show only what contains a text      t    trees instead of a list\n"
	"  space   fold or unfold what is below        p    pause\n"
	"  c       cancel the context, after asking    q    quit\n"
	"\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -j, --json             print JSON: on each line one document with everything\n"
	"  -w, --watch=SECONDS    refresh at this interval\n"
	"  -n, --count=N          stop after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"In a pipe it prints plain text, with an empty line between rounds.\n"
	"Exit codes: 0 ended as asked, 2 wrong usage, 3 something could not be read, 4 no memory, or the\n"
	"output failed.\n";

/* Prints no more than columns characters of the line, so that it does not wrap. */
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

static void print_row(const struct top_row *row, unsigned columns)
{
	const struct reader_operation *oldest = top_oldest(row->process, row->context);
	char id[ID_SIZE], left[16], age[16], label[ESCAPED_SIZE], operation[TEXT_SIZE], line[TEXT_SIZE * 2];

	operation[0] = '\0';
	if (oldest)
		format_operation(row->process, oldest, operation);
	else if (!(row->context->record.state & CTX_TABLE_LIVE))
		format_cause(row->process, row->context, false, operation);
	escape(row->context->record.label, label, sizeof(label));
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6" PRIu32 "  %-24s %s",
		 format_id(row->process, row->context, id), state_name(row->context->record.state),
		 duration_text(age_ns(row->process, row->context->record.created_ns), age),
		 format_time_left(row->process, row->context, left), row->context->operation_count, label,
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

	for (size_t i = 0; i < survey->process_count; i++) {
		contexts += survey->processes[i].snapshot.context_count;
		live += survey->processes[i].snapshot.live_count;
		operations += survey->processes[i].snapshot.operation_count;
		rings += survey->processes[i].snapshot.ring_count;
	}
	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(line, sizeof(line),
		 "ctxtool top %s: %zu process%s, %" PRIu64 " ring%s, %" PRIu64 " context%s, %" PRIu64
		 " live, %" PRIu64 " operation%s in flight",
		 clock, survey->process_count, survey->process_count == 1 ? "" : "es", rings, plural(rings),
		 contexts, plural(contexts), live, operations, plural(operations));
	print_cut(line, columns);
	size_t unread = survey->unreadable_count + survey->strangers;
	if (unread)
		snprintf(line, sizeof(line), "%zu process%s could not be read", unread,
			 unread == 1 ? "" : "es");
	else
		line[0] = '\0';
	print_cut(line, columns);
	snprintf(line, sizeof(line), "%-18s %-9s %8s %8s %6s  %-24s %s", "ID", "STATE", "AGE", "LEFT", "OPS",
		 "LABEL", "OLDEST OPERATION, OR CAUSE");
	fputs(colour(COLOUR_BOLD), stdout);
	print_cut(line, columns);
	fputs(colour(COLOUR_PLAIN), stdout);
}

static int print_top(const struct view_options *options, struct survey *survey)
{
	unsigned columns = TEXT_SIZE, lines = ROWS_IN_PIPE + HEAD_ROWS + 1;
	size_t total = 0, count;
	struct top_row *rows;

	(void)options;
	for (size_t i = 0; i < survey->process_count; i++)
		total += survey->processes[i].snapshot.context_count;
	rows = malloc((total + 1) * sizeof(*rows));
	if (!rows) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	if (terminal()->is_tty)
		terminal_size(&columns, &lines);
	count = top_collect(survey, rows);
	print_head(survey, columns);
	/* The last line of the screen stays empty: a newline there would scroll. */
	for (size_t i = 0; i < count && i + HEAD_ROWS + 1 < lines; i++)
		print_row(&rows[i], columns);
	free(rows);
	return EXIT_OK;
}

const struct view view_top = {.name = "top",
			      .help = help,
			      .letters = "pjwnh",
			      .full_screen = true,
			      .screen = top_screen,
			      .print = print_top};
