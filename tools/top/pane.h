/* SPDX-License-Identifier: MIT */
/* Lines of text in a part of the screen that can be scrolled. Nothing here draws. */
#ifndef TOP_PANE_H
#define TOP_PANE_H

#include <stddef.h>

#include "theme.h"

/* Further lines are left out, and the last one says how many of one text. */
#define TOP_PANE_LINES 20000

struct top_pane_line {
	char *text;
	enum top_style style;
};

struct top_pane {
	struct top_pane_line *lines;
	size_t count, room;
	size_t first; /* the row that is shown uppermost */
};

/* A line that is wider than the pane takes several rows; the further ones are indented by so much. */
#define TOP_PANE_INDENT 14

void top_pane_clear(struct top_pane *pane);

/* Adds a copy of each line of text. 0 or -ENOMEM. */
int top_pane_add(struct top_pane *pane, enum top_style style, const char *text);

/* Returns how many rows the lines take. */
size_t top_pane_rows(const struct top_pane *pane, unsigned width);

/* A part of a line. */
struct top_pane_row {
	const char *text; /* NULL: there is no such row */
	size_t bytes;
	unsigned indent;
	enum top_style style;
};

/* Fills in the `count` rows from pane->first on. */
void top_pane_get(const struct top_pane *pane, unsigned width, struct top_pane_row *rows, size_t count);

/* Scrolls by some rows, no further than to the beginning or until the end is at the bottom. */
void top_pane_scroll(struct top_pane *pane, unsigned width, size_t height, long by);

void top_pane_free(struct top_pane *pane);

#endif
