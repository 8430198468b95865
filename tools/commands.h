/* SPDX-License-Identifier: MIT */
/* The commands of ctxtool, each in the file of its name; ls is in list.c. main.c has the table of them. */
#ifndef TOOL_COMMANDS_H
#define TOOL_COMMANDS_H

#include "view.h"

/* Commands that print what is found in the tables of processes: view_run() in common/view.c runs them. */
extern const struct view view_ls, view_tree, view_show, view_top, view_stats, view_leaks, view_history;

/* The others take their command line, argv[0] being the command, and return the exit code. */
int cancel_run(int argc, char **argv);
int doctor_run(int argc, char **argv);
int fleet_run(int argc, char **argv);
int last_run(int argc, char **argv);
int record_run(int argc, char **argv);
int run_run(int argc, char **argv);
int watch_run(int argc, char **argv);

/* ls and tree with --fleet, in list_fleet.c and tree_fleet.c. */
int list_print_fleet(const struct view_options *options, const struct forest *forest);
int tree_print_fleet(const struct view_options *options, const struct forest *forest);

/* ctxtool called as timeout: argv[0] is the name that it was called by. */
int run_timeout(int argc, char **argv);

#endif
