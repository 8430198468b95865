/* SPDX-License-Identifier: MIT */
/*
 * Writes the journals of the table (struct ctx_table_journal in table_format.h).
 *
 * Each thread has a chunk of its own in each journal that it writes, so that an entry takes no lock and no
 * system call. When the chunk is full the thread hands it over, under a lock, and takes another one: one that
 * a thread which has ended left half full, one that was never used, or the one that was filled longest ago.
 * At most half of the chunks belong to threads. The threads for which there is none share one, and take the
 * lock for each entry.
 */
#ifndef CTX_JOURNAL_H
#define CTX_JOURNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "control.h"
#include "table_format.h"

enum table_journal {
	TABLE_ENDS,
	TABLE_CONTEXTS_PAST,
	TABLE_OPERATIONS_PAST,
	TABLE_JOURNALS
};

/* How a thread writes one journal. */
struct journal_writer {
	char *next, *end;	       /* the room that is left in its chunk; equal: there is none */
	struct ctx_table_chunk *chunk; /* its chunk; NULL: it has none */
};

extern __thread struct journal_writer journal_writers[TABLE_JOURNALS]
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* For a thread whose chunk is full, or which has none. NULL: there is no table. */
void *journal_begin_slow(enum table_journal journal);
/* Ends an entry in the chunk that is shared. */
void journal_end_shared(enum table_journal journal);

/* Whether journal_begin() takes no lock. */
static inline bool journal_has_room(enum table_journal journal)
{
	return __builtin_expect(journal_writers[journal].next != journal_writers[journal].end, 1);
}

/*
 * While it is written round and round a journal lies in a farther cache. What the next entries will be
 * written to is fetched ahead, or else the next locked instruction waits until it is there.
 */
#define JOURNAL_AHEAD 256u
#define JOURNAL_LINE 64u

static inline void journal_fetch(const char *from, uint32_t size)
{
	for (uint32_t i = 0; i < size; i += JOURNAL_LINE)
		__builtin_prefetch(from + i, 1);
}

/*
 * Returns the place of a new entry, which the caller fills at once, without calling a function that is not
 * its own, and publishes by journal_end(). NULL: there is no table.
 */
static inline void *journal_begin(enum table_journal journal)
{
	struct journal_writer *writer = &journal_writers[journal];

	return journal_has_room(journal) ? writer->next : journal_begin_slow(journal);
}

static inline void journal_end(enum table_journal journal, uint32_t entry_size)
{
	struct journal_writer *writer = &journal_writers[journal];

	if (__builtin_expect(!writer->chunk, 0)) {
		journal_end_shared(journal);
		return;
	}
	writer->next += entry_size;
	journal_fetch(writer->next + JOURNAL_AHEAD, entry_size);
	uint32_t count = atomic_load_explicit(&writer->chunk->count, memory_order_relaxed);
	atomic_store_explicit(&writer->chunk->count, count + 1, memory_order_release);
}

#endif
