/* SPDX-License-Identifier: MIT */
#include "branches.h"

#include <inttypes.h>
#include <stdio.h>

#include "terminal.h"

void branches_print(const struct branches *branches, uint32_t depth)
{
	uint32_t levels = depth < BRANCHES_MAX ? depth : BRANCHES_MAX;

	for (uint32_t i = 0; i < levels; i++)
		fputs(!terminal()->lines ? "  " : branches->open[i] ? "│ " : "  ", stdout);
	if (depth > BRANCHES_MAX)
		printf("[depth %" PRIu32 "] ", depth);
}

void branches_set(struct branches *branches, uint32_t depth, bool open)
{
	if (depth <= BRANCHES_MAX)
		branches->open[depth] = open;
}
