/* SPDX-License-Identifier: MIT */
/*
 * What ctxtool record has seen: contexts, operations and batches as spans of time, in arrays that the writers
 * of the output formats walk.
 *
 * This folder, record/, makes and writes recordings; it may use read/ and text/. One that is
 * being made is filled by the recording_add_*() functions, in any order. recording_finish() links it and says
 * of each context how it ended.
 *
 * All times are nanoseconds of CLOCK_MONOTONIC. Texts are offsets into texts.bytes, where each text is there
 * once, escaped, so that it is harmless on a terminal and in any of the formats.
 */
#ifndef TOOL_RECORDING_H
#define TOOL_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "table_format.h"

#define RECORDING_NONE UINT32_MAX

/* How a context ended: one of these, or RECORDED_CAUSE plus an enum ctx_cause_kind. */
enum recorded_outcome {
	RECORDED_LIVE,	   /* it is live at the end of the recording */
	RECORDED_FINISHED, /* it was freed, and its end cancelled nothing */
	RECORDED_CAUSE,	   /* + CTX_CAUSE_CALL: cancelled by a call, and so on */
};
#define RECORDED_OUTCOMES (RECORDED_CAUSE + CTX_TABLE_CAUSES)

struct recorded_process {
	pid_t pid;
	uid_t uid;
	uint32_t name;		  /* text */
	uint64_t identity_number; /* that of the table's header; 0: it has none */
	uint64_t begin_ns;	  /* from here on it was recorded */
	uint64_t end_ns;	  /* when it ended, or the recording did */
	bool died;		  /* it ended before the recording did */
	uint64_t snapshot_ns;	  /* when it was looked at what is in flight at the end */
	/* Entries that were overwritten before they were read. */
	uint64_t lost_contexts, lost_operations, lost_ends;
};

struct recorded_context {
	uint32_t process;
	uint32_t slot, generation;
	uint32_t parent_slot, parent_generation;
	uint64_t begin_ns;
	uint64_t
		done_ns; /* 0: it is live, or was freed so, or its end came from a context that is not here */
	uint64_t freed_ns; /* 0: it was there at the end of the recording */
	uint32_t state;	   /* as in struct ctx_table_context */
	int32_t error;	   /* of its cause, negative; 0: that of its state */
	int32_t cause_code;
	uint8_t kind, cause_kind;
	uint32_t creator_tid, done_tid;
	pid_t cause_pid;			     /* the other process that ended it; 0: none did */
	uint32_t label, site, done_site, cause_text; /* texts */
	uint8_t trace[16];			     /* all zero: it was not extracted */
	uint8_t sender[8];
	/* From here on: by recording_finish(). */
	uint32_t parent;			   /* index of a context */
	uint32_t first_child, next_sibling;	   /* by time of their begin */
	uint32_t origin;			   /* the context whose end ended it; itself; or none */
	uint32_t first_operation, operation_count; /* a range of operations */
	uint32_t first_batch, batch_count;	   /* a range of batches */
	uint32_t depth;
	uint32_t origin_slot, origin_generation; /* while recording_keep() moves contexts */
	uint8_t outcome;
};

struct recorded_operation {
	uint32_t process;
	uint32_t context_slot, context_generation;
	uint64_t begin_ns;
	uint64_t end_ns; /* 0: in flight at the end of the recording */
	int32_t result;
	int32_t fd;
	uint8_t opcode, flags; /* flags: CTX_TABLE_OP_* */
	uint16_t ring;
	uint32_t target; /* text: what its descriptor was */
	/* From here on: by recording_finish(). */
	uint32_t context; /* index; RECORDING_NONE: not recorded */
	uint32_t batch;	  /* index of the batch that ended it */
};

struct recorded_batch {
	uint32_t process;
	uint32_t context_slot, context_generation;
	uint64_t begin_ns;
	uint64_t submit_ns, reap_ns; /* times since begin_ns, as in struct ctx_batch */
	uint32_t ring, tid;
	uint32_t operations, unsent, timed, sqes, enters, cancelled, finished;
	uint32_t context; /* index, by recording_finish() */
};

/* Texts, each once. */
struct texts {
	char *bytes; /* offset 0 is "" */
	size_t size, room;
	uint32_t *places; /* a hash table of offsets; 0: free */
	size_t place_room, count;
};

struct recording {
	uint64_t begin_ns, end_ns;
	uint64_t wall_offset_ns; /* added to a time it gives CLOCK_REALTIME */
	uint32_t host, command;	 /* texts; the command line of ctxtool */
	struct recorded_process *processes;
	size_t process_count, process_room;
	struct recorded_context *contexts;
	size_t context_count, context_room;
	struct recorded_operation *operations;
	size_t operation_count, operation_room;
	struct recorded_batch *batches;
	size_t batch_count, batch_room;
	struct recorded_end *ends; /* until recording_finish() */
	size_t end_count, end_room;
	struct texts texts;
	size_t spans_max;  /* no more contexts and operations than that are kept */
	uint64_t not_kept; /* how many were left out for that */
	uint64_t full_ns;  /* when the first was; 0: none was */
	uint32_t *notes;   /* texts: what could not be recorded, and why */
	size_t note_count, note_room;
	uint32_t first_root; /* by recording_finish(); roots are siblings */
	uint32_t *preorder;  /* indexes of contexts, likewise: parents before their children */
};

/* Prepares an empty recording. 0 or -ENOMEM. recording_free() frees one, also after an error. */
int recording_begin(struct recording *ret_recording, uint64_t begin_ns, size_t spans_max);
void recording_free(struct recording *recording);

/* Returns the offset of the text, after escaping it; RECORDING_NONE: no memory. */
uint32_t recording_text(struct recording *recording, const char *text);
/* The same for a text that is escaped already. */
uint32_t recording_escaped(struct recording *recording, const char *escaped_text);
/* The text at an offset. */
const char *recorded_text(const struct recording *recording, uint32_t text);

/* Return an entry that is zeroed, NULL without memory. */
struct recorded_process *recording_add_process(struct recording *recording);
struct recorded_batch *recording_add_batch(struct recording *recording);

/*
 * Add a context and an operation, 0 or -ENOMEM. One that does not fit is counted in not_kept. A context that
 * is added twice, live at one time and freed at a later one, counts as the one that was freed.
 */
int recording_add_context(struct recording *recording, const struct recorded_context *context);
int recording_add_operation(struct recording *recording, const struct recorded_operation *operation);

/* What the journal of ends says of a context's end, beyond its record. */
struct recorded_end {
	uint32_t process;
	uint32_t slot, generation;
	int32_t error;
	pid_t cause_pid;
	uint32_t cause_text; /* text */
};
int recording_add_end(struct recording *recording, const struct recorded_end *end);

/* Notes in words what could not be recorded. 0 or -ENOMEM. */
int recording_add_note(struct recording *recording, const char *note);

/*
 * Ends the recording: links contexts, operations and batches, finds the outcomes, and leaves out what ended
 * before begin_ns. 0 or -ENOMEM. After that nothing is added.
 */
int recording_finish(struct recording *recording, uint64_t end_ns);

/*
 * Keeps only the contexts that are wanted, with those above them, all below them, and their operations. After
 * recording_finish(). 0 or -ENOMEM.
 */
typedef bool (*recording_wants_fn)(const struct recording *recording, const struct recorded_context *context,
				   void *data);
int recording_keep(struct recording *recording, recording_wants_fn wants, void *data);

/* ---- for those that write a recording, after recording_finish() */

/* When the span of the context ends: when it was freed, or with its process or the recording. */
uint64_t recorded_context_end_ns(const struct recording *recording, const struct recorded_context *context);
uint64_t recorded_operation_end_ns(const struct recording *recording,
				   const struct recorded_operation *operation);

/* "live", "finished", or the name of a cause. */
const char *recorded_outcome_name(unsigned outcome);

/* Whether the operation ended because its context did. */
bool recorded_is_cancelled(const struct recorded_operation *operation);

/* Writes "PID:SLOT.GENERATION". Returns buffer. */
#define RECORDED_ID_SIZE 40
char *recorded_id(const struct recording *recording, const struct recorded_context *context,
		  char buffer[RECORDED_ID_SIZE]);

/*
 * Writes the cause of a context that ended: "call ECONNRESET "client went away"", and for one that ended with
 * another the id of that. "" for one without. Returns buffer.
 */
#define RECORDED_CAUSE_SIZE 1024
char *recorded_cause(const struct recording *recording, const struct recorded_context *context,
		     char buffer[RECORDED_CAUSE_SIZE]);

/* What was lost, in one sentence; "" when nothing was. Returns buffer. */
char *recorded_losses(const struct recording *recording, char buffer[RECORDED_CAUSE_SIZE]);

/* The trace and the span of a context, as ctx_inject(3) writes them for all below the same extracted
 * context. Without one the trace is that of the root. */
void recorded_trace(const struct recording *recording, const struct recorded_context *context,
		    uint8_t ret_trace[16]);
void recorded_span(const struct recording *recording, const struct recorded_context *context,
		   uint8_t ret_span[8]);

#endif
