/* SPDX-License-Identifier: MIT */
/*
 * The ends that the journals of processes have (read/read_journal.h), each with what the batches say that it
 * led to, and as text.
 */
#ifndef TOOL_ENDS_H
#define TOOL_ENDS_H

#include "follow.h"
#include "format.h"
#include "selection.h"

/* An end, and the sums of its batches. */
struct past_end {
	struct ctx_table_end entry; /* of type CTX_TABLE_END_CONTEXT */
	struct followed *process;
	bool batched;	     /* there was a batch: the fields below are known */
	uint32_t operations; /* that were in flight */
	uint32_t cancelled;
	uint64_t batch_ns; /* of the longest, until the last operation had ended */
	bool printed;
};

struct ends {
	struct follow follow;
	struct past_end *ends;
	size_t count, room;
	int64_t wall_ns;   /* what is to be added to a time of the table for the time of day */
	uint64_t since_ns; /* ends before that are left out, and those from until_ns on */
	uint64_t until_ns;
	/* Of ends_tick(): when the journals were read last; and the time before which all ends are known with
	 * their batches. */
	uint64_t read_ns, complete_ns;
	unsigned ticks;
};

/* Begins with the offset of today's clock. */
void ends_init(struct ends *ends);
void ends_free(struct ends *ends);

/*
 * Takes the processes out of the survey, which keeps its tables; those that are there already are left to it.
 * died says that they are dead. Says on standard error, after "program: ", whose journal cannot be read;
 * NULL: says nothing. Returns EXIT_OK, EXIT_PARTLY or EXIT_TROUBLE.
 */
int ends_add(struct ends *ends, struct survey *survey, bool died, const char *program);

/* Reads what is new in all journals. 0 or -ENOMEM. */
int ends_read(struct ends *ends);

/*
 * For those that follow what happens: returns how long it is until ends_tick() is to be called, ENDS_TICK_NS
 * after the last time. It reads what is new, and each second it has new processes looked for before. What is
 * older than complete_ns may be printed then: an end waits for the next tick, until its batches have been
 * written, too. 0, -ENOMEM or the error of look.
 */
#define ENDS_TICK_NS 200000000u
uint64_t ends_wait_ns(const struct ends *ends);
int ends_tick(struct ends *ends, int (*look)(void *data), void *data);

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
