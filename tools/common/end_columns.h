/* SPDX-License-Identifier: MIT */
/* The columns of listings of ends. */
#ifndef TOOL_END_COLUMNS_H
#define TOOL_END_COLUMNS_H

#include "ends.h"
#include "process_columns.h"

/* A row of these columns. */
struct end_row {
	struct process *process;
	const struct ends *ends;
	const struct past_end *end;
	bool utc; /* times of the day are in UTC */
};

extern const struct column end_columns[];

/* The names of the columns, for the help of a command. */
#define END_COLUMN_NAMES "time, id, process, user, label, state, ops, took, cause, pid, uid, site"

/* The columns that are shown when none are chosen. */
#define END_COLUMNS_DEFAULT "time,id,process,user,label,state,ops,took,cause"

#endif
