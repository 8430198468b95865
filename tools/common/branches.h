/* SPDX-License-Identifier: MIT */
/* The lines that lead from a line of a tree to those below it. */
#ifndef TOOL_BRANCHES_H
#define TOOL_BRANCHES_H

#include <stdbool.h>
#include <stdint.h>

/* Deeper lines are not indented further: 100,000 below each other would print gigabytes of blanks. */
#define BRANCHES_MAX 32

/* For each level above the current line, whether it has another line below that one. */
struct branches {
	bool open[BRANCHES_MAX + 1];
};

void branches_print(const struct branches *branches, uint32_t depth);
void branches_set(struct branches *branches, uint32_t depth, bool open);

#endif
