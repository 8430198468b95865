/* SPDX-License-Identifier: MIT */
/* Values of JSON. */
#ifndef TOOL_JSON_VALUES_H
#define TOOL_JSON_VALUES_H

#include <jansson.h>
#include <stdint.h>

/* jansson's integers are signed. A number that is too great for them becomes the greatest. */
json_t *number_json(uint64_t value);

/* The text, escaped; the second one gives null for an empty text. */
json_t *escaped_json(const char *text);
json_t *escaped_or_null(const char *text);

/* The name of an errno, which may be negative; null for 0. */
json_t *error_or_null(int error);

#endif
