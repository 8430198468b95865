/* SPDX-License-Identifier: MIT */
/*
 * The connection to the service ctxd. It knows which contexts are shared and joined across processes, has the
 * tables of published processes that we may not read, and ends contexts. Without a service the rest works.
 */
#ifndef TOOL_SERVICE_H
#define TOOL_SERVICE_H

#include "ctxring.h"
#include "discover.h"

/* Returns the connection, which the first call makes. NULL: there is none; service_error() says why. */
struct ctxd_client *service_client(void);
int service_error(void);

/* Says on standard error why there is no service, and what to do. Only after service_client() failed. */
void service_complain(void);

/* Gets the list of entries from the service. Without a service the list is empty. */
void service_refresh(void);

/* The list of service_refresh(). */
const struct ctxd_entry *service_entries(size_t *ret_count);

/* Finds the entry of that kind for a context in a table; NULL: there is none. */
const struct ctxd_entry *service_entry_of(enum ctxd_entry_kind kind, uint64_t table, uint64_t ctx_id);

/* Finds the shared context of that id; NULL: it is not in the list. */
const struct ctxd_entry *service_shared(struct ctxd_id id);

/* Whether a process published that table. */
bool service_publishes(uint64_t table);

/*
 * Adds to the survey the tables of published processes that could not be read through /proc: of those in
 * pids, or of all when pid_count is 0. 0 or -ENOMEM.
 */
int service_complete(struct survey *survey, const pid_t *pids, size_t pid_count);

/* Writes HOST/EPOCH-NUMBER of an entry that has a host: that, and the id of its context there. Returns
 * buffer. */
char *origin_text(const struct ctxd_entry *entry, char *buffer, size_t size);

/* Returns the id of a context as ctx_id(3) does. */
uint64_t service_ctx_id(const struct reader_context *context);

/*
 * Writes " shared as "NAME" (EPOCH-NUMBER), mode 0600, 2 joined" or " joined from PID:SLOT.GENERATION", of
 * another host " joined from HOST/EPOCH-NUMBER", or "" for a context that is neither. Returns buffer.
 */
char *service_note(const struct process *process, const struct reader_context *context, char *buffer,
		   size_t size);

#endif
