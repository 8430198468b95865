/* SPDX-License-Identifier: MIT */
/* ctxtool top: top_sort.c has its rows and their order, top_screen.c its screen, top.c the rest. */
#ifndef TOOL_TOP_H
#define TOOL_TOP_H

#include "view.h"

struct top_row {
	struct process *process;
	const struct reader_context *context;
	uint64_t waiting_ns; /* how long its oldest operation has been in flight; 0 without one */
};

enum top_order {
	TOP_BY_OPERATIONS, /* the most operations first */
	TOP_BY_AGE,	   /* the oldest first */
	TOP_BY_TIME_LEFT,  /* the next deadline first, contexts without one last */
	TOP_BY_LABEL,	   /* in the order of strcmp(3) */
	TOP_ORDERS,
};

/* Fills rows, which has room for all contexts of the survey, by operations. Returns how many there are. */
size_t top_collect(struct survey *survey, struct top_row *rows);

/*
 * Sorts the rows. Reversing the order does not reverse rows that are equal in it. These come the longest
 * waiting first, if the order is that by operations; then live before done, old before young, and by pid and
 * slot.
 */
void top_sort(struct top_row *rows, size_t count, enum top_order order, bool reverse);

const char *top_order_name(enum top_order order);

/* The operation of the context that has been in flight longest; NULL: it has none. */
const struct reader_operation *top_oldest(const struct process *process,
					  const struct reader_context *context);

/* Shows the contexts until the user quits. Returns the exit code. */
int top_screen(const struct view_options *options);

#endif
