/* SPDX-License-Identifier: MIT */
#include "layout.h"

#include <string.h>

static const struct top_column_spec specs[TOP_COLUMNS] = {
	[TOP_ID] = {"ID", "PID:SLOT.GENERATION, as in ls", 4, 0, false, false, true},
	[TOP_PID] = {"PID", "number of the process", 3, 0, true, false, true},
	[TOP_PROCESS] = {"PROCESS", "name of the process", 11, 15, false, false, true},
	[TOP_LABEL_STEM] = {"LABEL", "what labels have in common: * is for numbers and names in them", 10, 32,
			    false, false, true},
	[TOP_USER] = {"USER", "whose the process is", 4, 12, false, false, true},
	[TOP_STATE] = {"STATE", "live, cancelled or expired", 5, 9, false, false, true},
	[TOP_AGE] = {"AGE", "since it was made", 4, 0, true, true, true},
	[TOP_LEFT] = {"LEFT", "to its deadline; due: that has passed", 5, 0, true, false, true},
	[TOP_LIVE] = {"LIVE", "contexts that are live", 5, 0, true, true, true},
	[TOP_OPS] = {"OPS", "operations in flight; of a folded row, with those below", 4, 0, true, true,
		     true},
	[TOP_STUCK] = {"STUCK", "operations that have not ended in twice the grace", 6, 0, true, true, true},
	[TOP_WAIT] = {"WAIT", "how long the oldest operation has been in flight", 5, 0, true, true, true},
	[TOP_BEGUN] = {"BEGUN/s", "contexts made per second", 8, 0, true, true, true},
	[TOP_ENDED] = {"ENDED/s", "contexts that ended or were freed per second", 8, 0, true, true, true},
	[TOP_CANCELLED] = {"CANC/s", "of these, ended by anything but a deadline", 7, 0, true, true, true},
	[TOP_EXPIRED] = {"EXP/s", "of these, ended by a deadline", 6, 0, true, true, true},
	[TOP_P50] = {"P50", "age at the end: half of the contexts were younger", 5, 0, true, true, true},
	[TOP_P99] = {"P99", "age at the end: 99 of 100 were younger", 5, 0, true, true, true},
	[TOP_LABEL] = {"LABEL", "label of the context", 11, 32, false, false, true},
	[TOP_TREE] = {"LABEL", "label of the context", 24, 60, false, false, false},
	[TOP_OPERATION] = {"OLDEST OPERATION, OR CAUSE", "what waits longest, or why it ended", 25, 0, false,
			   false, false},
};

/* The columns of a tab from left to right, and in the order in which they are left out. */
struct tab {
	const char *name;
	enum top_column shown[TOP_COLUMNS], left_out[TOP_COLUMNS];
	size_t shown_count, left_out_count;
	enum top_column first_order;
};

#define GROUP_COLUMNS                                                                                      \
	TOP_LIVE, TOP_OPS, TOP_STUCK, TOP_WAIT, TOP_BEGUN, TOP_ENDED, TOP_CANCELLED, TOP_EXPIRED, TOP_P50, \
		TOP_P99, TOP_OPERATION
#define GROUP_LEFT_OUT                                                                                \
	TOP_OPERATION, TOP_EXPIRED, TOP_CANCELLED, TOP_P50, TOP_STUCK, TOP_BEGUN, TOP_P99, TOP_ENDED, \
		TOP_WAIT, TOP_LIVE

static const struct tab tabs[TOP_TABS + 1] = {
	[TOP_CONTEXTS] = {"Contexts",
			  {TOP_ID, TOP_PROCESS, TOP_USER, TOP_STATE, TOP_AGE, TOP_LEFT, TOP_OPS, TOP_WAIT,
			   TOP_LABEL, TOP_OPERATION},
			  {TOP_USER, TOP_PROCESS, TOP_LEFT, TOP_AGE, TOP_STATE, TOP_WAIT, TOP_ID},
			  10,
			  7,
			  TOP_OPS},
	[TOP_PROCESSES] = {"Processes",
			   {TOP_PID, TOP_PROCESS, TOP_USER, GROUP_COLUMNS},
			   {TOP_USER, GROUP_LEFT_OUT, TOP_PID},
			   14,
			   12,
			   TOP_OPS},
	[TOP_LABELS] = {"Labels", {TOP_LABEL_STEM, GROUP_COLUMNS}, {GROUP_LEFT_OUT}, 12, 10, TOP_OPS},
	[TOP_TREES] = {"Contexts",
		       {TOP_ID, TOP_PROCESS, TOP_USER, TOP_STATE, TOP_AGE, TOP_LEFT, TOP_OPS, TOP_WAIT,
			TOP_TREE, TOP_OPERATION},
		       {TOP_USER, TOP_PROCESS, TOP_LEFT, TOP_AGE, TOP_STATE, TOP_WAIT, TOP_ID},
		       10,
		       7,
		       TOP_OPS},
	[TOP_USERS] = {"Users", {TOP_USER, GROUP_COLUMNS}, {GROUP_LEFT_OUT}, 12, 10, TOP_OPS},
};

const struct top_column_spec *top_column_spec(enum top_column column)
{
	return &specs[column];
}

const char *top_tab_name(enum top_tab tab)
{
	return tabs[tab].name;
}

const enum top_column *top_columns_of(enum top_tab tab, size_t *ret_count)
{
	*ret_count = tabs[tab].shown_count;
	return tabs[tab].shown;
}

enum top_column top_first_order(enum top_tab tab)
{
	return tabs[tab].first_order;
}

enum top_column top_next_order(enum top_tab tab, enum top_column column)
{
	const struct tab *of = &tabs[tab];
	size_t at = 0;

	while (at < of->shown_count && of->shown[at] != column)
		at++;
	do
		at = (at + 1) % of->shown_count;
	while (!specs[of->shown[at]].sortable);
	return of->shown[at];
}

/* ---- widths */

static unsigned smallest(enum top_column column, unsigned needed)
{
	unsigned least = specs[column].width_min;

	/* What is never cut is as wide as it needs to be, except the last column. */
	if (specs[column].width_max == 0 && column != TOP_OPERATION)
		return needed > least ? needed : least;
	return least;
}

static unsigned wanted(enum top_column column, unsigned needed)
{
	unsigned most = specs[column].width_max, least = smallest(column, needed);

	if (most && needed > most)
		return most;
	return needed > least ? needed : least;
}

static bool is_left_out(const struct tab *tab, enum top_column column, size_t left_out)
{
	for (size_t i = 0; i < left_out; i++)
		if (tab->left_out[i] == column)
			return true;
	return false;
}

/* Gives each column that stays its smallest width. Returns the width of the line. */
static unsigned place_smallest(const struct tab *tab, size_t left_out, const unsigned needed[TOP_COLUMNS],
			       struct top_layout *layout)
{
	unsigned width = 0;

	layout->count = 0;
	for (size_t i = 0; i < tab->shown_count; i++) {
		enum top_column column = tab->shown[i];

		if (is_left_out(tab, column, left_out))
			continue;
		layout->slots[layout->count] =
			(struct top_slot){.column = column, .width = smallest(column, needed[column])};
		width += layout->slots[layout->count].width + (layout->count ? 1 : 0);
		layout->count++;
	}
	return width;
}

/* Gives columns what they want of the room that is left, those that are left out last first. */
static void widen(const struct tab *tab, const unsigned needed[TOP_COLUMNS], unsigned room,
		  struct top_layout *layout)
{
	/* First the columns that are never left out, then the others. */
	for (size_t turn = 0; turn <= tab->left_out_count; turn++)
		for (size_t i = 0; i < layout->count; i++) {
			struct top_slot *slot = &layout->slots[i];
			bool can_leave = is_left_out(tab, slot->column, tab->left_out_count);

			if (turn ? slot->column != tab->left_out[tab->left_out_count - turn]
				 : can_leave || slot->column == TOP_OPERATION)
				continue;
			unsigned more = wanted(slot->column, needed[slot->column]) - slot->width;

			more = more > room ? room : more;
			slot->width += more;
			room -= more;
		}
	if (layout->count && layout->slots[layout->count - 1].column == TOP_OPERATION)
		layout->slots[layout->count - 1].width += room;
}

void top_lay_out(enum top_tab tab, unsigned columns, const unsigned needed[TOP_COLUMNS],
		 struct top_layout *ret_layout)
{
	const struct tab *of = &tabs[tab];
	size_t left_out = 0;
	unsigned width;

	for (;;) {
		width = place_smallest(of, left_out, needed, ret_layout);
		if (width <= columns || left_out == of->left_out_count)
			break;
		left_out++;
	}
	widen(of, needed, width < columns ? columns - width : 0, ret_layout);
	unsigned x = 0;
	for (size_t i = 0; i < ret_layout->count; i++) {
		struct top_slot *slot = &ret_layout->slots[i];

		slot->x = x;
		/* On a line too short for even these, the last ones are cut. */
		if (x + slot->width > columns)
			slot->width = x < columns ? columns - x : 0;
		x += slot->width + 1;
	}
}
