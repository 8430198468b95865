/* SPDX-License-Identifier: MIT */
/* Ends contexts of other processes through the service. For ctxtool cancel and top. */
#ifndef TOOL_VICTIM_H
#define TOOL_VICTIM_H

#include "discover.h"
#include "service.h"
#include "terminal.h"

/* A context that is to end: one in a table, or one of which only the id of the service is known. */
struct victim {
	struct process *process; /* NULL: id names the context */
	struct reader_context *context;
	struct ctxd_id id;	       /* {0, 0}: process and context name the context */
	uint32_t contexts, operations; /* live contexts, itself and below, and their operations */
};

/* Fills in the counts, in as many steps as it counts. */
void victim_count(struct victim *victim);

/* Writes its id and label, escaped. Returns buffer. */
#define VICTIM_NAME_SIZE (ESCAPED_SIZE + 64)
char *victim_name(const struct victim *victim, char buffer[VICTIM_NAME_SIZE]);

/* Reports what victim_cancel() would do; of the counts only `asked` is set. 0 or -errno. */
int victim_try(const struct victim *victim, struct ctxd_report *ret_report);

/* Whether the process is a ctxtool run, which can be ended without the service. */
bool process_is_run(const struct process *process);

/*
 * Ends the context. When its own process does not answer, ends in other processes what they joined of it.
 * 0 or -errno.
 */
int victim_cancel(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
		  struct ctxd_report *ret_report);

/* Writes why victim_try() or victim_cancel() failed, and what to do. Returns buffer. */
char *victim_explain(const struct victim *victim, int error, char *buffer, size_t size);

/* Writes "ended in 2 processes; 200 operations reaped: 199 cancelled, ...". Returns buffer. */
char *report_text(const struct ctxd_report *report, char *buffer, size_t size);

#endif
