/* SPDX-License-Identifier: MIT */
/* What several commands take on their command lines. */
#ifndef TOOL_ARGUMENTS_H
#define TOOL_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "selection.h"

/*
 * Adds the number of a process to a list, unless it is there. The caller frees *pids. -1: go on; else the
 * exit code, and what is wrong was said on standard error.
 */
int argument_pid(const char *program, const char *text, pid_t **pids, size_t *count);

/* Whether the list has the process, as an empty one does. */
bool is_pid_wanted(pid_t pid, const pid_t *pids, size_t count);

/* Reads a whole number from 1 to most. 0 or -EINVAL. */
int argument_count(const char *text, unsigned long most, unsigned long *ret_count);

/*
 * Reads operands as a selection of things of which the keys are known; of_what says what these are, see
 * selection_check_keys(). -1: go on, and the caller frees both results, which are NULL without operands; else
 * the exit code, and what is wrong was said on standard error.
 */
int argument_selection(const char *program, char *const *operands, int count, unsigned keys,
		       const char *of_what, struct selection **ret_selection, char **ret_text);

#endif
