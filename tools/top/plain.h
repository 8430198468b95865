/* SPDX-License-Identifier: MIT */
/* The plain form of ctxtool top, for a pipe. */
#ifndef TOP_PLAIN_H
#define TOP_PLAIN_H

#include "view.h"

/* Prints what the screen would show, on lines as long as COLUMNS says or as they need. Returns the exit code.
 */
int top_print(const struct view_options *options, struct survey *survey);

#endif
