/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "monotonic.h"

#define ROWS_IN_PIPE 40
#define HEAD_LINES 3
/* As wide as any line. */
#define WIDTH_MAX 1000
#define WIDTH_MIN 20

/* A line is put together before it is printed, so that it does not end with blanks. */
struct line {
	char bytes[4 * WIDTH_MAX + TOP_COLUMNS + 1];
	size_t length;
};

static void add_cell(struct line *line, const struct top_slot *slot, const char *text)
{
	unsigned used;
	int bytes = (int)top_cut(text, slot->width, &used), blanks = (int)(slot->width - used);
	bool to_right = top_column_spec(slot->column)->to_right;
	int written = snprintf(line->bytes + line->length, sizeof(line->bytes) - line->length, "%*s%.*s%*s ",
			       to_right ? blanks : 0, "", bytes, text, to_right ? 0 : blanks, "");

	line->length += (size_t)written;
	if (line->length >= sizeof(line->bytes))
		line->length = sizeof(line->bytes) - 1;
}

static void print_cells(struct line *line, enum colour shade)
{
	while (line->length && line->bytes[line->length - 1] == ' ')
		line->length--;
	printf("%s%.*s%s\n", colour(shade), (int)line->length, line->bytes, colour(COLOUR_PLAIN));
}

static void print_titles(const struct top_layout *layout, const struct top_order *order,
			 const struct top_marks *marks)
{
	char title[TOP_TITLE_SIZE];
	struct line line = {.length = 0};

	for (size_t i = 0; i < layout->count; i++)
		add_cell(&line, &layout->slots[i], top_title(layout->slots[i].column, order, marks, title));
	print_cells(&line, COLOUR_BOLD);
}

static void print_row(const struct top_row *row, const struct top_layout *layout,
		      const struct top_marks *marks)
{
	char text[TEXT_SIZE];
	struct line line = {.length = 0};

	for (size_t i = 0; i < layout->count; i++)
		add_cell(&line, &layout->slots[i], top_cell(row, layout->slots[i].column, marks, text));
	print_cells(&line, row->context ? state_colour(row->context->record.state) : COLOUR_PLAIN);
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

	return text && end > text && !*end && columns >= WIDTH_MIN && columns < WIDTH_MAX ? (unsigned)columns
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
	if (top_take(&model, survey, monotonic_ns())) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	print_head(&model, columns);
	/* The last line of the screen stays empty: a newline there would scroll. */
	print_rows(&model, columns, lines > HEAD_LINES + 1 ? lines - HEAD_LINES - 1 : 0);
	return EXIT_OK;
}
