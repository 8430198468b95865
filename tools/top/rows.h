/* SPDX-License-Identifier: MIT */
/*
 * The rows of ctxtool top and their order. Nothing here makes a system call or prints.
 *
 * This folder, top/, is ctxtool top. Its files, from below upwards: short, spark, pane, layout, rates,
 * groups and rows, which tests call without a screen; theme and cells, which make text of a row; counts,
 * which takes what processes count; model, which has all that is shown; plain, for a pipe; style, draw,
 * details, keys and loop, for the screen. It may use common/, select/, read/ and text/.
 */
#ifndef TOP_ROWS_H
#define TOP_ROWS_H

#include "discover.h"
#include "groups.h"
#include "layout.h"

struct top_row {
	struct process *process;	       /* of a group: that of its oldest operation, or NULL */
	const struct reader_context *context;  /* NULL: the row is a group */
	const struct top_group *group;	       /* NULL: the row is a context */
	const struct reader_operation *oldest; /* the operation that is in flight longest; NULL: none is */
	uint64_t waiting_ns;		       /* for how long that is; 0 without one */
	uint64_t key;			       /* by which it is sorted: smaller is further up */
	uint32_t operations;
	uint32_t hidden; /* contexts below a folded one. Their operations are counted in the row. */
};

struct top_rows {
	struct top_row *rows;
	size_t count, room;
};

/* Tells whether the filter leaves a context; data is the caller's. */
struct top_filter {
	bool (*matches)(struct process *process, const struct reader_context *context, void *data);
	void *data; /* NULL: no filter is set */
};

/* Identifies a context from one round to the next. */
struct top_place {
	uint64_t table, ctx_id;
};

/* The contexts whose descendants are not shown, sorted. */
struct top_folds {
	struct top_place *places;
	size_t count, room;
};

struct top_order {
	enum top_column column;
	bool reverse;
};

struct top_place top_place_of(const struct process *process, const struct reader_context *context);
bool top_is_same_place(struct top_place a, struct top_place b);

bool top_is_folded(const struct top_folds *folds, struct top_place place);
/* Folds what is not folded, and the other way round. 0 or -ENOMEM. */
int top_fold(struct top_folds *folds, struct top_place place);

/* Returns the operation of the context that has been in flight longest; NULL: it has none. */
const struct reader_operation *top_oldest(const struct process *process,
					  const struct reader_context *context);

/* Fills rows with the contexts that the filter leaves, in no order. 0 or -ENOMEM. */
int top_list(struct survey *survey, const struct top_filter *filter, struct top_rows *rows);

/*
 * Fills rows with the trees of contexts: those that the filter leaves and their ancestors, parents before
 * their children, without what is below folded ones. A folded row has the sums of what it hides. 0 or
 * -ENOMEM.
 */
int top_tree(struct survey *survey, const struct top_filter *filter, const struct top_folds *folds,
	     struct top_rows *rows);

/* Fills rows with the groups. 0 or -ENOMEM. */
int top_group_rows(const struct top_groups *groups, struct top_rows *rows);

/* Sets the keys of all rows. To be called before what follows, and again when the rows or the order change.
 */
void top_set_keys(struct top_rows *rows, struct top_order order);

/*
 * Puts the rows that belong at the places from first to first + count in that order there. Those before are
 * further up, in any order, and those after further down: the time for a page of many rows is linear in their
 * number. Reversing the order does not reverse rows that are equal in it. These come the longest waiting
 * first, if the order is that by operations; then live before done, old before young, and by pid and slot;
 * groups by name.
 */
void top_sort(struct top_rows *rows, struct top_order order, size_t first, size_t count);

/* Returns at which place a row belongs. */
size_t top_rank(const struct top_rows *rows, struct top_order order, const struct top_row *row);

/* Returns the index of the context's or the group's row; SIZE_MAX: there is none. */
size_t top_find_context(const struct top_rows *rows, struct top_place place);
size_t top_find_group(const struct top_rows *rows, const char *name);

#endif
