/* SPDX-License-Identifier: MIT */
#include <curses.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "screen.h"
#include "short.h"

/* ---- geometry */

/* How many lines at the bottom are for a question and what is wrong with the answer. */
static unsigned bottom_lines(const struct top_screen *screen)
{
	size_t length = strlen(screen->error.message) + 12;

	if (screen->mode != TOP_MODE_FILTER || !screen->has_error)
		return 1;
	return length > (size_t)COLS && LINES > TOP_LINES_MIN + 2 ? 3 : 2;
}

static unsigned body_lines(const struct top_screen *screen)
{
	return (unsigned)LINES - TOP_ROWS_Y - bottom_lines(screen);
}

unsigned top_pane_shown(const struct top_screen *screen)
{
	unsigned body = body_lines(screen);

	if (screen->pane_kind == TOP_PANE_NONE)
		return 0;
	/* The help has the whole body, details three fifths of it; its title takes one line. */
	return screen->pane_kind == TOP_PANE_HELP ? body : body * 3 / 5;
}

unsigned top_rows_shown(const struct top_screen *screen)
{
	unsigned body = body_lines(screen), pane = top_pane_shown(screen);

	return pane + 1 < body ? body - pane - (pane ? 1 : 0) : 0;
}

static unsigned tab_width(enum top_tab tab)
{
	return (unsigned)strlen(top_tab_name(tab)) + 4;
}

enum top_tab top_tab_at(unsigned x)
{
	unsigned left = 0;

	for (int tab = 0; tab < TOP_TABS; tab++) {
		left += tab_width((enum top_tab)tab);
		if (x < left)
			return (enum top_tab)tab;
	}
	return TOP_TABS;
}

/* ---- text */

/* Draws as much of the text as fits into the width, and blanks up to it. Returns the columns that text took.
 */
static unsigned put(int y, unsigned x, unsigned width, enum top_style style, const char *text)
{
	unsigned used;
	size_t bytes = top_cut(text, width, &used);

	attrset((int)top_style(style));
	mvaddnstr(y, (int)x, text, (int)bytes);
	for (unsigned i = used; i < width; i++)
		addch(' ');
	attrset(A_NORMAL);
	return used;
}

static void put_right(int y, unsigned x, unsigned width, enum top_style style, const char *text)
{
	unsigned used;

	top_cut(text, width, &used);
	put(y, x, width - used, style, "");
	put(y, x + width - used, used, style, text);
}

static void draw_sums(const struct top_screen *screen)
{
	struct top_sums sums = top_sum(&screen->model);
	char line[TEXT_SIZE], clock[16], unread[40] = "";
	time_t now = time(NULL);
	struct tm local;

	localtime_r(&now, &local);
	strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	if (sums.unread)
		snprintf(unread, sizeof(unread), " (%zu unreadable)", sums.unread);
	snprintf(line, sizeof(line),
		 "ctxtool top %s  %zu process%s%s  %" PRIu64 " ring%s  %" PRIu64 " context%s  %" PRIu64
		 " live",
		 clock, sums.processes, sums.processes == 1 ? "" : "es", unread, sums.rings,
		 plural(sums.rings), sums.contexts, plural(sums.contexts), sums.live);
	put(TOP_SUMS_Y, 0, (unsigned)COLS, TOP_STYLE_TITLE, line);
}

/* Draws a number and how it was in the last minute. */
static void draw_spark(const struct top_screen *screen, unsigned x, unsigned width, const char *words,
		       const struct top_spark *spark)
{
	char bars[TOP_SPARK_SIZE];
	unsigned used = put(TOP_SPARKS_Y, x, width, TOP_PLAIN, words) + 1;
	unsigned count = used < width ? top_spark_bars(width - used) : 0;

	if (count)
		put(TOP_SPARKS_Y, x + used, count, TOP_STYLE_BARS,
		    top_spark_text(spark, count, screen->unicode, bars));
}

static void draw_sparks(const struct top_screen *screen)
{
	const struct top_model *model = &screen->model;
	unsigned half = (unsigned)COLS / 2;
	char words[48], rate[16];

	snprintf(words, sizeof(words), "%" PRIu64 " in flight", top_sum(model).operations);
	draw_spark(screen, 0, half - 1, words, &model->in_flight);
	snprintf(words, sizeof(words), "%s ends/s",
		 model->has_ended ? top_rate_text(model->ended, rate) : "-");
	draw_spark(screen, half, (unsigned)COLS - half, words, &model->ends);
}

static void draw_tabs(const struct top_screen *screen)
{
	const struct top_model *model = &screen->model;
	unsigned x = 0, columns = (unsigned)COLS;
	char text[TOP_FILTER_SIZE + 64];

	put(TOP_TABS_Y, 0, columns, TOP_STYLE_TAB, "");
	for (int tab = 0; tab < TOP_TABS && x < columns; tab++) {
		unsigned width = tab_width((enum top_tab)tab);

		snprintf(text, sizeof(text), " %d %s ", tab + 1, top_tab_name((enum top_tab)tab));
		put(TOP_TABS_Y, x, width < columns - x ? width : columns - x,
		    model->tab == (enum top_tab)tab ? TOP_STYLE_BAR : TOP_STYLE_TAB, text);
		x += width;
	}
	snprintf(text, sizeof(text), "%s%s%s%s", screen->paused ? " paused" : "",
		 top_line(model) == TOP_TREES ? " trees" : "", model->filter[0] ? " filter: " : "",
		 model->filter);
	if (x < columns)
		put_right(TOP_TABS_Y, x, columns - x, TOP_STYLE_TITLE, text);
}

/* ---- rows */

static void put_cell(const struct top_slot *slot, int y, enum top_style style, const char *text)
{
	if (top_column_spec(slot->column)->to_right)
		put_right(y, slot->x, slot->width, style, text);
	else
		put(y, slot->x, slot->width, style, text);
}

static void draw_titles(const struct top_screen *screen)
{
	const struct top_order *order = top_order_of(&screen->model);
	char title[TOP_TITLE_SIZE];

	put(TOP_TITLES_Y, 0, (unsigned)COLS, TOP_STYLE_HEADER, "");
	for (size_t i = 0; i < screen->layout.count; i++) {
		const struct top_slot *slot = &screen->layout.slots[i];
		bool sorted = order && order->column == slot->column;

		top_title(slot->column, order, screen->marks, title);
		put_cell(slot, TOP_TITLES_Y, sorted ? TOP_STYLE_SORTED : TOP_STYLE_HEADER, title);
	}
}

static void draw_row(const struct top_screen *screen, const struct top_row *row, int y, bool chosen)
{
	char text[TEXT_SIZE];

	put(y, 0, (unsigned)COLS, chosen ? TOP_STYLE_BAR : TOP_PLAIN, "");
	for (size_t i = 0; i < screen->layout.count; i++) {
		const struct top_slot *slot = &screen->layout.slots[i];
		enum top_style style = chosen ? TOP_STYLE_BAR : top_cell_style(row, slot->column);

		top_cell(row, slot->column, screen->marks, text);
		put_cell(slot, y, style, text);
	}
}

static void draw_rows(struct top_screen *screen)
{
	struct top_model *model = &screen->model;
	unsigned shown = top_rows_shown(screen);

	top_arrange(model, shown);
	top_measure(&model->rows, model->first, shown, top_line(model), top_order_of(model), screen->marks,
		    model->needed);
	top_lay_out(top_line(model), (unsigned)COLS, model->needed, &screen->layout);
	draw_titles(screen);
	for (unsigned i = 0; i < shown && model->first + i < model->rows.count; i++)
		draw_row(screen, &model->rows.rows[model->first + i], TOP_ROWS_Y + (int)i,
			 model->first + i == model->chosen);
	if (!model->rows.count && shown)
		put(TOP_ROWS_Y, 0, (unsigned)COLS, TOP_STYLE_DIM,
		    model->selection ? "Nothing is left by the filter." : "No context is to be seen.");
}

/* ---- pane and bottom */

static void draw_pane(struct top_screen *screen)
{
	unsigned shown = top_pane_shown(screen), columns = (unsigned)COLS;
	int y = LINES - (int)bottom_lines(screen) - (int)shown;
	struct top_pane_row rows[shown + 1];

	if (!shown)
		return;
	/* The help begins where titles would be. */
	put(y - 1, 0, columns, TOP_STYLE_HEADER,
	    screen->pane_kind == TOP_PANE_HELP ? "Help: arrows scroll, Esc closes"
	    : screen->is_gone ? "Details: it is gone, and was last seen as follows; Esc closes"
			      : "Details: arrows scroll, Esc closes");
	top_pane_scroll(&screen->pane, columns, shown, 0);
	top_pane_get(&screen->pane, columns, rows, shown);
	for (unsigned i = 0; i < shown; i++) {
		char text[TEXT_SIZE * 2];

		snprintf(text, sizeof(text), "%.*s", (int)rows[i].bytes, rows[i].text ? rows[i].text : "");
		put(y + (int)i, 0, rows[i].indent, TOP_PLAIN, "");
		put(y + (int)i, rows[i].indent, columns - rows[i].indent, rows[i].style, text);
	}
}

/* The filter that is typed, from the part on where the cursor is when it does not fit. Draws its mistake. */
static void draw_prompt(const struct top_screen *screen)
{
	int y = LINES - (int)bottom_lines(screen);
	size_t length = strlen(screen->line), room = (size_t)COLS - 2;
	size_t skip = length > room ? length - room : 0;
	size_t at = screen->has_error ? screen->error.offset : length;
	char words[TEXT_SIZE];

	if (at < skip)
		skip = at;
	put(y, 0, (unsigned)COLS, TOP_PLAIN, "/");
	put(y, 1, (unsigned)COLS - 1, TOP_PLAIN, screen->line + skip);
	if (!screen->has_error)
		return;
	put(y, 1 + (unsigned)(at - skip), (unsigned)COLS - 1 - (unsigned)(at - skip), TOP_STYLE_ERROR,
	    at < length ? screen->line + at : "_");
	snprintf(words, sizeof(words), "at %zu: %s", at + 1, screen->error.message);
	for (int line = y + 1; line < LINES; line++) {
		unsigned used;
		size_t bytes = top_cut(words, (unsigned)COLS, &used);

		put(line, 0, (unsigned)COLS, TOP_STYLE_ERROR, words);
		memmove(words, words + bytes, strlen(words) - bytes + 1);
	}
}

static void draw_bottom(const struct top_screen *screen)
{
	static const char hints[] =
		"Enter details  / filter  s sort  t trees  c cancel  p pause  ? help  q quit";

	if (screen->mode == TOP_MODE_FILTER)
		draw_prompt(screen);
	else if (screen->mode == TOP_MODE_CONFIRM)
		put(LINES - 1, 0, (unsigned)COLS, TOP_STYLE_ERROR, screen->question);
	else if (screen->status[0])
		put(LINES - 1, 0, (unsigned)COLS, TOP_STYLE_TITLE, screen->status);
	else
		put(LINES - 1, 0, (unsigned)COLS, TOP_STYLE_DIM, hints);
}

/* Puts the cursor where text is typed, and hides it otherwise. */
static void place_cursor(const struct top_screen *screen)
{
	unsigned used;

	if (screen->mode != TOP_MODE_FILTER) {
		curs_set(0);
		return;
	}
	top_cut(screen->line, (unsigned)COLS - 2, &used);
	if (screen->has_error && screen->error.offset < used)
		used = (unsigned)screen->error.offset;
	move(LINES - (int)bottom_lines(screen), 1 + (int)used);
	curs_set(1);
}

void top_draw(struct top_screen *screen)
{
	char words[80];

	erase();
	if (COLS < TOP_COLUMNS_MIN || LINES < TOP_LINES_MIN) {
		snprintf(words, sizeof(words), "%dx%d is too small: %dx%d at least", COLS, LINES,
			 TOP_COLUMNS_MIN, TOP_LINES_MIN);
		put(0, 0, (unsigned)COLS, TOP_PLAIN, words);
		refresh();
		return;
	}
	draw_sums(screen);
	draw_sparks(screen);
	draw_tabs(screen);
	draw_rows(screen);
	draw_pane(screen);
	draw_bottom(screen);
	place_cursor(screen);
	refresh();
}
