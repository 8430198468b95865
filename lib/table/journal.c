/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "lock.h"
#include "table.h"
#include "thread.h"

/*
 * The chunks of one journal. Those in a list are linked through their field reserved[0]. The number of a
 * chunk is one more than its index, so that 0 can say "none".
 */
struct chunks {
	struct ctx_table_journal *layout; /* NULL: there is no table */
	char *base;
	uint32_t capacity;  /* entries that fit into a chunk */
	size_t time_offset; /* where an entry has its time */
	uint32_t dump_step; /* so many chunks are added to core dumps at once; 0: all are there */
	uint32_t filled_first, filled_last; /* full, the one that was filled longest ago first */
	uint32_t unfilled;		    /* left by threads that have ended */
	uint32_t shared;		    /* the one of the threads that have none */
	uint32_t owned;			    /* how many belong to threads */
};

__thread struct journal_writer journal_writers[TABLE_JOURNALS];

/* Guards journals. No other lock is taken under it. */
static struct lock journal_lock;
static struct chunks journals[TABLE_JOURNALS];
static pthread_key_t exit_key;
static bool exit_key_made;

static struct ctx_table_chunk *chunk_at(const struct chunks *chunks, uint32_t number)
{
	return (struct ctx_table_chunk *)(chunks->base + (size_t)(number - 1) * CTX_TABLE_CHUNK_SIZE);
}

static uint32_t number_of(const struct chunks *chunks, const struct ctx_table_chunk *chunk)
{
	return (uint32_t)(((const char *)chunk - chunks->base) / CTX_TABLE_CHUNK_SIZE) + 1;
}

static char *entry_at(const struct chunks *chunks, struct ctx_table_chunk *chunk, uint32_t index)
{
	return (char *)(chunk + 1) + (size_t)index * chunks->layout->entry_size;
}

static uint32_t count_of(const struct ctx_table_chunk *chunk)
{
	return atomic_load_explicit(&chunk->count, memory_order_relaxed);
}

/* ---- where they are */

static void attach(struct chunks *chunks, struct ctx_table_header *header, struct ctx_table_journal *layout,
		   size_t time_offset, uint32_t dump_step)
{
	*chunks = (struct chunks){
		.layout = layout,
		.base = (char *)header + layout->area.offset,
		.capacity = (CTX_TABLE_CHUNK_SIZE - (uint32_t)sizeof(struct ctx_table_chunk)) /
			    layout->entry_size,
		.time_offset = time_offset,
		.dump_step = dump_step,
	};
}

/* Finds the journals in the table. False: there is no table. Whoever has something to write has a context in
 * it. With journal_lock held. */
static bool find_journals(void)
{
	struct ctx_table_header *header = table_map.header;

	if (!header || journals[TABLE_ENDS].layout)
		return header != NULL;
	/* The table shows the ends as a whole: an end costs no system call. */
	attach(&journals[TABLE_ENDS], header, &header->ends, offsetof(struct ctx_table_end, time_ns), 0);
	attach(&journals[TABLE_CONTEXTS_PAST], header, &header->contexts_past,
	       offsetof(struct ctx_table_context_past, freed_ns), 64);
	attach(&journals[TABLE_OPERATIONS_PAST], header, &header->operations_past,
	       offsetof(struct ctx_table_operation_past, end_ns), 64);
	return true;
}

/* ---- chunks, with journal_lock held */

static void append_filled(struct chunks *chunks, uint32_t number)
{
	chunk_at(chunks, number)->reserved[0] = 0;
	if (chunks->filled_last)
		chunk_at(chunks, chunks->filled_last)->reserved[0] = number;
	else
		chunks->filled_first = number;
	chunks->filled_last = number;
}

static uint32_t take_filled(struct chunks *chunks)
{
	uint32_t number = chunks->filled_first;

	if (!number)
		return 0;
	struct ctx_table_chunk *chunk = chunk_at(chunks, number);
	chunks->filled_first = (uint32_t)chunk->reserved[0];
	if (!chunks->filled_first)
		chunks->filled_last = 0;
	uint64_t time_ns;
	memcpy(&time_ns, entry_at(chunks, chunk, chunks->capacity - 1) + chunks->time_offset,
	       sizeof(time_ns));
	if (time_ns > atomic_load_explicit(&chunks->layout->overwritten_ns, memory_order_relaxed))
		atomic_store_explicit(&chunks->layout->overwritten_ns, time_ns, memory_order_relaxed);
	return number;
}

static uint32_t take_unused(struct chunks *chunks)
{
	struct ctx_table_area *area = &chunks->layout->area;
	uint32_t used = atomic_load_explicit(&area->used, memory_order_relaxed);

	if (used == area->count)
		return 0;
	if (chunks->dump_step && used % chunks->dump_step == 0)
		table_show_in_dumps(area, (uint64_t)used * CTX_TABLE_CHUNK_SIZE,
				    (uint64_t)(used + chunks->dump_step) * CTX_TABLE_CHUNK_SIZE);
	atomic_store_explicit(&area->used, used + 1, memory_order_release);
	return used + 1;
}

/*
 * Gives a chunk to another use. A reader that has read an entry of the new use does not find the serial of
 * the old one any more. The partner is read_chunk() in tools/read/read_journal.c.
 */
static void begin_use(struct chunks *chunks, struct ctx_table_chunk *chunk)
{
	uint64_t serial = atomic_load_explicit(&chunks->layout->serial, memory_order_relaxed) + 1;

	atomic_store_explicit(&chunks->layout->serial, serial, memory_order_relaxed);
	atomic_store_explicit(&chunk->serial, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&chunk->count, 0, memory_order_relaxed);
	atomic_store_explicit(&chunk->serial, serial, memory_order_release);
}

/* Takes a chunk with room. NULL: all belong to threads, which cannot be. */
static struct ctx_table_chunk *take_chunk(struct chunks *chunks)
{
	uint32_t number = chunks->unfilled;

	if (number) {
		struct ctx_table_chunk *chunk = chunk_at(chunks, number);
		chunks->unfilled = (uint32_t)chunk->reserved[0];
		return chunk;
	}
	number = take_unused(chunks);
	if (!number)
		number = take_filled(chunks);
	if (!number)
		return NULL;
	begin_use(chunks, chunk_at(chunks, number));
	return chunk_at(chunks, number);
}

static void give_back(struct chunks *chunks, struct ctx_table_chunk *chunk)
{
	uint32_t number = number_of(chunks, chunk);

	if (count_of(chunk) == chunks->capacity) {
		append_filled(chunks, number);
	} else {
		chunk->reserved[0] = chunks->unfilled;
		chunks->unfilled = number;
	}
}

/* ---- threads */

static void leave_journal(struct chunks *chunks, struct journal_writer *writer)
{
	if (writer->chunk && chunks->layout) {
		give_back(chunks, writer->chunk);
		chunks->owned--;
	}
	*writer = (struct journal_writer){0};
}

/* The thread ends. */
static void leave_journals(void *state)
{
	(void)state;
	lock_acquire(&journal_lock);
	for (int i = 0; i < TABLE_JOURNALS; i++)
		leave_journal(&journals[i], &journal_writers[i]);
	lock_release(&journal_lock);
}

/* Gives the calling thread a chunk of its own. False: there is none for it. */
static bool own_chunk(struct chunks *chunks, struct journal_writer *writer)
{
	struct ctx_table_chunk *chunk =
		chunks->owned < chunks->layout->area.count / 2 ? take_chunk(chunks) : NULL;

	if (!chunk)
		return false;
	chunks->owned++;
	chunk->writer_tid = thread_self()->tid;
	*writer = (struct journal_writer){.next = entry_at(chunks, chunk, count_of(chunk)),
					  .end = entry_at(chunks, chunk, chunks->capacity),
					  .chunk = chunk,
					  .count = count_of(chunk)};
	return true;
}

/* The place of the next entry in the chunk that is shared. NULL: there is none. */
static void *next_shared(struct chunks *chunks)
{
	struct ctx_table_chunk *chunk = chunks->shared ? chunk_at(chunks, chunks->shared) : NULL;

	if (chunk && count_of(chunk) == chunks->capacity) {
		append_filled(chunks, chunks->shared);
		chunk = NULL;
	}
	if (!chunk) {
		chunk = take_chunk(chunks);
		chunks->shared = chunk ? number_of(chunks, chunk) : 0;
	}
	return chunk ? entry_at(chunks, chunk, count_of(chunk)) : NULL;
}

void *journal_begin_slow(enum table_journal journal)
{
	struct chunks *chunks = &journals[journal];
	struct journal_writer *writer = &journal_writers[journal];
	void *place = NULL;
	/* A thread whose end would not be noticed gets no chunk of its own. One that has a chunk is known. */
	bool known = writer->chunk || (exit_key_made && !pthread_setspecific(exit_key, journal_writers));

	lock_acquire(&journal_lock);
	bool found = find_journals();
	leave_journal(chunks, writer);
	if (found && known && own_chunk(chunks, writer)) {
		lock_release(&journal_lock);
		return writer->next;
	}
	if (found)
		place = next_shared(chunks);
	if (!place)
		lock_release(&journal_lock);
	return place; /* journal_end_shared() releases the lock */
}

void journal_end_shared(enum table_journal journal)
{
	struct chunks *chunks = &journals[journal];
	struct ctx_table_chunk *chunk = chunk_at(chunks, chunks->shared);

	chunk->writer_tid = thread_self()->tid;
	atomic_store_explicit(&chunk->count, count_of(chunk) + 1, memory_order_release);
	lock_release(&journal_lock);
}

/* ---- fork: the child has no table at first, and its journals are those of the table that it makes */

static void fork_prepare(void)
{
	lock_acquire(&journal_lock);
}

static void fork_parent(void)
{
	lock_release(&journal_lock);
}

static void fork_child(void)
{
	journal_lock = (struct lock){0};
	memset(journals, 0, sizeof(journals));
	memset(journal_writers, 0, sizeof(journal_writers));
}

__attribute__((constructor)) static void prepare_journals(void)
{
	exit_key_made = pthread_key_create(&exit_key, leave_journals) == 0;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
