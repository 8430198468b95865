/* SPDX-License-Identifier: MIT */
/* The counters of processes as OpenMetrics text. */
#ifndef TOOL_STATS_METRICS_H
#define TOOL_STATS_METRICS_H

#include "discover.h"

/* Prints the families of counters and histograms. 0, or -1: no memory. */
int stats_print_counters(const struct survey *survey);

#endif
