/* SPDX-License-Identifier: MIT */
/*
 * What ctxtool stats adds up of a survey, in stats_collect.c, for its forms: text and JSON in stats.c, the
 * text of Prometheus in stats_metrics.c, which stats_listen.c serves.
 */
#ifndef TOOL_STATS_H
#define TOOL_STATS_H

#include <stdio.h>

#include "names.h"
#include "view.h"

/* So many stems of a process have a row each, the most used ones. The others are added up as "other". */
#define STATS_STEMS_MAX 20u
#define STATS_OTHER "other"

/* The contexts of one process that have the same stem of labels. */
struct stats_row {
	struct process *process;
	unsigned table; /* which of the tables of its process, from 0; most processes have one */
	char stem[CTX_TABLE_LABEL_SIZE]; /* "": contexts without a label; not escaped */
	uint64_t live, operations;	 /* now */
	bool counted;			 /* what follows is known: the library counts */
	struct stem_counters counters;	 /* since the process began */
};

struct stats {
	uint64_t processes, unreadable, rings, live, cancelled, expired, operations, batches, oldest_ns;
	uint64_t by_opcode[NAMES_OPCODES + 1];	     /* the last one adds up opcodes without a name */
	uint64_t clients, published, shared, joined; /* of the service */
	struct stats_row *rows; /* by process, in each the most used first and "other" last */
	size_t row_count;
};

/* Adds up. with_service: also what the service knows. 0, and the caller calls stats_free(); or -ENOMEM. */
int stats_collect(const struct survey *survey, bool with_service, struct stats *ret_stats);
void stats_free(struct stats *stats);

/* How many contexts ended, those included that were freed while they were live; and how many of them by
 * something else than a deadline. */
uint64_t stats_row_ended(const struct stats_row *row);
uint64_t stats_row_cancelled(const struct stats_row *row);

enum stats_format {
	STATS_OPENMETRICS, /* OpenMetrics 1.0 */
	STATS_PLAIN,	   /* Prometheus's own, 0.0.4 */
};
#define STATS_FORMATS 2

/* Writes the metrics. Errors of writing are those of the stream. */
void stats_write_metrics(const struct stats *stats, enum stats_format format, FILE *to);

#endif
