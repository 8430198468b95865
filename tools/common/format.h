/* SPDX-License-Identifier: MIT */
/* Parts of a table as text for people, the same in every command, and escaped. */
#ifndef TOOL_FORMAT_H
#define TOOL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discover.h"
#include "terminal.h"

#define ID_SIZE 40
#define TEXT_SIZE 2048

/* Each function with a buffer writes a text like its example there, and returns it. */

/* "PID:SLOT.GENERATION". */
char *format_id(const struct process *process, const struct reader_context *context, char buffer[ID_SIZE]);

/* Returns the time since since_ns, or 0 when that lies ahead, as it may in a hostile table. */
uint64_t age_ns(const struct process *process, uint64_t since_ns);

/* The time to the deadline; "due" when that has passed; "-" without one, and for a context that is done. */
char *format_time_left(const struct process *process, const struct reader_context *context, char buffer[16]);

enum colour state_colour(uint32_t state);

/* Returns the context whose end ended this one, or itself; NULL: it is live, or that is not known. */
const struct reader_context *origin_of(const struct process *process, const struct reader_context *context);

/*
 * "call ECONNRESET "client went away" on HOST from 12:3.1", without a host where the end began on this one;
 * "-" when live. With long_form also when the end began, by which thread and at which place in the code.
 */
char *format_cause(const struct process *process, const struct reader_context *context, bool long_form,
		   char buffer[TEXT_SIZE]);

/* "RECV fd 7 tcp ... for 1.2s, being cancelled". */
char *format_operation(struct process *process, const struct reader_operation *operation,
		       char buffer[TEXT_SIZE]);

/* The flags of an operation, each after a comma; "" without any. */
char *format_operation_flags(unsigned flags, char buffer[128]);

/* "ring fd 5: SQ 256, CQ 512, DEFER_TASKRUN, thread 12, 4 in flight; last batch: ...". */
char *format_ring(const struct process *process, const struct reader_ring *ring, char buffer[TEXT_SIZE]);

/* "1234 httpd (uid 0): 12 contexts, 10 live, 4 operations in flight". */
char *format_process(const struct process *process, char buffer[TEXT_SIZE]);

/* Says which records could not be shown, and why; "" when all are. */
char *format_losses(const struct process *process, char buffer[TEXT_SIZE]);

#endif
