/* SPDX-License-Identifier: MIT */
/* The screen of ctxtool top: draw.c draws it, keys.c obeys keys and the mouse, loop.c refreshes it. */
#ifndef TOP_SCREEN_H
#define TOP_SCREEN_H

#include "model.h"
#include "pane.h"

#define TOP_COLUMNS_MIN 40
#define TOP_LINES_MIN 8

/* Lines of the screen. The rows begin below the titles; the last line has hints, answers and questions. */
enum top_line_of_screen {
	TOP_SUMS_Y,
	TOP_SPARKS_Y,
	TOP_TABS_Y,
	TOP_TITLES_Y,
	TOP_ROWS_Y,
};

enum top_mode {
	TOP_MODE_ROWS,
	TOP_MODE_FILTER,  /* a filter is being typed */
	TOP_MODE_CONFIRM, /* a cancel is to be confirmed */
};

enum top_pane_kind {
	TOP_PANE_NONE,
	TOP_PANE_HELP,
	TOP_PANE_DETAILS,
};

struct top_screen {
	struct top_model model;
	struct top_layout layout;
	const struct top_marks *marks;
	bool unicode, paused;
	bool must_look; /* something was cancelled */

	enum top_mode mode;
	char line[TOP_FILTER_SIZE]; /* the filter that is being typed */
	bool has_error;
	struct selection_error error; /* of that filter */
	struct top_place victim;      /* what is to be cancelled */
	char question[TEXT_SIZE];
	char status[TEXT_SIZE]; /* an answer, until the next key */

	enum top_pane_kind pane_kind;
	struct top_pane pane;
	struct top_place details_of; /* a context; or ctx_id is 0: a process */
	bool is_gone;		     /* what the details are of */
};

/* ---- draw.c */

/* Draws everything, after it has arranged the rows. */
void top_draw(struct top_screen *screen);

/* Returns how many lines the rows have, and the pane without its title. */
unsigned top_rows_shown(const struct top_screen *screen);
unsigned top_pane_shown(const struct top_screen *screen);

/* Returns the tab at that column of the line of tabs, or TOP_TABS. */
enum top_tab top_tab_at(unsigned x);

/* ---- details.c */

/* Opens the pane with the help, or with the details of the row. 0 or -ENOMEM. */
int top_open_help(struct top_screen *screen);
int top_open_details(struct top_screen *screen, const struct top_row *row);
/* Writes the details anew after a look. What is gone keeps the last ones. 0 or -ENOMEM. */
int top_refresh_details(struct top_screen *screen);
void top_close_pane(struct top_screen *screen);

/* Finds what is at a place in the last look. NULL: it is gone. The process comes back in *ret_process. */
const struct reader_context *top_find_at(struct top_model *model, struct top_place place,
					 struct process **ret_process);

/* ---- keys.c */

/* Obeys a key of curses. 0: go on; 1: quit; or -ENOMEM. */
int top_press(struct top_screen *screen, int key);

/* ---- loop.c */

/* Shows the screen until the user quits. Returns the exit code. */
int top_screen(const struct view_options *options);

#endif
