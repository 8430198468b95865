/* SPDX-License-Identifier: MIT */
/*
 * What the service adds to what the tables say: which contexts are shared and joined across processes, tables
 * that are closed to us, and ending contexts. Where no service runs everything else works as without it.
 */
#ifndef TOOL_SERVICE_H
#define TOOL_SERVICE_H

#include "ctxring.h"
#include "discover.h"

/* The connection, made at the first call. NULL: there is none, for the reason of service_error(). */
struct ctxd_client *service_client(void);
int service_error(void);

/* Says on standard error why there is no service, and what to do. */
void service_complain(void);

/* Lists anew what there is. Nothing where there is no service. */
void service_refresh(void);

/* What was listed. */
const struct ctxd_entry *service_entries(size_t *ret_count);

/* The shared or joined context in that table; NULL: it is neither. */
const struct ctxd_entry *service_entry_of(enum ctxd_entry_kind kind, uint64_t table, uint64_t ctx_id);

/* The shared context of that id. NULL: it is not known here. */
const struct ctxd_entry *service_shared(struct ctxd_id id);

/* Whether a process published that table. */
bool service_publishes(uint64_t table);

/*
 * Adds to survey the tables of published processes that /proc does not give, of pids (pid_count 0: of all). 0
 * or -ENOMEM.
 */
int service_complete(struct survey *survey, const pid_t *pids, size_t pid_count);

/* The id of a context as the table and ctx_id() know it. */
uint64_t service_ctx_id(const struct reader_context *context);

/* " shared as "NAME" (EPOCH-NUMBER), mode 0600, 2 joined" or " joined from PID:SLOT.GENERATION"; "" for
 * others. */
char *service_note(const struct process *process, const struct reader_context *context, char *buffer,
		   size_t size);

#endif
