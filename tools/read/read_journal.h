/* SPDX-License-Identifier: MIT */
/*
 * Reads the journals of a context table (table_format.h): the ends, and the contexts and operations that are
 * past.
 *
 * Like reader.h this makes no system calls and believes nothing of the bytes, which may change while they are
 * read. The same journal is read as often as one likes: each time gives the entries that are new, and says
 * how many were overwritten unread.
 */
#ifndef TOOL_READ_JOURNAL_H
#define TOOL_READ_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reader.h"
#include "table_format.h"

enum journal_kind {
	JOURNAL_ENDS,	    /* of struct ctx_table_end */
	JOURNAL_CONTEXTS,   /* of struct ctx_table_context_past */
	JOURNAL_OPERATIONS, /* of struct ctx_table_operation_past */
	JOURNAL_KINDS
};

/* Further chunks are not looked at, whatever the table says. */
#define JOURNAL_CHUNKS_MAX 16384u

/* How far a chunk was read. */
struct journal_place {
	uint64_t serial; /* of the use that was read; 0: none was */
	uint32_t count;	 /* entries that were read of it */
};

struct journal {
	enum journal_kind kind;
	const unsigned char *bytes; /* of the table; the caller's */
	uint64_t header_offset;	    /* of the struct ctx_table_journal in it */
	struct ctx_table_journal layout;
	uint32_t chunk_entries; /* how many fit into a chunk */
	struct journal_place *places;
	/* The last serial when the journal was read last. Uses up to it may still have been on their way to
	 * their chunk then: only the next time decides whether they are lost. */
	uint64_t given;
	uint64_t settled; /* of the uses up to this serial it is decided */
	uint64_t *recent; /* serials above settled that were seen */
	size_t recent_count, recent_room;
	uint64_t settled_first; /* up to where it was decided at the first time */
	bool begun;		/* it was read once */

	/* What journal_read() found. */
	void *entries; /* an array of the structures that the kind names */
	size_t entry_count;
	size_t entry_room;
	uint64_t overwritten_ns; /* the time of the latest entry that was overwritten by now; 0: none was */
	uint64_t overwritten;	 /* about how many entries had been overwritten before the first time */
	uint64_t lost;		 /* how many were overwritten between two times, unread */
};

/*
 * Begins to read a journal of the table at bytes, which is aligned to 8 and stays there until
 * journal_close(). 0; -ENOTSUP (the library of its process is older than journals), -ENOMEM, or an error of
 * snapshot_read(). On error reason has it in words.
 */
int journal_open(struct journal *ret_journal, const void *bytes, size_t size, enum journal_kind kind,
		 char reason[READER_REASON_SIZE]);

/*
 * Reads the entries that are new into entries, which is valid until the next call. They are not sorted,
 * except those of one chunk. Entries of a type that is not known are left out. 0 or -ENOMEM.
 */
int journal_read(struct journal *journal);

/* Frees the arrays. A zeroed or closed journal is allowed. */
void journal_close(struct journal *journal);

/*
 * Tells from the header alone which parts of a table of table_size bytes hold the journals. A journal that
 * the table lacks, or that is broken, has an empty part.
 */
void journal_ranges(const void *header, size_t size, uint64_t table_size,
		    struct reader_range ret_ranges[JOURNAL_KINDS]);

#endif
