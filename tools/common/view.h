/* SPDX-License-Identifier: MIT */
/*
 * The common part of commands that look at tables: options, survey, repeating.
 *
 * This folder, common/, holds what several commands use; it may use select/, read/ and text/, and no command.
 */
#ifndef TOOL_VIEW_H
#define TOOL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "columns.h"
#include "discover.h"
#include "exit_code.h"
#include "fleet_hosts.h"
#include "selection.h"

/* What the help of a command says that takes a selection. */
#define SELECTION_HELP                                                                                      \
	"A SELECTION is made of tests as pid=12, comm=nginx*, user=www-data, label=/slow*, state=due,\n"    \
	"older=5s, left<1s, op=RECV, ops>9, fd~:5432, kind=deadline and cause=call, joined with and, or,\n" \
	"not and parentheses; or it is one or more ids, PIDs or labels. See SELECTION in ctxtool(1).\n"

struct view_options {
	pid_t *pids;
	size_t pid_count;
	const char *core;
	const char *id; /* the operand of a command that takes one */
	/* What the operands of other commands select; NULL: everything. */
	struct selection *selection;
	char *selection_text;
	bool all; /* show the contexts of ctxd and ctxd-fleet too */
	/* The columns that are chosen, of a command that has some, and whether their headings are printed. */
	const char *columns, *sort;
	struct layout layout;
	bool no_header;
	bool utc;		     /* times of the day are in UTC, and not local */
	uint64_t since_ns, until_ns; /* history: so long ago; 0: not given */
	bool follow;		     /* history: go on */
	bool json;
	bool fleet;		/* look at all hosts of the fleet instead of this one's tables */
	const char *host;	/* look at this one only; NULL: at all */
	uint64_t fleet_wait_ns; /* how long to wait for hosts that do not answer */
	bool watch;
	bool operations;    /* ls: print each operation too */
	bool rings;	    /* tree: print the rings too */
	bool openmetrics;   /* stats: print OpenMetrics text */
	const char *listen; /* stats: the address to serve metrics at; NULL: not named */
	const char *theme;  /* top: the colours; NULL: not named */
	const char *by;	    /* top: what is summed up first; NULL: nothing */
	uint64_t older_ns;  /* leaks: the age; 0: a minute */
	uint64_t interval_ns;
	unsigned rounds; /* stop after so many; 0: do not stop */
};

/* Letters of options without a short form. */
#define VIEW_SINCE '\1'
#define VIEW_UNTIL '\2'

/* A command that prints what is found in tables. */
struct view {
	const char *name;
	const char *help;
	/* The short forms of the options that it accepts, which are those in help, and VIEW_... of those that
	 * have no short form. */
	const char *letters;
	bool takes_id;		 /* wants an operand, and no selection */
	bool keeps_ancestors;	 /* shows beside what is selected what that stands below: survey_filter() */
	bool keeps_counters;	 /* selects counters, too: survey_filter_counted() */
	unsigned selection_keys; /* what a selection can ask for, see selection_check_keys(); 0: for all */
	const char *selection_of;
	const struct column *columns;		    /* for --columns and --sort */
	const char *default_columns, *default_sort; /* default_sort may be NULL */
	bool own_json;				    /* print writes JSON itself, instead of json_print() */
	bool always_prints;			    /* prints also when nothing is found */
	bool shows_copies;			    /* prints also the contexts of copies.h */
	bool full_screen;			    /* repeats also without --watch */
	/* Says what is wrong with the values of options of its own. -1: nothing; else the exit code. May be
	 * NULL. */
	int (*check)(const struct view_options *options);
	/*
	 * Takes the place of print on a terminal, and refuses one that it cannot use; may be NULL. Returns
	 * the exit code.
	 */
	int (*screen)(const struct view_options *options);
	/* May take the place of all that follows, and returns the exit code; -1: go on. May be NULL. */
	int (*run)(const struct view_options *options);
	/* Prints what is found. Returns the exit code. */
	int (*print)(const struct view_options *options, struct survey *survey);
	/* Prints what the hosts of the fleet tell, for --fleet, also as JSON. */
	int (*print_fleet)(const struct view_options *options, const struct forest *forest);
};

/* Runs a command: reads its options, looks, prints, and repeats if asked to. Returns the exit code. */
int view_run(const struct view *view, int argc, char **argv);

/* Looks at what the options name. 0 or -errno. */
int view_survey(const struct view_options *options, struct survey *ret_survey);

/* Says on standard error what could not be read. Returns the exit code for that alone. */
int view_print_unreadable(const struct view_options *options, const struct survey *survey);

/* Leaves of it what is selected, and the service only where it is asked for; see survey_filter(). */
void view_select(const struct view_options *options, bool with_ancestors, struct survey *survey);
/* The same with counters; see survey_filter_counted(). */
void view_select_counted(const struct view_options *options, struct survey *survey);

#endif
