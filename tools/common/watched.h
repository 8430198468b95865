/* SPDX-License-Identifier: MIT */
/* What a source watches, for people and as JSON. */
#ifndef TOOL_WATCHED_H
#define TOOL_WATCHED_H

#include <jansson.h>

#include "discover.h"
#include "format.h"

/*
 * Writes what the event is that ends a live source, as "SIGINT or SIGTERM" or "the peer of fd 7 tcp ... hangs
 * up";
 * "" for other contexts. Returns buffer.
 */
char *watched_text(struct process *process, const struct reader_context *context, char buffer[TEXT_SIZE]);

/* The same as an object; null for other contexts. */
json_t *watched_json(struct process *process, const struct reader_context *context);

#endif
