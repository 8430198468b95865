/* SPDX-License-Identifier: MIT */
/* The columns of listings of contexts. */
#ifndef TOOL_CONTEXT_COLUMNS_H
#define TOOL_CONTEXT_COLUMNS_H

#include "process_columns.h"

/* A row of these columns. */
struct context_row {
	struct process *process;
	const struct reader_context *context;
};

extern const struct column context_columns[];

/* The names of the columns, for the help of a command. */
#define CONTEXT_COLUMN_NAMES                                                                \
	"id, state, age, left, ops, user, process, label, cause, pid, uid, kind, parent,\n" \
	"children, depth, thread, site"

struct context_rows {
	struct context_row *rows;
	size_t count;
};

/* Makes a row for each context that is to be shown, in preorder. 0, and the caller calls context_rows_free();
 * or -ENOMEM. */
int context_rows_collect(struct survey *survey, struct context_rows *ret_rows);
void context_rows_free(struct context_rows *rows);

/* Returns how many children the context of a row has. */
uint32_t context_row_children(const struct context_row *row);

#endif
