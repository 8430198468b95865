/* SPDX-License-Identifier: MIT */
/*
 * Turns a context table in memory into a snapshot that can be walked.
 *
 * The reader makes no system calls: it takes bytes and a size, and returns arrays. The bytes
 * may change while they are read and may be hostile; nothing in them is believed. The snapshot
 * is safe: indexes lie within the arrays, the parent links form a forest, strings end.
 */
#ifndef TOOL_READER_H
#define TOOL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "read_counters.h"
#include "table_format.h"

#define READER_NONE UINT32_MAX
#define READER_REASON_SIZE 200
/* Further slots of an area are not looked at, whatever the table says. */
#define READER_SLOTS_MAX (1u << 24)

struct reader_context {
	struct ctx_table_context record;
	uint32_t slot;
	uint32_t parent;	  /* index of a context; READER_NONE: a root */
	uint32_t first_child;	  /* index of the oldest child */
	uint32_t next_sibling;	  /* the next younger child of the parent; roots are siblings too */
	uint32_t depth;		  /* 0 for a root */
	uint32_t origin;	  /* the context whose end ended this one; READER_NONE: live, or not known */
	uint32_t cause;		  /* index of its cause record; READER_NONE: it has none */
	uint32_t first_operation; /* index; the list is in slot order */
	uint32_t operation_count;
	bool orphan; /* the record names a parent that is not in the table */
	/* Of survey_filter(): not selected, and shown only because something below it is. */
	bool beside;
	/* Of ending_cover(): the caller has chosen it; it ends with one that is chosen. */
	bool chosen, covered;
};

struct reader_operation {
	struct ctx_table_operation record;
	uint32_t context; /* index of a context */
	uint32_t next;	  /* the next operation of the same context */
};

struct reader_ring {
	struct ctx_table_ring record;
	uint32_t slot;
	uint32_t operation_count;
};

struct snapshot {
	struct ctx_table_header header; /* what an earlier library's header lacks is 0 here */
	struct reader_context *contexts;
	struct reader_operation *operations;
	struct ctx_table_cause *causes;
	struct reader_ring *rings;
	struct counters counters;
	uint32_t context_count, operation_count, cause_count, ring_count;
	uint32_t live_count;
	uint32_t first_root;
	uint32_t
		*preorder; /* indexes of the contexts that are to be shown, each parent before its children */
	uint32_t shown_count;	 /* how many these are: all, except after survey_filter() */
	uint32_t selected_count; /* of these without those that are shown beside others */
	uint64_t latest_ns;	 /* the latest time in the table */
	uint32_t torn;		 /* records that were being written at each attempt to read them */
	uint32_t stale;		 /* operations whose context is gone */
	uint32_t cycles;	 /* parent links that were cut because they led round in a circle */
	bool clipped;		 /* an area has more than READER_SLOTS_MAX slots in use */
};

/* A part of the table that holds records in use. */
struct reader_range {
	uint64_t offset;
	uint64_t size;
};
#define READER_RANGES 8

/*
 * Reads the table at bytes, which is aligned to 8. Refuses one whose records in use have more than
 * read_max bytes, because reading the holes of a sparse file allocates memory. 0, and the caller calls
 * snapshot_free(); or -EINVAL (not a table, or a broken one), -EPROTO (another version), -ENODATA
 * (cut short), -EAGAIN (its process is still making it), -EFBIG (more than read_max), -ENOMEM. On error
 * reason has it in words.
 */
int snapshot_read(const void *bytes, size_t size, uint64_t read_max, struct snapshot *ret_snapshot,
		  char reason[READER_REASON_SIZE]);

/*
 * Reads only the header of the table. What an earlier library's header lacks is 0. Errors as snapshot_read().
 */
int snapshot_read_header(const void *bytes, size_t size, struct ctx_table_header *ret_header,
			 char reason[READER_REASON_SIZE]);

/* Frees the arrays. A zeroed or freed snapshot is allowed. */
void snapshot_free(struct snapshot *snapshot);

/*
 * Tells from the header alone which parts of a table of table_size bytes hold records in use, without the
 * journals that only a recording writes. Errors as snapshot_read().
 */
int snapshot_ranges(const void *header, size_t size, uint64_t table_size,
		    struct reader_range ret_ranges[READER_RANGES], char reason[READER_REASON_SIZE]);

#endif
