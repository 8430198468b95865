/* SPDX-License-Identifier: MIT */
/* Patterns: "*" stands for any bytes, "?" for one character, and a byte after "\" for itself. */
#ifndef TOOL_PATTERN_H
#define TOOL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the whole text has the form of the pattern. Takes no more than time and memory for both allow. */
bool pattern_matches(const char *pattern, const char *text);

/*
 * Returns the index of the name that the user may have meant by text; SIZE_MAX: it is like none of them.
 * name_at returns NULL after the last one.
 */
size_t closest_name(const char *text, const char *(*name_at)(size_t index, void *data), void *data);

#endif
