/* SPDX-License-Identifier: MIT */
#ifndef TOOL_JSON_H
#define TOOL_JSON_H

#include "view.h"

/*
 * Prints the survey, or what options->id selects of it, as one JSON document: on one
 * line when the view repeats, so that each line is a document. An exit code.
 */
int json_print(const struct view_options *options, const struct view *view, struct survey *survey);

/* text as the inside of a JSON string, which is also that of a label of OpenMetrics. Returns buffer. */
char *json_text(const char *text, char *buffer, size_t size);

/* The same of text that has been escaped. */
char *json_quote(const char *escaped_text, char *buffer, size_t size);

#endif
