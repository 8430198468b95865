/* SPDX-License-Identifier: MIT */
/* What ctxtool top shows: which tab, filter and order, the rows of these, and the bar. */
#ifndef TOP_MODEL_H
#define TOP_MODEL_H

#include "cells.h"
#include "rates.h"
#include "selection.h"
#include "spark.h"
#include "view.h"

#define TOP_FILTER_SIZE 512

struct top_model {
	const struct view_options *options;
	struct survey survey;
	struct top_rates rates;
	struct top_groups groups;
	struct top_rows rows;

	enum top_tab tab;
	struct top_order orders[TOP_TABS];
	bool tree; /* contexts are shown as trees */
	struct top_folds folds;
	char filter[TOP_FILTER_SIZE]; /* the expression; "": none */
	struct selection *selection;

	size_t first;  /* index of the uppermost row on the screen */
	size_t chosen; /* index of the row under the bar */
	/* What the bar is on. Once it was moved from the first row, it follows that. */
	struct top_place chosen_place;
	char chosen_group[CTX_TABLE_LABEL_SIZE];
	bool moved; /* the bar was moved since the rows were arranged */

	unsigned needed[TOP_COLUMNS]; /* the widths that cells have needed so far on this tab */
	struct top_spark in_flight, ends;
	double ended;	/* per second, in all processes */
	bool has_ended; /* false: that is not known */
};

/* Says what is wrong with the options. -1: nothing; else the exit code. */
int top_check(const struct view_options *options);

/* Begins with what the options name. */
void top_model_begin(struct top_model *model, const struct view_options *options);
void top_model_free(struct top_model *model);

/* Looks at the processes anew, whatever the operands of the command select. 0 or -errno. */
int top_look(struct top_model *model, uint64_t now_ns);

/* Takes over a survey that was just made, and leaves an empty one. 0 or -ENOMEM. */
int top_take(struct top_model *model, struct survey *survey, uint64_t now_ns);

/*
 * Makes the rows anew: after a change of tab, filter, tree or folds. Afterwards, and after the order, the bar
 * or the number of rows on the screen have changed, top_arrange() puts those rows in order which are shown.
 * 0 or -ENOMEM.
 */
int top_fill(struct top_model *model);
void top_arrange(struct top_model *model, size_t shown);

/* Chooses a tab, or an order; the bar goes to the first row of another tab. */
void top_set_tab(struct top_model *model, enum top_tab tab);
void top_set_order(struct top_model *model, enum top_column column, bool reverse);

/* Sets the filter. 0; -EINVAL, and *ret_error says why not; or -ENOMEM. */
int top_set_filter(struct top_model *model, const char *text, struct selection_error *ret_error);

/* Moves the bar by so many rows, no further than to the first or last; or to one. top_arrange() has to
 * follow. */
void top_move(struct top_model *model, long by);
void top_choose(struct top_model *model, size_t row);

/* Returns the row under the bar, NULL without rows. Only after top_arrange(). */
const struct top_row *top_chosen(const struct top_model *model);

/* The columns of the tab as it is shown now, and the order; NULL: rows of trees are in no order. */
enum top_tab top_line(const struct top_model *model);
const struct top_order *top_order_of(const struct top_model *model);

/* Sums over all processes, whatever the filter leaves. */
struct top_sums {
	size_t processes, unread;
	uint64_t rings, contexts, live, operations;
};
struct top_sums top_sum(const struct top_model *model);

#endif
