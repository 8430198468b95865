/* SPDX-License-Identifier: MIT */
/*
 * Finds context tables in the processes of this machine, or in a core file. A survey is what was found at one
 * moment: processes, each with the snapshot of its table, and the processes whose table could not be read,
 * with the reason.
 *
 * This folder, read/, looks at processes, core files and the kernel and says what it found; it may use text/.
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
#include "site_names.h"
#include "sites.h"

struct process {
	pid_t pid; /* its number in our pid namespace */
	uid_t uid;
	char name[64]; /* the name of the command, not escaped */
	bool is_core;
	uid_t core_uid;		    /* the owner of the core file */
	uint64_t inode;		    /* that of the table; 0: it was read from a core file */
	uint64_t now_ns;	    /* the time of the snapshot, by the clock of the table */
	struct snapshot snapshot;   /* of survey_tables() and survey_core_table() only the header */
	const unsigned char *table; /* where these two keep it mapped; otherwise NULL */
	size_t table_size;
	struct sites sites;
	struct site_names *names; /* NULL: no place of it can be named */
	struct descriptors descriptors;
};

struct unreadable {
	pid_t pid;
	char name[64];
	char reason[READER_REASON_SIZE + 160];
	bool missing;	/* there is no table, as opposed to one that may not be read */
	bool unsettled; /* the process may be just beginning or ending */
	uint64_t inode;
};

struct survey {
	struct process *processes;
	size_t process_count;
	struct unreadable *unreadables;
	size_t unreadable_count;
	/* The number of processes that may not be read and show no sign of ctxring, or are other users'. */
	unsigned strangers;
	struct patience patience;
	bool keep_tables; /* tables stay mapped, and no snapshots are taken of them */
};

/*
 * Looks at the pid_count processes of pids, or at all if that is 0. 0, -ENOMEM, or the error of opening
 * /proc.
 */
int survey_processes(const pid_t *pids, size_t pid_count, struct survey *ret_survey);

/* Reads a core file. 0, also when it cannot be read: the survey has the reason; or -ENOMEM. */
int survey_core(const char *path, struct survey *ret_survey);

/*
 * The same for those that read the tables again and again, or only their journals: the tables stay mapped
 * until survey_free(), and their contexts are not read.
 */
int survey_tables(const pid_t *pids, size_t pid_count, struct survey *ret_survey);
int survey_core_table(const char *path, struct survey *ret_survey);

/* For those that fill a survey: adds an empty entry, NULL without memory; adds a copy, 0 or -ENOMEM. */
struct process *survey_add_process(struct survey *survey);
int survey_add_unreadable(struct survey *survey, const struct unreadable *unreadable);

/*
 * Adds the table behind fd, of a process that the service knows; survey->keep_tables says how. 0, also when
 * it cannot be read: the survey has the reason; or -ENOMEM. fd remains the caller's.
 */
int survey_add_table(struct survey *survey, int fd, pid_t pid, uid_t uid, const char *name);

/* Takes out the processes that are not to be kept, and frees what they have. */
void survey_keep(struct survey *survey, bool (*keeps)(const struct process *process));

void survey_free(struct survey *survey);

/* Takes a process out of the survey, which keeps an empty one in its place. The caller frees it. */
struct process survey_take_process(struct survey *survey, size_t index);
void process_free(struct process *process);

#endif
