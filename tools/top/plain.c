/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

#define ROWS_IN_PIPE 40
#define HEAD_LINES 3
/* As wide as any line. */
#define WIDTH_MAX 1000
#define WIDTH_MIN 20

/* Prints a cell, without blanks at the end of the line. */
static void print_cell(const struct top_slot *slot, const char *text, bool last)
{
	unsigned used;
	size_t bytes = top_cut(text, slot->width, &used);
	int blanks = (int)(slot->width - used);

	if (top_column_spec(slot->column)->to_right)
		printf("%*s%.*s%s", blanks, "", (int)bytes, text, last ? "" : " ");
	else
		printf("%.*s%*s%s", (int)bytes, text, last ? 0 : blanks, "", last ? "" : " ");
}

static void print_titles(const struct top_layout *layout, const struct top_order *order,
			 const struct top_marks *marks)
{
	char title[TOP_TITLE_SIZE];

	fputs(colour(COLOUR_BOLD), stdout);
	for (size_t i = 0; i < layout->count; i++)
		print_cell(&layout->slots[i], top_title(layout->slots[i].column, order, marks, title),
			   i + 1 == layout->count);
	printf("%s\n", colour(COLOUR_PLAIN));
}

static void print_row(const struct top_row *row, const struct top_layout *layout,
		      const struct top_marks *marks)
{
	char text[TEXT_SIZE];

	if (row->context)
		fputs(colour(state_colour(row->context->record.state)), stdout);
	for (size_t i = 0; i < layout->count; i++)
		print_cell(&layout->slots[i], top_cell(row, layout->slots[i].column, marks, text),
			   i + 1 == layout->count);
	printf("%s\n", row->context ? colour(COLOUR_PLAIN) : "");
}

static void print_line(unsigned columns, const char *line)
{
	unsigned used;

	printf("%.*s\n", (int)top_cut(line, columns, &used), line);
}

static void print_head(const struct top_model *model, unsigned columns)
{
	struct top_sums sums = top_sum(model);
	time_t now = time(NULL);
	char line[TEXT_SIZE], clock[16];
	struct tm local;

	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	snprintf(line, sizeof(line),
		 "ctxtool top %s: %zu process%s, %" PRIu64 " ring%s, %" PRIu64 " context%s, %" PRIu64
		 " live, %" PRIu64 " operation%s in flight",
		 clock, sums.processes, sums.processes == 1 ? "" : "es", sums.rings, plural(sums.rings),
		 sums.contexts, plural(sums.contexts), sums.live, sums.operations, plural(sums.operations));
	print_line(columns, line);
	line[0] = '\0';
	if (sums.unread)
		snprintf(line, sizeof(line), "%zu process%s could not be read", sums.unread,
			 sums.unread == 1 ? "" : "es");
	print_line(columns, line);
}

static void print_rows(struct top_model *model, unsigned columns, size_t shown)
{
	const struct top_marks *marks = top_marks(terminal()->lines);
	struct top_layout layout;

	top_arrange(model, shown);
	top_measure(&model->rows, 0, shown, model->tab, top_order_of(model), marks, model->needed);
	top_lay_out(model->tab, columns, model->needed, &layout);
	print_titles(&layout, top_order_of(model), marks);
	for (size_t i = 0; i < shown && i < model->rows.count; i++)
		print_row(&model->rows.rows[i], &layout, marks);
}

/* The width that COLUMNS names; else as much as a line needs. */
static unsigned pipe_columns(void)
{
	const char *text = getenv("COLUMNS");
	char *end;
	unsigned long columns = text ? strtoul(text, &end, 10) : 0;

	return text && end > text && !*end && columns >= WIDTH_MIN && columns < WIDTH_MAX
		       ? (unsigned)columns
		       : WIDTH_MAX;
}

int top_print(const struct view_options *options, struct survey *survey)
{
	/* It stays from one round to the next, for the rates. */
	static struct top_model model;
	unsigned columns = pipe_columns(), lines = ROWS_IN_PIPE + HEAD_LINES + 1;

	if (!model.options)
		top_model_begin(&model, options);
	if (terminal()->is_tty)
		terminal_size(&columns, &lines);
	if (top_take(&model, survey, fleet_now_ns())) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	print_head(&model, columns);
	/* The last line of the screen stays empty: a newline there would scroll. */
	print_rows(&model, columns, lines > HEAD_LINES + 1 ? lines - HEAD_LINES - 1 : 0);
	return EXIT_OK;
}
