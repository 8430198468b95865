/* SPDX-License-Identifier: MIT */
/* Finding the context that an operand means. */
#ifndef TOOL_SELECT_H
#define TOOL_SELECT_H

#include "discover.h"
#include "exit_code.h"

struct selection {
	struct process *process;	/* NULL: not found */
	struct reader_context *context; /* NULL: the whole process was meant */
};

/*
 * The operand is PID:SLOT.GENERATION; SLOT.GENERATION, where one process is looked at;
 * a PID; or a label that one context alone has; for select_live one live context. EXIT_OK, or says what is
 * wrong and returns the code.
 */
int select_live(const char *operand, struct survey *survey, struct selection *ret_selection);
int select_one(const char *operand, struct survey *survey, struct selection *ret_selection);

#endif
