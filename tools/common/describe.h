/* SPDX-License-Identifier: MIT */
/* Everything that is known of one context or of one process, as text for people. For ctxtool show and top. */
#ifndef TOOL_DESCRIBE_H
#define TOOL_DESCRIBE_H

#include <stdbool.h>
#include <stdio.h>

#include "discover.h"

/* Writes lines: one that names the context, and below it one for each thing that is known. */
void describe_context(FILE *to, bool coloured, struct process *process, const struct reader_context *context);

/* Writes the process, the version and size of its table, and its rings. */
void describe_process(FILE *to, const struct process *process);

#endif
