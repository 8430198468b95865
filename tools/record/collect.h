/* SPDX-License-Identifier: MIT */
/*
 * Fills a recording from running processes. Their journals are read again and again, before they are
 * overwritten; at the end a snapshot of each table gives what is still there.
 */
#ifndef TOOL_COLLECT_H
#define TOOL_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "recording.h"

/* How often collector_drain() and collector_look() are to be called. */
#define COLLECT_DRAIN_NS 10000000u
#define COLLECT_LOOK_NS 500000000u

struct collector;

/* Says whether a process is to be recorded. */
typedef bool (*collector_wants_fn)(pid_t pid, uid_t uid, const char *comm, void *data);

/*
 * Begins to fill a recording. With pids only those processes are recorded, and with wants, which may be NULL,
 * only those that it wants. 0 or -ENOMEM.
 */
int collector_begin(struct collector **ret_collector, struct recording *recording, const pid_t *pids,
		    size_t pid_count, collector_wants_fn wants, void *data);

/* Adds one more process to those that were named. 0 or -ENOMEM. */
int collector_add_pid(struct collector *collector, pid_t pid);

/*
 * Looks for processes that are new, has all go on recording, and looks at the descriptors of what is in
 * flight. 0 or -errno.
 */
int collector_look(struct collector *collector);

/* Reads what the journals have new. 0 or -ENOMEM. */
int collector_drain(struct collector *collector);

/* How many processes are recorded, and how many could not be. */
size_t collector_processes(const struct collector *collector);
size_t collector_refused(const struct collector *collector);

/* Reads the rest, and what is still there, has the processes stop, and ends the recording. 0 or -ENOMEM. */
int collector_finish(struct collector *collector);

/* Has the processes stop recording, if that was not done, and frees the collector. NULL is allowed. */
void collector_free(struct collector *collector);

#endif
