/* SPDX-License-Identifier: MIT */
/* Writes a recording, after recording_finish(), in the formats of ctxtool record. */
#ifndef TOOL_WRITE_H
#define TOOL_WRITE_H

#include <stdio.h>

#include "recording.h"

/* The format of traces that chrome://tracing and Perfetto read. 0 or -ENOMEM; errors of to stay in to. */
int write_trace(const struct recording *recording, FILE *to);

/* One page of HTML that needs nothing else. */
int write_page(const struct recording *recording, FILE *to);

/* Spans of OpenTelemetry, as one request of OTLP in JSON. */
int write_otlp(const struct recording *recording, FILE *to);

/*
 * Writes an escaped text as a string of JSON, with its quotes. "<" is written as a number, so that the string
 * can stand within a script of HTML.
 */
void write_string(FILE *to, const char *escaped_text);
/* The same for the text at an offset. */
void write_text(FILE *to, const struct recording *recording, uint32_t text);

#endif
