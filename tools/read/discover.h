/* SPDX-License-Identifier: MIT */
/*
 * Finding context tables: in the processes of this machine, or in a core file.
 *
 * A survey is what was found at one moment: processes, each with the snapshot of its
 * table, and the processes whose table could not be read, with the reason.
 */
#ifndef TOOL_DISCOVER_H
#define TOOL_DISCOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "descriptors.h"
#include "errand.h"
#include "reader.h"
#include "sites.h"

struct process {
	pid_t pid; /* as this process sees it */
	uid_t uid;
	char name[64]; /* of the command; raw bytes */
	bool is_core;
	uint64_t inode;	 /* of the table, 0 in a core */
	uint64_t now_ns; /* in the clock of the table */
	struct snapshot snapshot;
	struct sites sites;
	struct descriptors descriptors;
};

struct unreadable {
	pid_t pid;
	char name[64];
	char reason[READER_REASON_SIZE + 160];
	bool missing;	/* not there, as opposed to closed to us */
	bool unsettled; /* perhaps the process is only beginning or ending */
	uint64_t inode;
};

struct survey {
	struct process *processes;
	size_t process_count;
	struct unreadable *unreadables;
	size_t unreadable_count;
	unsigned strangers; /* processes that are closed to us: of other users, or nothing says that they use
			       ctxring */
	struct patience patience;
};

/* All processes, or the pid_count ones of pids. 0, -ENOMEM, or the error of opening /proc. */
int survey_processes(const pid_t *pids, size_t pid_count, struct survey *ret_survey);

/* One core file. What is wrong with it is in the survey; 0 or -ENOMEM. */
int survey_core(const char *path, struct survey *ret_survey);

/* Adds an empty entry; NULL without memory. For those that fill a survey. */
struct process *survey_add_process(struct survey *survey);
int survey_add_unreadable(struct survey *survey, const struct unreadable *unreadable);

/*
 * The table behind fd, of a process that the service knows. What is wrong with it is in the survey; 0 or
 * -ENOMEM. fd stays the caller's.
 */
int survey_add_table(struct survey *survey, int fd, pid_t pid, uid_t uid, const char *name);

void survey_release(struct survey *survey);

#endif
