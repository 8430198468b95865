/* SPDX-License-Identifier: MIT */
/*
 * A context table in memory turned into a snapshot that can be walked.
 *
 * Pure: bytes and a size in, arrays out. The bytes may change while they are
 * read and may be hostile; nothing in them is believed. What comes out is safe:
 * indexes lie within the arrays, the parent links form a forest, strings end.
 */
#ifndef TOOL_READER_H
#define TOOL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "table_format.h"

#define READER_NONE UINT32_MAX
#define READER_REASON_SIZE 200
/* More slots than this in one area are not looked at, whatever the table says. */
#define READER_SLOTS_MAX (1u << 24)

struct reader_context {
	struct ctx_table_context record;
	uint32_t slot;
	uint32_t parent;	  /* index of a context, READER_NONE: a root */
	uint32_t first_child;	  /* oldest first */
	uint32_t next_sibling;	  /* of roots too */
	uint32_t depth;		  /* 0: a root */
	uint32_t origin;	  /* where its end began; READER_NONE: not done, or not known */
	uint32_t cause;		  /* index of a cause of its own, or READER_NONE */
	uint32_t first_operation; /* index, in slot order */
	uint32_t operation_count;
	bool orphan; /* it names a parent that is not in the table */
};

struct reader_operation {
	struct ctx_table_operation record;
	uint32_t context; /* index */
	uint32_t next;	  /* of the same context */
};

struct reader_ring {
	struct ctx_table_ring record;
	uint32_t slot;
	uint32_t operation_count;
};

struct snapshot {
	struct ctx_table_header header;
	struct reader_context *contexts;
	struct reader_operation *operations;
	struct ctx_table_cause *causes;
	struct reader_ring *rings;
	uint32_t context_count, operation_count, cause_count, ring_count;
	uint32_t live_count;
	uint32_t first_root;
	uint32_t *preorder; /* all contexts, each parent before its children */
	uint64_t latest_ns; /* latest point in time that the table names */
	uint32_t torn;	    /* records that were being written at each attempt */
	uint32_t stale;	    /* operations whose context is not there any more */
	uint32_t cycles;    /* parent links cut because they led round in a circle */
	bool clipped;	    /* areas larger than READER_SLOTS_MAX */
};

/* A part of the table that holds records in use. */
struct reader_range {
	uint64_t offset;
	uint64_t size;
};
#define READER_RANGES 5

/*
 * Reads the table at bytes, which is aligned to 8, but not when its records in use have more than
 * read_max bytes: reading holes of a sparse file allocates them. 0, and the caller calls
 * snapshot_release; or -EINVAL (not a table, or a broken one), -EPROTO (of another version),
 * -ENODATA (cut short), -EAGAIN (not finished being made), -EFBIG (see above), -ENOMEM, with the
 * reason in words.
 */
int snapshot_read(const void *bytes, size_t size, uint64_t read_max, struct snapshot *ret_snapshot,
		  char reason[READER_REASON_SIZE]);

/* Frees the arrays; a zeroed or released snapshot is allowed. */
void snapshot_release(struct snapshot *snapshot);

/*
 * Which parts of a table of table_size bytes are worth reading, by its header alone.
 * Errors as snapshot_read.
 */
int snapshot_ranges(const void *header, size_t size, uint64_t table_size,
		    struct reader_range ret_ranges[READER_RANGES], char reason[READER_REASON_SIZE]);

#endif
