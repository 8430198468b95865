/* SPDX-License-Identifier: MIT */
/* The columns of ctxtool top, and which of them a line of some width has. */
#ifndef TOP_LAYOUT_H
#define TOP_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

enum top_tab {
	TOP_CONTEXTS,
	TOP_PROCESSES,
	TOP_LABELS,
	TOP_USERS,
	TOP_TABS,
	TOP_TREES = TOP_TABS, /* contexts as trees: another line under the tab of contexts */
};

enum top_column {
	TOP_ID,
	TOP_PID,
	TOP_PROCESS,
	TOP_LABEL_STEM,
	TOP_USER,
	TOP_STATE,
	TOP_AGE,
	TOP_LEFT,
	TOP_LIVE,
	TOP_OPS,
	TOP_STUCK,
	TOP_WAIT,
	TOP_BEGUN,
	TOP_ENDED,
	TOP_CANCELLED,
	TOP_EXPIRED,
	TOP_P50,
	TOP_P99,
	TOP_LABEL,
	TOP_TREE, /* the label below that of its parent */
	TOP_OPERATION,
	TOP_COLUMNS,
};

struct top_column_spec {
	const char *title;
	const char *words; /* what it shows, for the help */
	unsigned width_min;
	unsigned width_max; /* a cell that needs more is cut; 0: it is never cut */
	bool to_right;	    /* numbers */
	bool descending;    /* the greatest is further up when it is sorted by */
	bool sortable;
};

const struct top_column_spec *top_column_spec(enum top_column column);

const char *top_tab_name(enum top_tab tab);

/* Returns the columns of a tab from left to right, and how many they are. */
const enum top_column *top_columns_of(enum top_tab tab, size_t *ret_count);

/* Returns the column by which a tab is sorted at first, and the one after `column` by which it can be. */
enum top_column top_first_order(enum top_tab tab);
enum top_column top_next_order(enum top_tab tab, enum top_column column);

/* A column on the screen. Between two columns is one blank. */
struct top_slot {
	enum top_column column;
	unsigned x, width;
};

struct top_layout {
	struct top_slot slots[TOP_COLUMNS];
	size_t count;
};

/*
 * Lays out the columns of a tab on a line. needed has for each column how many characters its cells and its
 * title want. All columns get that where the line has room. Where it has not, columns that can be cut shrink
 * to their smallest width; then columns are left out, the least important first. The label or name, the
 * operations and, of contexts, the oldest operation are never left out. The last column gets what is over.
 */
void top_lay_out(enum top_tab tab, unsigned columns, const unsigned needed[TOP_COLUMNS],
		 struct top_layout *ret_layout);

#endif
