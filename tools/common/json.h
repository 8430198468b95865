/* SPDX-License-Identifier: MIT */
/* What is found as JSON. ctxtool(1) lists the members. */
#ifndef TOOL_JSON_H
#define TOOL_JSON_H

#include <jansson.h>

#include "view.h"

/*
 * Prints the survey, or what options->id selects of it, as one JSON document. It is on one line when the
 * command repeats, so that each line is a document. Returns the exit code.
 */
int json_print(const struct view_options *options, const struct view *view, struct survey *survey);

/* The function and line of a return address as an object; null where nothing is known. See site_names.h. */
json_t *site_name_json(const struct process *process, uint64_t site);

/* Escapes text and writes the inside of a JSON string, or of a label of OpenMetrics. Returns buffer. */
char *json_text(const char *text, char *buffer, size_t size);

/* The same for a text that is escaped already. */
char *json_quote(const char *escaped_text, char *buffer, size_t size);

#endif
