/* SPDX-License-Identifier: MIT */
/* Processes whose journals are read again and again, while new ones are found and others die. */
#ifndef TOOL_FOLLOW_H
#define TOOL_FOLLOW_H

#include "discover.h"
#include "read_journal.h"

struct followed {
	struct process process; /* its table stays mapped */
	struct journal journals[JOURNAL_KINDS];
	int pidfd; /* -1: none */
	bool died;
};

struct follow {
	struct followed **processes;
	size_t count;
	unsigned kinds; /* which journals are read: 1u << enum journal_kind */
	size_t size;	/* of what is kept of each process: a structure that begins with struct followed */
};

/* Returns the process of that number, or NULL. */
struct followed *follow_find(const struct follow *follow, pid_t pid);

/*
 * Takes a process out of the survey, which must keep tables, as the last one of follow. On an error the
 * process stays in the survey. 0; -EEXIST: it is followed already, or has no table; -ENOMEM; or an error of
 * journal_open() with the reason.
 */
int follow_take(struct follow *follow, struct survey *survey, size_t index, char reason[READER_REASON_SIZE]);

/* Notes which processes have died. What they have written is still there. */
void follow_note_deaths(struct follow *follow);

/* Frees one process, which the caller takes out of the array; or all of them. */
void followed_free(struct followed *followed);
void follow_free(struct follow *follow);

#endif
