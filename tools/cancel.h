/* SPDX-License-Identifier: MIT */
/* What the command line of ctxtool cancel says, for both of its files. */
#ifndef TOOL_CANCEL_H
#define TOOL_CANCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "selection.h"

struct cancel_options {
	pid_t *pids;
	size_t pid_count;
	bool subtree, all, dry_run, yes, json, wait;
	bool fleet, verbose;
	const char *text;
	int error;
	uint64_t wait_ns;
	struct selection *selection; /* what the operands are, unless each of them is a word */
};

/* Ends contexts of the fleet, which the operands name as HOST/EPOCH-NUMBER. Returns the exit code. */
int cancel_fleet(const struct cancel_options *options, char **operands, int count);

#endif
