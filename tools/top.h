/* SPDX-License-Identifier: MIT */
/* ctxtool top: its rows, and its screen. */
#ifndef TOOL_TOP_H
#define TOOL_TOP_H

#include "view.h"

struct top_row {
	struct process *process;
	const struct reader_context *context;
	uint64_t waiting_ns; /* of its oldest operation */
};

enum top_order {
	TOP_BY_OPERATIONS,
	TOP_BY_AGE,
	TOP_BY_TIME_LEFT,
	TOP_BY_LABEL,
	TOP_ORDERS,
};

/* All contexts of the survey, most operations first. rows has room for all. Returns how many. */
size_t top_collect(struct survey *survey, struct top_row *rows);

void top_sort(struct top_row *rows, size_t count, enum top_order order, bool reverse);
const char *top_order_name(enum top_order order);

/* NULL: it has none. */
const struct reader_operation *top_oldest(const struct process *process,
					  const struct reader_context *context);

/* Shows the survey until q. An exit code. */
int top_screen(const struct view_options *options);

#endif
