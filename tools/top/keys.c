/* SPDX-License-Identifier: MIT */
#include <curses.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "screen.h"
#include "service.h"
#include "users.h"
#include "victim.h"

#define CANCEL_WAIT_NS 2000000000u
#define WHEEL_ROWS 3
#define KEY_ESCAPE 27
#define KEY_CONTROL(letter) ((letter)&0x1f)

/* ---- filter */

static void begin_filter(struct top_screen *screen)
{
	screen->mode = TOP_MODE_FILTER;
	screen->has_error = false;
	memcpy(screen->line, screen->model.filter, sizeof(screen->line));
}

/* Sets the filter to a text; on a mistake that stays to be mended. */
static int set_filter(struct top_screen *screen, const char *text)
{
	int result = top_set_filter(&screen->model, text, &screen->error);

	screen->has_error = result == -EINVAL;
	if (result)
		return result == -EINVAL ? 0 : result;
	screen->mode = TOP_MODE_ROWS;
	return top_fill(&screen->model);
}

static void erase_character(char *line)
{
	size_t length = strlen(line);

	while (length && ((unsigned char)line[length - 1] & 0xc0) == 0x80)
		length--;
	line[length ? length - 1 : 0] = '\0';
}

static int press_in_filter(struct top_screen *screen, int key)
{
	size_t length = strlen(screen->line);

	if (key == '\n' || key == '\r' || key == KEY_ENTER)
		return set_filter(screen, screen->line);
	screen->has_error = false;
	if (key == KEY_ESCAPE)
		screen->mode = TOP_MODE_ROWS;
	else if (key == KEY_BACKSPACE || key == 127 || key == '\b')
		erase_character(screen->line);
	else if (key == KEY_CONTROL('u'))
		screen->line[0] = '\0';
	else if (key >= ' ' && key <= 0xff && length + 1 < sizeof(screen->line)) {
		screen->line[length] = (char)key;
		screen->line[length + 1] = '\0';
	}
	return 0;
}

/* Writes the expression for labels of that stem. The "*" of a stem has the same meaning in a pattern. */
static void write_label_filter(const char *stem, char text[TOP_FILTER_SIZE])
{
	char *end = stpcpy(text, "label=\"");

	for (; *stem; stem++) {
		if (strchr("\"\\?", *stem))
			*end++ = '\\';
		*end++ = *stem;
	}
	strcpy(end, "\"");
}

/* Shows the contexts of a label or user. */
static int show_contexts_of(struct top_screen *screen, const struct top_row *row)
{
	char text[TOP_FILTER_SIZE];
	const struct top_group *group = row->group;

	if (screen->model.tab == TOP_USERS)
		snprintf(text, sizeof(text), "user=%u", (unsigned)group->uid);
	else
		write_label_filter(group->name, text);
	top_set_tab(&screen->model, TOP_CONTEXTS);
	return set_filter(screen, text);
}

static int open_details(struct top_screen *screen)
{
	const struct top_row *row = top_chosen(&screen->model);

	if (!row)
		return 0;
	if (row->group && !row->group->process)
		return show_contexts_of(screen, row);
	return top_open_details(screen, row);
}

/* ---- cancel */

static void ask_to_cancel(struct top_screen *screen)
{
	const struct top_row *row = top_chosen(&screen->model);
	struct victim victim = {0};
	char name[VICTIM_NAME_SIZE];

	if (!row || !row->context) {
		snprintf(screen->status, sizeof(screen->status),
			 "only contexts can be cancelled: choose one with 1");
		return;
	}
	if (!service_client() && !process_is_run(row->process)) {
		ctxd_explain(service_error(), screen->status, sizeof(screen->status));
		return;
	}
	victim.process = row->process;
	victim.context = (struct reader_context *)row->context;
	victim_count(&victim);
	screen->victim = top_place_of(row->process, row->context);
	snprintf(screen->question, sizeof(screen->question),
		 "End %s: %u context%s with %u operation%s? [y/N] ", victim_name(&victim, name),
		 victim.contexts, plural(victim.contexts), victim.operations, plural(victim.operations));
	screen->mode = TOP_MODE_CONFIRM;
}

static void cancel_victim(struct top_screen *screen)
{
	struct victim victim = {0};
	struct ctxd_report report = {0};
	char words[TEXT_SIZE], name[VICTIM_NAME_SIZE];

	victim.context =
		(struct reader_context *)top_find_at(&screen->model, screen->victim, &victim.process);
	if (!victim.context) {
		snprintf(screen->status, sizeof(screen->status), "it is gone already");
		return;
	}
	victim_name(&victim, name);
	int result = victim_cancel(&victim, 0, "cancelled in ctxtool top", CANCEL_WAIT_NS, &report);
	if (!result)
		snprintf(screen->status, sizeof(screen->status), "%.300s %.1500s", name,
			 report_text(&report, words, sizeof(words)));
	else
		snprintf(screen->status, sizeof(screen->status), "not cancelled: %.1500s",
			 victim_explain(&victim, result, words, sizeof(words)));
}

static int press_in_confirm(struct top_screen *screen, int key)
{
	screen->mode = TOP_MODE_ROWS;
	if (key != 'y' && key != 'Y') {
		snprintf(screen->status, sizeof(screen->status), "not cancelled");
		return 0;
	}
	cancel_victim(screen);
	screen->must_look = true;
	return 0;
}

/* ---- rows */

static int toggle_fold(struct top_screen *screen)
{
	const struct top_row *row = top_chosen(&screen->model);

	if (top_line(&screen->model) != TOP_TREES || !row)
		return 0;
	int result = top_fold(&screen->model.folds, top_place_of(row->process, row->context));
	return result ? result : top_fill(&screen->model);
}

static int set_tab(struct top_screen *screen, enum top_tab tab)
{
	if (tab == screen->model.tab)
		return 0;
	top_close_pane(screen);
	top_set_tab(&screen->model, tab);
	return top_fill(&screen->model);
}

static int toggle_tree(struct top_screen *screen)
{
	screen->model.tree = screen->model.tab != TOP_CONTEXTS || !screen->model.tree;
	top_set_tab(&screen->model, TOP_CONTEXTS);
	return top_fill(&screen->model);
}

static void sort_by(struct top_screen *screen, enum top_column column)
{
	const struct top_order *order = top_order_of(&screen->model);

	if (order && top_column_spec(column)->sortable)
		top_set_order(&screen->model, column, order->column == column && !order->reverse);
	else if (!order)
		snprintf(screen->status, sizeof(screen->status), "trees are not sorted: t shows the list");
}

static void sort_by_next(struct top_screen *screen)
{
	const struct top_order *order = top_order_of(&screen->model);

	sort_by(screen, order ? top_next_order(screen->model.tab, order->column) : TOP_OPERATION);
}

static void reverse_order(struct top_screen *screen)
{
	const struct top_order *order = top_order_of(&screen->model);

	if (order)
		top_set_order(&screen->model, order->column, !order->reverse);
}

/* Moves the bar, or scrolls the pane. */
static void scroll_by(struct top_screen *screen, long by)
{
	if (screen->pane_kind != TOP_PANE_NONE)
		top_pane_scroll(&screen->pane, (unsigned)COLS, top_pane_shown(screen), by);
	else
		top_move(&screen->model, by);
}

static long page(const struct top_screen *screen)
{
	return screen->pane_kind == TOP_PANE_NONE ? top_rows_shown(screen) : top_pane_shown(screen);
}

/* ---- mouse */

static void click_title(struct top_screen *screen, unsigned x)
{
	for (size_t i = 0; i < screen->layout.count; i++) {
		const struct top_slot *slot = &screen->layout.slots[i];

		if (x >= slot->x && x < slot->x + slot->width)
			sort_by(screen, slot->column);
	}
}

static int click(struct top_screen *screen, unsigned x, int y)
{
	const struct top_model *model = &screen->model;

	if (y == TOP_TABS_Y && top_tab_at(x) < TOP_TABS)
		return set_tab(screen, top_tab_at(x));
	if (screen->pane_kind == TOP_PANE_HELP)
		return 0;
	if (y == TOP_TITLES_Y)
		click_title(screen, x);
	else if (y >= TOP_ROWS_Y && y - TOP_ROWS_Y < (int)top_rows_shown(screen))
		top_choose(&screen->model, model->first + (size_t)(y - TOP_ROWS_Y));
	return 0;
}

static int press_mouse(struct top_screen *screen)
{
	MEVENT event;

	if (getmouse(&event) != OK)
		return 0;
	if (event.bstate & BUTTON4_PRESSED)
		scroll_by(screen, -WHEEL_ROWS);
	else if (event.bstate & BUTTON5_PRESSED)
		scroll_by(screen, WHEEL_ROWS);
	else if (event.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED))
		return click(screen, (unsigned)event.x, event.y);
	return 0;
}

/* ---- keys */

/* Obeys a key that moves or scrolls. false: it is another one. */
static bool press_to_move(struct top_screen *screen, int key)
{
	const long far = 1 << 30;

	switch (key) {
	case KEY_UP:
	case 'k':
		scroll_by(screen, -1);
		return true;
	case KEY_DOWN:
	case 'j':
		scroll_by(screen, 1);
		return true;
	case KEY_PPAGE:
		scroll_by(screen, -page(screen));
		return true;
	case KEY_NPAGE:
		scroll_by(screen, page(screen));
		return true;
	case KEY_HOME:
		scroll_by(screen, -far);
		return true;
	case KEY_END:
		scroll_by(screen, far);
		return true;
	default:
		return false;
	}
}

/* Obeys a key while a pane is open. 0 or -errno; 1: the key is another one. */
static int press_in_pane(struct top_screen *screen, int key)
{
	switch (key) {
	case KEY_ESCAPE:
	case '\n':
	case '\r':
	case KEY_ENTER:
	case 'q':
	case 'Q':
		top_close_pane(screen);
		return 0;
	case 'h':
	case '?':
	case KEY_F(1):
		if (screen->pane_kind == TOP_PANE_DETAILS)
			return 1;
		top_close_pane(screen);
		return 0;
	default:
		return 1;
	}
}

static int press_in_rows(struct top_screen *screen, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		return 1;
	case KEY_ESCAPE:
		return screen->model.filter[0] ? set_filter(screen, "") : 0;
	case '\n':
	case '\r':
	case KEY_ENTER:
		return open_details(screen);
	case '1':
	case '2':
	case '3':
	case '4':
		return set_tab(screen, (enum top_tab)(key - '1'));
	case '\t':
		return set_tab(screen, (screen->model.tab + 1) % TOP_TABS);
	case KEY_BTAB:
		return set_tab(screen, (screen->model.tab + TOP_TABS - 1) % TOP_TABS);
	case 't':
		return toggle_tree(screen);
	case ' ':
		return toggle_fold(screen);
	case 'h':
	case '?':
	case KEY_F(1):
		return top_open_help(screen);
	case 's':
		sort_by_next(screen);
		return 0;
	case 'S':
		reverse_order(screen);
		return 0;
	case 'f':
	case '/':
		begin_filter(screen);
		return 0;
	case 'c':
		ask_to_cancel(screen);
		return 0;
	case 'p':
		screen->paused = !screen->paused;
		return 0;
	default:
		return 0;
	}
}

int top_press(struct top_screen *screen, int key)
{
	int result = 1;

	if (key == KEY_RESIZE)
		return 0;
	screen->status[0] = '\0';
	if (key == KEY_MOUSE)
		return screen->mode == TOP_MODE_ROWS ? press_mouse(screen) : 0;
	if (screen->mode == TOP_MODE_FILTER)
		return press_in_filter(screen, key);
	if (screen->mode == TOP_MODE_CONFIRM)
		return press_in_confirm(screen, key);
	if (press_to_move(screen, key))
		return 0;
	if (screen->pane_kind != TOP_PANE_NONE)
		result = press_in_pane(screen, key);
	return result == 1 ? press_in_rows(screen, key) : result;
}
