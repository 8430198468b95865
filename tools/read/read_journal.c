/* SPDX-License-Identifier: MIT */
/*
 * Reads journals that another process is writing, or has left behind.
 *
 * A chunk is read under its serial as a record is under its sequence count: if the serial is the same before
 * and after, the entries that were copied are whole. Uses of chunks are numbered without gaps, and a chunk is
 * full before its use ends. So the number of entries that were overwritten unread is known exactly: those
 * that follow the last one that was read of a use, and all of each use that was never seen.
 */
#include "read_journal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A chunk is given to another use while it is read: then that use is read. Each takes its writer many
 * entries. */
#define CHUNK_ATTEMPTS 4
#define CHUNK_SIZE_MAX (1u << 20)
/* When entries of so many bytes were copied, the rest waits for the next call: those of a library take less.
 */
#define ENTRIES_SIZE_MAX (16u << 20)

static const size_t header_offsets[JOURNAL_KINDS] = {
	[JOURNAL_ENDS] = offsetof(struct ctx_table_header, ends),
	[JOURNAL_CONTEXTS] = offsetof(struct ctx_table_header, contexts_past),
	[JOURNAL_OPERATIONS] = offsetof(struct ctx_table_header, operations_past),
};

static const size_t known_sizes[JOURNAL_KINDS] = {
	[JOURNAL_ENDS] = sizeof(struct ctx_table_end),
	[JOURNAL_CONTEXTS] = sizeof(struct ctx_table_context_past),
	[JOURNAL_OPERATIONS] = sizeof(struct ctx_table_operation_past),
};

static const char *const names[JOURNAL_KINDS] = {[JOURNAL_ENDS] = "ends",
						 [JOURNAL_CONTEXTS] = "past contexts",
						 [JOURNAL_OPERATIONS] = "past operations"};

/* The writer may be storing the same words, so each is loaded atomically. All sizes are multiples of 8. */
static void copy_entry(void *to, const void *from, size_t size)
{
	uint64_t *out = to;
	const _Atomic uint64_t *in = from;

	for (size_t i = 0; i < size / sizeof(*out); i++)
		out[i] = atomic_load_explicit(in + i, memory_order_relaxed);
}

/* Whether the journal lies within the table, and its entries have the size that they need. */
static bool layout_is_valid(const struct ctx_table_journal *layout, enum journal_kind kind,
			    uint64_t table_size)
{
	const struct ctx_table_area *area = &layout->area;
	uint64_t bytes = (uint64_t)area->record_size * area->count; /* at most 2^52 */

	return area->record_size % 8 == 0 && area->record_size <= CHUNK_SIZE_MAX &&
	       layout->entry_size % 8 == 0 && layout->entry_size >= known_sizes[kind] &&
	       area->record_size >= sizeof(struct ctx_table_chunk) &&
	       layout->entry_size <= area->record_size - sizeof(struct ctx_table_chunk) &&
	       area->offset % 8 == 0 && area->offset >= sizeof(struct ctx_table_header) &&
	       area->offset <= table_size && bytes <= table_size - area->offset;
}

static uint32_t chunks_in_use(const struct ctx_table_area *area)
{
	uint32_t used = atomic_load_explicit(&area->used, memory_order_acquire);

	used = used < area->count ? used : area->count;
	return used < JOURNAL_CHUNKS_MAX ? used : JOURNAL_CHUNKS_MAX;
}

static bool has_journals(const struct ctx_table_header *header)
{
	return header->header_size >= sizeof(struct ctx_table_header);
}

int journal_open(struct journal *ret_journal, const void *bytes, size_t size, enum journal_kind kind,
		 char reason[READER_REASON_SIZE])
{
	struct journal journal = {.kind = kind, .bytes = bytes, .header_offset = header_offsets[kind]};
	struct ctx_table_header header;
	int result = snapshot_read_header(bytes, size, &header, reason);

	*ret_journal = (struct journal){0};
	if (result)
		return result;
	if (!has_journals(&header)) {
		snprintf(reason, READER_REASON_SIZE,
			 "its library is too old to keep a journal of what is past");
		return -ENOTSUP;
	}
	memcpy(&journal.layout, (const char *)&header + journal.header_offset, sizeof(journal.layout));
	if (!layout_is_valid(&journal.layout, kind, size)) {
		snprintf(reason, READER_REASON_SIZE,
			 "broken table: the journal of %s is not where it could be", names[kind]);
		return -EINVAL;
	}
	journal.chunk_entries = (journal.layout.area.record_size - (uint32_t)sizeof(struct ctx_table_chunk)) /
				journal.layout.entry_size;
	uint32_t chunks = journal.layout.area.count;
	chunks = chunks < JOURNAL_CHUNKS_MAX ? chunks : JOURNAL_CHUNKS_MAX;
	journal.places = calloc((size_t)chunks + 1, sizeof(*journal.places));
	if (!journal.places) {
		snprintf(reason, READER_REASON_SIZE, "not enough memory to read the journal");
		return -ENOMEM;
	}
	*ret_journal = journal;
	return 0;
}

/* ---- what was lost */

static uint64_t add_saturated(uint64_t left, uint64_t right)
{
	return left > UINT64_MAX - right ? UINT64_MAX : left + right;
}

static uint64_t entries_of_uses(const struct journal *journal, uint64_t uses)
{
	return uses > UINT64_MAX / journal->chunk_entries ? UINT64_MAX : uses * journal->chunk_entries;
}

/* A use was taken for lost, and is there after all: its thread had no processor between the two stores of
 * begin_use() in lib/table/journal.c. */
static void take_back_use(struct journal *journal, uint64_t serial)
{
	uint64_t *counted = serial <= journal->settled_first ? &journal->overwritten : &journal->lost;

	*counted -= *counted < journal->chunk_entries ? *counted : journal->chunk_entries;
}

/* Notes that a use was seen for the first time. 0 or -ENOMEM. */
static int note_use(struct journal *journal, uint64_t serial)
{
	if (serial <= journal->settled) {
		take_back_use(journal, serial);
		return 0;
	}
	if (journal->recent_count == journal->recent_room) {
		size_t room = journal->recent_room ? journal->recent_room * 2 : 64;
		uint64_t *larger = realloc(journal->recent, room * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		journal->recent = larger;
		journal->recent_room = room;
	}
	journal->recent[journal->recent_count++] = serial;
	return 0;
}

/*
 * Forgets uses that were never given, of which a hostile journal may show others each time: else they would
 * be kept for ever.
 */
static void forget_uses_after(struct journal *journal, uint64_t given)
{
	size_t kept = 0;

	for (size_t i = 0; i < journal->recent_count; i++)
		if (journal->recent[i] <= given)
			journal->recent[kept++] = journal->recent[i];
	journal->recent_count = kept;
}

/* The uses up to serial are settled now: those among them that were not seen are lost. */
static void settle_uses(struct journal *journal, uint64_t serial)
{
	size_t kept = 0;
	uint64_t seen = 0;

	if (serial <= journal->settled)
		return;
	for (size_t i = 0; i < journal->recent_count; i++) {
		if (journal->recent[i] > serial)
			journal->recent[kept++] = journal->recent[i];
		else
			seen++;
	}
	journal->recent_count = kept;
	uint64_t given = serial - journal->settled;
	uint64_t missed = entries_of_uses(journal, given > seen ? given - seen : 0);
	if (journal->begun)
		journal->lost = add_saturated(journal->lost, missed);
	else
		journal->overwritten = missed;
	journal->settled = serial;
	if (!journal->begun)
		journal->settled_first = serial;
}

/* ---- entries */

static int make_room(struct journal *journal)
{
	size_t needed = journal->entry_count + journal->chunk_entries;
	size_t room = journal->entry_room ? journal->entry_room : 256;

	if (needed <= journal->entry_room)
		return 0;
	while (room < needed)
		room *= 2;
	void *larger = realloc(journal->entries, room * known_sizes[journal->kind]);
	if (!larger)
		return -ENOMEM;
	journal->entries = larger;
	journal->entry_room = room;
	return 0;
}

static void *journal_entry(const struct journal *journal, size_t index)
{
	return (char *)journal->entries + index * known_sizes[journal->kind];
}

/* Ends the strings of an entry, and clears what is not valid in it. False: it is of a type that is not known.
 */
static bool accept_entry(enum journal_kind kind, void *entry)
{
	if (kind == JOURNAL_CONTEXTS) {
		struct ctx_table_context_past *past = entry;
		past->label[sizeof(past->label) - 1] = '\0';
		if (!(past->state & CTX_TABLE_OWN)) {
			past->done_ns = past->done_site = 0;
			past->done_tid = 0;
			past->cause_kind = 0;
			past->cause_code = 0;
		}
	}
	if (kind == JOURNAL_ENDS) {
		struct ctx_table_end *end = entry;
		if (end->type == CTX_TABLE_END_BATCH)
			return true;
		end->end.label[sizeof(end->end.label) - 1] = '\0';
		end->end.text[sizeof(end->end.text) - 1] = '\0';
		return end->type == CTX_TABLE_END_CONTEXT;
	}
	return true;
}

/* Removes from the entries from index on those of unknown types. */
static void accept_entries(struct journal *journal, size_t from, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *entry = journal_entry(journal, from + i);
		if (!accept_entry(journal->kind, entry))
			continue;
		if (entry != journal_entry(journal, journal->entry_count))
			memcpy(journal_entry(journal, journal->entry_count), entry,
			       known_sizes[journal->kind]);
		journal->entry_count++;
	}
}

/* What was in the chunk at the last time, and was not read to its end, is lost if it has another use now. */
static void leave_use(struct journal *journal, const struct journal_place *place)
{
	if (place->serial)
		journal->lost = add_saturated(journal->lost, journal->chunk_entries - place->count);
}

static int read_chunk(struct journal *journal, uint32_t index)
{
	const struct ctx_table_journal *layout = &journal->layout;
	const unsigned char *at =
		journal->bytes + layout->area.offset + (uint64_t)index * layout->area.record_size;
	const struct ctx_table_chunk *chunk = (const void *)at;
	struct journal_place *place = &journal->places[index];
	int result;

	if (journal->entry_count * known_sizes[journal->kind] >= ENTRIES_SIZE_MAX)
		return 0;
	for (unsigned attempt = 0; attempt < CHUNK_ATTEMPTS; attempt++) {
		uint64_t serial = atomic_load_explicit(&chunk->serial, memory_order_acquire);
		uint32_t count = atomic_load_explicit(&chunk->count, memory_order_acquire);
		uint32_t first = serial == place->serial ? place->count : 0;

		if (!serial)
			return 0;
		count = count < journal->chunk_entries ? count : journal->chunk_entries;
		if (serial == place->serial && count <= first)
			return 0;
		result = make_room(journal);
		if (result)
			return result;
		size_t from = journal->entry_count;
		for (uint32_t i = first; i < count; i++)
			copy_entry(journal_entry(journal, from + i - first),
				   at + sizeof(*chunk) + (size_t)i * layout->entry_size,
				   known_sizes[journal->kind]);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&chunk->serial, memory_order_relaxed) != serial)
			continue;
		if (serial != place->serial) {
			leave_use(journal, place);
			result = note_use(journal, serial);
			if (result)
				return result;
		}
		*place = (struct journal_place){serial, count};
		if (count > first)
			accept_entries(journal, from, count - first);
		return 0;
	}
	return 0;
}

int journal_read(struct journal *journal)
{
	const struct ctx_table_journal *shared = (const void *)(journal->bytes + journal->header_offset);
	/* Before the chunks are read: uses that are given meanwhile may or may not be seen. */
	uint64_t given = atomic_load_explicit(&shared->serial, memory_order_acquire);
	struct ctx_table_area area = journal->layout.area;
	int result = 0;

	area.used = atomic_load_explicit(&shared->area.used, memory_order_acquire);
	journal->entry_count = 0;
	for (uint32_t i = 0, chunks = chunks_in_use(&area); i < chunks && !result; i++)
		result = read_chunk(journal, i);
	if (result)
		return result;
	forget_uses_after(journal, atomic_load_explicit(&shared->serial, memory_order_acquire));
	settle_uses(journal, journal->begun ? journal->given : given);
	journal->given = given;
	journal->overwritten_ns = atomic_load_explicit(&shared->overwritten_ns, memory_order_relaxed);
	journal->begun = true;
	return 0;
}

void journal_close(struct journal *journal)
{
	free(journal->places);
	free(journal->recent);
	free(journal->entries);
	*journal = (struct journal){0};
}

void journal_ranges(const void *header, size_t size, uint64_t table_size,
		    struct reader_range ret_ranges[JOURNAL_KINDS])
{
	struct ctx_table_header copy;

	memset(ret_ranges, 0, JOURNAL_KINDS * sizeof(*ret_ranges));
	if (size < sizeof(copy))
		return;
	memcpy(&copy, header, sizeof(copy));
	if (!has_journals(&copy))
		return;
	for (int kind = 0; kind < JOURNAL_KINDS; kind++) {
		struct ctx_table_journal layout;

		memcpy(&layout, (const char *)&copy + header_offsets[kind], sizeof(layout));
		if (layout_is_valid(&layout, (enum journal_kind)kind, table_size))
			ret_ranges[kind] = (struct reader_range){layout.area.offset,
								 (uint64_t)chunks_in_use(&layout.area) *
									 layout.area.record_size};
	}
}
