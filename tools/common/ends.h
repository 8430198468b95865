/* SPDX-License-Identifier: MIT */
/*
 * The ends that the journals of processes have (read/read_journal.h), each with what the batches say that it
 * led to, and as text.
 */
#ifndef TOOL_ENDS_H
#define TOOL_ENDS_H

#include "format.h"
#include "read_journal.h"
#include "selection.h"

/* A process whose journal is read, once or again and again. */
struct ends_process {
	struct process process;
	struct journal journal;
	uint64_t died_ns; /* of a dead one; 0: it is not known to be dead */
	bool gone;	  /* it has died, and was read to its end */
};

/* An end, and the sums of its batches. */
struct past_end {
	struct ctx_table_end entry; /* of type CTX_TABLE_END_CONTEXT */
	const struct ends_process *process;
	bool batched;	     /* there was a batch: the fields below are known */
	uint32_t operations; /* that were in flight */
	uint32_t cancelled;
	uint64_t batch_ns; /* of the longest, until the last operation had ended */
	bool printed;
};

struct ends {
	struct ends_process **processes;
	size_t process_count;
	struct past_end *ends;
	size_t count, room;
	int64_t wall_ns;   /* what is to be added to a time of the table for the time of day */
	uint64_t since_ns; /* ends before that are left out, and those from until_ns on */
	uint64_t until_ns;
};

/* The clock of tables. */
uint64_t ends_now_ns(void);

/* Begins with the offset of today's clock. */
void ends_init(struct ends *ends);
void ends_free(struct ends *ends);

/*
 * Takes the processes out of the survey, which keeps its tables; those that are there already are left to it.
 * Says on standard error, after "program: ", whose journal cannot be read; NULL: says nothing. Returns
 * EXIT_OK, EXIT_PARTLY or EXIT_TROUBLE.
 */
int ends_add(struct ends *ends, struct survey *survey, uint64_t died_ns, const char *program);

/* Marks the processes that have died, to be read once more. */
void ends_note_deaths(struct ends *ends);

/* Reads what is new in all journals. 0 or -ENOMEM. */
int ends_read(struct ends *ends);

/* Sorts the ends by time. */
void ends_sort(struct ends *ends);

/* Removes the ends that are printed, and the processes that are gone and have none left. */
void ends_forget_printed(struct ends *ends);

/* What can be asked of an end, and whether it is selected. */
#define ENDS_SELECTION_KEYS \
	(SELECTION_ALL_KEYS & ~(1u << SELECTION_LEFT | 1u << SELECTION_OP | 1u << SELECTION_FD))
bool ends_selected(const struct selection *selection, const struct past_end *end);

/* "PID:SLOT.GENERATION". */
char *ends_id(const struct past_end *end, char buffer[ID_SIZE]);

/* "12:03:11.042", with the date where that is another day; by UTC if asked for. */
char *ends_time(const struct ends *ends, uint64_t time_ns, bool utc, char buffer[40]);

/* "cancelled" or "expired". */
const char *ends_state(const struct past_end *end);

/* "call ECONNRESET "client went away" at serve+0x2a (serve.c:12)". */
char *ends_cause(const struct past_end *end, bool with_site, char buffer[TEXT_SIZE]);

/* "thread 12", or "process 34 curl" of a cause that came from another process. */
char *ends_by(const struct ends *ends, const struct past_end *end, char buffer[TEXT_SIZE]);

#endif
