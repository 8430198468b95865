/* SPDX-License-Identifier: MIT */
/*
 * The file that a recording is written to. It takes the place of another one when it is complete, and not
 * before: until then it has no name, or where the file system has no such files, one of its own beside the
 * other.
 */
#ifndef TOOL_OUTPUT_H
#define TOOL_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

struct output {
	const char *path;
	FILE *to;
	bool unnamed;
	char *temporary; /* the name beside path; NULL: it has none */
};

/*
 * Opens the file for path, "-" for standard output, with the rights that path has or would get. A device or a
 * pipe is written directly, a symbolic link is replaced. 0 or -errno.
 */
int output_open(const char *path, struct output *ret_output);

/* Writes out what is buffered and gives the file its name. 0 or -errno. */
int output_finish(struct output *output);

/* Closes it. Without a call of output_finish() that succeeded nothing is left, and path is what it was. */
void output_close(struct output *output);

#endif
