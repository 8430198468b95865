/* SPDX-License-Identifier: MIT */
/* Ending contexts of other processes through the service. */
#ifndef TOOL_VICTIM_H
#define TOOL_VICTIM_H

#include "discover.h"
#include "service.h"
#include "terminal.h"

/* What is to end: a context of a table, or one known by the service's id alone. */
struct victim {
	struct process *process; /* NULL: by id */
	struct reader_context *context;
	struct ctxd_id id;	       /* {0, 0}: by table */
	uint32_t contexts, operations; /* live, itself and below */
	char name[ESCAPED_SIZE + 64];  /* id and label, escaped */
};

/* Fills name and counts. */
void victim_describe(struct victim *victim);

/* What victim_cancel would do; only asked is counted. 0 or -errno. */
int victim_try(const struct victim *victim, struct ctxd_report *ret_report);

/* Whether the process is a ctxtool run, which can be ended without the service. */
bool process_is_run(const struct process *process);

/* Ends it, and in processes that joined what it shares when its own process does not answer. 0 or -errno. */
int victim_cancel(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
		  struct ctxd_report *ret_report);

/* "2 processes; 200 operations reaped: 199 cancelled, ..." */
char *report_text(const struct ctxd_report *report, char *buffer, size_t size);

#endif
