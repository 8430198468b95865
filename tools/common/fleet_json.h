/* SPDX-License-Identifier: MIT */
/* What the hosts of a fleet have told, as JSON. */
#ifndef TOOL_FLEET_JSON_H
#define TOOL_FLEET_JSON_H

#include <jansson.h>

#include "fleet_hosts.h"

/* An array of hosts; times are ages. NULL: no memory. */
json_t *hosts_json(const struct ctxd_host *hosts, size_t count, uint64_t now_ns);

/* The members of a report of a cancel, added to object. */
void report_json(json_t *object, const struct ctxd_report *report);

/*
 * Writes the hosts, and what they share and have joined as a flat list, in which each entry names its parent,
 * as one line or as a document of several. Returns the exit code.
 */
int fleet_print_json(const struct forest *forest, bool one_line);

#endif
