/* SPDX-License-Identifier: MIT */
/* Finds the context that an operand means. */
#ifndef TOOL_TARGET_H
#define TOOL_TARGET_H

#include "discover.h"
#include "exit_code.h"

struct target {
	struct process *process;	/* NULL: not found */
	struct reader_context *context; /* NULL: the operand means the whole process */
};

/*
 * The operand is PID:SLOT.GENERATION; SLOT.GENERATION, when the survey has one process; a PID; or a label
 * that one context alone has. For target_find_live() it must be the label of one live context alone. EXIT_OK;
 * or says on standard error what is wrong and returns the exit code.
 */
int target_find_live(const char *operand, struct survey *survey, struct target *ret_target);
int target_find(const char *operand, struct survey *survey, struct target *ret_target);

#endif
