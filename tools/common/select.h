/* SPDX-License-Identifier: MIT */
/* Finds the context that an operand means. */
#ifndef TOOL_SELECT_H
#define TOOL_SELECT_H

#include "discover.h"
#include "exit_code.h"

struct selection {
	struct process *process;	/* NULL: not found */
	struct reader_context *context; /* NULL: the operand means the whole process */
};

/*
 * The operand is PID:SLOT.GENERATION; SLOT.GENERATION, when the survey has one process; a PID; or a label
 * that one context alone has. For select_live() it must be the label of one live context alone. EXIT_OK; or
 * says on standard error what is wrong and returns the exit code.
 */
int select_live(const char *operand, struct survey *survey, struct selection *ret_selection);
int select_one(const char *operand, struct survey *survey, struct selection *ret_selection);

#endif
