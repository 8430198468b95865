/* SPDX-License-Identifier: MIT */
/* The command line, and what is said on standard error about mistakes in it. */
#ifndef TOOL_USAGE_H
#define TOOL_USAGE_H

struct option;

/*
 * Returns the next option as getopt_long(3) does. Names an option that is not known, or that lacks its
 * value, on standard error, escaped and after "program: ", and returns '?'. Where several options begin with
 * the word, it names these.
 */
int next_option(const char *program, int argc, char **argv, const char *letters, const struct option *known);

/* Says on standard error what is wrong, with value, escaped, unless that is NULL, and where to find help. */
void complain_of_usage(const char *program, const char *what, const char *value);

#endif
