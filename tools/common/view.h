/* SPDX-License-Identifier: MIT */
/*
 * What the sub-commands that look at tables share: their options, the survey,
 * and repeating it.
 */
#ifndef TOOL_VIEW_H
#define TOOL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discover.h"
#include "exit_code.h"

struct view_options {
	pid_t *pids;
	size_t pid_count;
	const char *core;
	const char *id; /* the operand, of those that take one */
	bool json;
	bool watch;
	bool operations;   /* ls: each operation too */
	bool openmetrics;  /* stats */
	uint64_t older_ns; /* leaks; 0: as it thinks fit */
	uint64_t interval_ns;
	unsigned rounds; /* stop after so many, 0: do not */
};

struct view {
	const char *name;
	const char *help;
	bool takes_id;
	bool own_json;	    /* print writes JSON by itself */
	bool always_prints; /* also when nothing was found */
	bool shows_copies;  /* of contexts that others share, too */
	bool full_screen;   /* repeats without --watch */
	/* Where a person looks on: instead of repeating print. NULL: nothing special. */
	int (*screen)(const struct view_options *options);
	/* Prints what was found; an exit code. */
	int (*print)(const struct view_options *options, struct survey *survey);
};

/* Parses the options of view, surveys, prints, and repeats if asked to. Returns the exit code. */
int view_run(const struct view *view, int argc, char **argv);

/* What the options ask to look at. 0 or -errno. */
int view_survey(const struct view_options *options, struct survey *ret_survey);

#endif
