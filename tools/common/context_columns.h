/* SPDX-License-Identifier: MIT */
/* The columns of listings of contexts. */
#ifndef TOOL_CONTEXT_COLUMNS_H
#define TOOL_CONTEXT_COLUMNS_H

#include "columns.h"

/* A row of these columns. */
struct context_row {
	struct process *process;
	const struct reader_context *context;
	const char *comm, *user; /* of the process, escaped */
};

extern const struct column context_columns[];

/* The names of the columns, for the help of a command. */
#define CONTEXT_COLUMN_NAMES                                                                \
	"id, state, age, left, ops, user, process, label, cause, pid, uid, kind, parent,\n" \
	"children, depth, thread, site"

/* The texts of a process that its rows share. */
struct process_texts {
	char comm[ESCAPED_SIZE], user[ESCAPED_SIZE];
};

struct context_rows {
	struct context_row *rows;
	size_t count;
	struct process_texts *texts; /* one for each process of the survey */
};

/* Makes a row for each context that is to be shown, in preorder. 0, and the caller calls context_rows_free();
 * or -ENOMEM. */
int context_rows_collect(struct survey *survey, struct context_rows *ret_rows);
void context_rows_free(struct context_rows *rows);

#endif
