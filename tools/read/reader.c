/* SPDX-License-Identifier: MIT */
/*
 * Reads a context table that another process is writing, or has left behind.
 *
 * Operations are copied before contexts. An operation whose context went away in between is
 * left out. None is shown under a context that it never had, because slot and generation must
 * both match.
 */
#include "reader.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A writer holds a record for some tens of nanoseconds, or longer when it loses its CPU. */
#define COPY_ATTEMPTS 64
/* How often a whole read yields its CPU to writers that lost theirs. */
#define YIELDS_MAX 256
#define RECORD_SIZE_MAX 65536u
/* The header of the first libraries, which every later one begins with. */
#define HEADER_SIZE_MIN offsetof(struct ctx_table_header, stems)
#define AREAS 9

struct reading {
	const unsigned char *bytes;
	size_t size;
	struct ctx_table_header header;
	struct snapshot *out;
	/* The index of the context in each slot. READER_NONE: none was read from it. */
	uint32_t *index_of_slot;
	unsigned yields;
};

static void copy_words(void *to, const void *from, size_t size)
{
	uint32_t *out = to;
	const _Atomic uint32_t *in = from;

	/* The writer may be storing the same words, so each is loaded atomically. */
	for (size_t i = 0; i < size / sizeof(*out); i++)
		out[i] = atomic_load_explicit(in + i, memory_order_relaxed);
}

/* Copies a record, whose first word is its sequence count. False: it was being written at each attempt. */
static bool copy_record(struct reading *reading, const void *from, void *to, size_t size)
{
	const _Atomic uint32_t *seq = from;

	for (unsigned attempt = 0; attempt < COPY_ATTEMPTS; attempt++) {
		uint32_t before = atomic_load_explicit(seq, memory_order_acquire);

		if (!(before & 1u)) {
			copy_words(to, from, size);
			atomic_thread_fence(memory_order_acquire);
			if (atomic_load_explicit(seq, memory_order_relaxed) == before)
				return true;
		}
		if (attempt == COPY_ATTEMPTS / 2 && reading->yields < YIELDS_MAX) {
			reading->yields++;
			sched_yield();
		}
	}
	reading->out->torn++;
	return false;
}

static const void *record_at(const struct reading *reading, const struct ctx_table_area *area, uint32_t slot)
{
	return reading->bytes + area->offset + (size_t)slot * area->record_size;
}

/* Makes room for one more element. The room is 16, then the next power of two. */
static int grow_array(void **array, uint32_t count, size_t element_size)
{
	size_t room;
	void *larger;

	if (count & (count - 1) || (count && count < 16))
		return 0;
	room = count ? (size_t)count * 2 : 16;
	larger = realloc(*array, room * element_size);
	if (!larger)
		return -ENOMEM;
	*array = larger;
	return 0;
}

/* An area as this file knows it. */
struct known_area {
	const char *name;
	size_t place; /* in the header */
	size_t record_size;
	bool later; /* tables of earlier libraries lack it */
};

static const struct known_area known_areas[AREAS] = {
	{"contexts", offsetof(struct ctx_table_header, contexts), sizeof(struct ctx_table_context), false},
	{"operations", offsetof(struct ctx_table_header, operations), sizeof(struct ctx_table_operation),
	 false},
	{"causes", offsetof(struct ctx_table_header, causes), offsetof(struct ctx_table_cause, host), false},
	{"rings", offsetof(struct ctx_table_header, rings), sizeof(struct ctx_table_ring), false},
	{"stems", offsetof(struct ctx_table_header, stems), sizeof(struct ctx_table_stem), true},
	{"counters", offsetof(struct ctx_table_header, counters), sizeof(struct ctx_table_counters), true},
	{"ends", offsetof(struct ctx_table_header, ends.area), CTX_TABLE_CHUNK_SIZE, true},
	{"past contexts", offsetof(struct ctx_table_header, contexts_past.area), CTX_TABLE_CHUNK_SIZE, true},
	{"past operations", offsetof(struct ctx_table_header, operations_past.area), CTX_TABLE_CHUNK_SIZE,
	 true},
};

static struct ctx_table_area *area_of(struct ctx_table_header *header, unsigned number)
{
	return (struct ctx_table_area *)((char *)header + known_areas[number].place);
}

static int check_area(const struct ctx_table_area *area, const struct known_area *known, uint64_t size,
		      char *reason)
{
	const char *name = known->name;
	size_t known_size = known->record_size;
	uint64_t bytes;

	if (known->later && !area->record_size && !area->count) /* there is none */
		return 0;
	if (area->record_size < known_size || area->record_size > RECORD_SIZE_MAX || area->record_size % 8) {
		snprintf(reason, READER_REASON_SIZE,
			 "broken table: records of %s have %" PRIu32 " bytes, at least %zu expected", name,
			 area->record_size, known_size);
		return -EINVAL;
	}
	if (area->offset % 8 || area->offset < HEADER_SIZE_MIN) {
		snprintf(reason, READER_REASON_SIZE, "broken table: %s begin at %" PRIu64, name,
			 area->offset);
		return -EINVAL;
	}
	bytes = (uint64_t)area->record_size * area->count; /* at most 65536 * 2^32 */
	if (area->offset > size || bytes > size - area->offset) {
		snprintf(reason, READER_REASON_SIZE, "truncated table: %s end beyond its %" PRIu64 " bytes",
			 name, size);
		return -ENODATA;
	}
	return 0;
}

/* Limits the count of slots in use to what there is and to READER_SLOTS_MAX. True: slots are left out. */
static bool clip_area(struct ctx_table_area *area)
{
	if (area->used > area->count)
		area->used = area->count;
	if (area->used <= READER_SLOTS_MAX)
		return false;
	area->used = READER_SLOTS_MAX;
	return true;
}

static int check_version(const struct ctx_table_header *header, char *reason)
{
	if (header->magic == 0) {
		snprintf(reason, READER_REASON_SIZE,
			 "the table is empty: its process has not finished making it");
		return -EAGAIN;
	}
	if (header->magic != CTX_TABLE_MAGIC) {
		snprintf(reason, READER_REASON_SIZE, "not a context table (magic %016" PRIx64 ")",
			 header->magic);
		return -EINVAL;
	}
	if (header->version > CTX_TABLE_VERSION) {
		snprintf(reason, READER_REASON_SIZE,
			 "the table has version %" PRIu32
			 ", this ctxtool reads up to %u: use a newer ctxtool",
			 header->version, CTX_TABLE_VERSION);
		return -EPROTO;
	}
	if (header->version == 0 || header->header_size < HEADER_SIZE_MIN) {
		snprintf(reason, READER_REASON_SIZE,
			 "broken table: version %" PRIu32 ", header of %" PRIu32 " bytes", header->version,
			 header->header_size);
		return -EPROTO;
	}
	return 0;
}

/* Copies the header. What lies behind its end as it states it is set to 0. */
static void copy_header(struct ctx_table_header *header, const void *bytes, size_t size)
{
	size_t known = size < sizeof(*header) ? HEADER_SIZE_MIN : sizeof(*header);

	memset(header, 0, sizeof(*header));
	copy_words(header, bytes, known);
	if (header->header_size < sizeof(*header))
		memset((char *)header + HEADER_SIZE_MIN, 0, sizeof(*header) - HEADER_SIZE_MIN);
}

static int read_header(const void *bytes, size_t size, uint64_t table_size, struct ctx_table_header *header,
		       bool *ret_clipped, char *reason)
{
	int result;

	if (size < HEADER_SIZE_MIN) {
		snprintf(reason, READER_REASON_SIZE, "truncated table: its %zu bytes are less than a header",
			 size);
		return -ENODATA;
	}
	copy_header(header, bytes, size);
	result = check_version(header, reason);
	if (!result && header->file_size > table_size) {
		snprintf(reason, READER_REASON_SIZE, "truncated table: %" PRIu64 " bytes of %" PRIu64,
			 table_size, header->file_size);
		result = -ENODATA;
	}
	*ret_clipped = false;
	for (unsigned i = 0; i < AREAS && !result; i++) {
		struct ctx_table_area *area = area_of(header, i);

		result = check_area(area, &known_areas[i], table_size, reason);
		*ret_clipped = clip_area(area) || *ret_clipped;
	}
	return result;
}

static void update_latest(struct snapshot *out, uint64_t time_ns)
{
	if (time_ns > out->latest_ns && time_ns < UINT64_MAX / 2)
		out->latest_ns = time_ns;
}

static int read_operations(struct reading *reading)
{
	const struct ctx_table_area *area = &reading->header.operations;
	struct snapshot *out = reading->out;

	for (uint32_t slot = 1; slot < area->used; slot++) {
		const struct ctx_table_operation *record = record_at(reading, area, slot);
		struct reader_operation *operation;

		if (!(atomic_load_explicit(&record->flags, memory_order_acquire) & CTX_TABLE_OP_IN_FLIGHT))
			continue;
		if (grow_array((void **)&out->operations, out->operation_count, sizeof(*operation)))
			return -ENOMEM;
		operation = &out->operations[out->operation_count];
		*operation = (struct reader_operation){.context = READER_NONE, .next = READER_NONE};
		if (!copy_record(reading, record, &operation->record, sizeof(operation->record)))
			continue;
		if (!(operation->record.flags & CTX_TABLE_OP_IN_FLIGHT))
			continue;
		update_latest(out, operation->record.since_ns);
		out->operation_count++;
	}
	return 0;
}

static int read_contexts(struct reading *reading)
{
	const struct ctx_table_area *area = &reading->header.contexts;
	struct snapshot *out = reading->out;

	for (uint32_t slot = 1; slot < area->used; slot++) {
		const struct ctx_table_context *record = record_at(reading, area, slot);
		struct reader_context *context;

		if (!atomic_load_explicit(&record->state, memory_order_acquire))
			continue;
		if (grow_array((void **)&out->contexts, out->context_count, sizeof(*context)))
			return -ENOMEM;
		context = &out->contexts[out->context_count];
		*context = (struct reader_context){.slot = slot,
						   .parent = READER_NONE,
						   .first_child = READER_NONE,
						   .next_sibling = READER_NONE,
						   .origin = READER_NONE,
						   .cause = READER_NONE,
						   .first_operation = READER_NONE};
		if (!copy_record(reading, record, &context->record, sizeof(context->record)))
			continue;
		if (!context->record.state || !context->record.generation)
			continue;
		context->record.label[CTX_TABLE_LABEL_SIZE - 1] = '\0';
		update_latest(out, context->record.created_ns);
		if (context->record.state & CTX_TABLE_OWN)
			update_latest(out, context->record.done_ns);
		if (context->record.state & CTX_TABLE_LIVE)
			out->live_count++;
		reading->index_of_slot[slot] = out->context_count++;
	}
	return 0;
}

static int read_cause(struct reading *reading, struct reader_context *context)
{
	const struct ctx_table_area *area = &reading->header.causes;
	struct snapshot *out = reading->out;
	struct ctx_table_cause *cause;
	uint32_t slot = context->record.cause_slot;

	if (!(context->record.state & CTX_TABLE_OWN) || slot == 0 || slot >= area->used)
		return 0;
	if (grow_array((void **)&out->causes, out->cause_count, sizeof(*cause)))
		return -ENOMEM;
	cause = &out->causes[out->cause_count];
	memset(cause, 0, sizeof(*cause));
	if (!copy_record(reading, record_at(reading, area, slot), cause,
			 area->record_size < sizeof(*cause) ? offsetof(struct ctx_table_cause, host)
							    : sizeof(*cause)))
		return 0;
	if (cause->context_slot != context->slot || cause->context_generation != context->record.generation)
		return 0;
	cause->text[CTX_TABLE_TEXT_SIZE - 1] = '\0';
	cause->host[CTX_TABLE_HOST_SIZE - 1] = '\0';
	context->cause = out->cause_count++;
	return 0;
}

static int read_causes(struct reading *reading)
{
	for (uint32_t i = 0; i < reading->out->context_count; i++) {
		int result = read_cause(reading, &reading->out->contexts[i]);

		if (result)
			return result;
	}
	return 0;
}

static int read_rings(struct reading *reading)
{
	const struct ctx_table_area *area = &reading->header.rings;
	struct snapshot *out = reading->out;

	for (uint32_t slot = 1; slot < area->used; slot++) {
		const struct ctx_table_ring *record = record_at(reading, area, slot);
		struct reader_ring *ring;

		if (!atomic_load_explicit(&record->state, memory_order_acquire))
			continue;
		if (grow_array((void **)&out->rings, out->ring_count, sizeof(*ring)))
			return -ENOMEM;
		ring = &out->rings[out->ring_count];
		*ring = (struct reader_ring){.slot = slot};
		if (!copy_record(reading, record, &ring->record, sizeof(ring->record)) || !ring->record.state)
			continue;
		update_latest(out, ring->record.opened_ns);
		out->ring_count++;
	}
	return 0;
}

/* The index of the context in slot, or READER_NONE when it is not of that generation. */
static uint32_t find_context(const struct reading *reading, uint32_t slot, uint32_t generation)
{
	uint32_t index;

	if (slot == 0 || slot >= reading->header.contexts.used)
		return READER_NONE;
	index = reading->index_of_slot[slot];
	if (index == READER_NONE || reading->out->contexts[index].record.generation != generation)
		return READER_NONE;
	return index;
}

static void link_parents(struct reading *reading)
{
	struct snapshot *out = reading->out;

	for (uint32_t i = 0; i < out->context_count; i++) {
		struct reader_context *context = &out->contexts[i];

		context->parent =
			find_context(reading, context->record.parent_slot, context->record.parent_generation);
		context->orphan = context->parent == READER_NONE && context->record.parent_slot != 0;
	}
}

/*
 * Cuts each circle of parent links once. Every walk upwards marks its contexts with its own
 * number and stops at a context that any walk has marked, so that all walks together are linear.
 */
static int cut_cycles(struct snapshot *out)
{
	uint32_t *walk_of = calloc((size_t)out->context_count + 1, sizeof(*walk_of));

	if (!walk_of)
		return -ENOMEM;
	for (uint32_t i = 0; i < out->context_count; i++) {
		uint32_t at = i;

		while (!walk_of[at]) {
			uint32_t parent = out->contexts[at].parent;

			walk_of[at] = i + 1;
			if (parent == READER_NONE)
				break;
			if (walk_of[parent] == i + 1) {
				out->contexts[at].parent = READER_NONE;
				out->contexts[at].orphan = true;
				out->cycles++;
				break;
			}
			at = parent;
		}
	}
	free(walk_of);
	return 0;
}

static int compare_age(const void *left, const void *right, void *data)
{
	const struct reader_context *contexts = data;
	const struct reader_context *a = &contexts[*(const uint32_t *)left];
	const struct reader_context *b = &contexts[*(const uint32_t *)right];

	if (a->record.created_ns != b->record.created_ns)
		return a->record.created_ns < b->record.created_ns ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Links children to parents, and roots to each other, oldest first. */
static void link_children(struct snapshot *out, uint32_t *by_age)
{
	for (uint32_t i = 0; i < out->context_count; i++)
		by_age[i] = i;
	qsort_r(by_age, out->context_count, sizeof(*by_age), compare_age, out->contexts);
	out->first_root = READER_NONE;
	for (uint32_t i = out->context_count; i-- > 0;) {
		struct reader_context *context = &out->contexts[by_age[i]];
		uint32_t *head = context->parent == READER_NONE ? &out->first_root
								: &out->contexts[context->parent].first_child;

		context->next_sibling = *head;
		*head = by_age[i];
	}
}

/* Walks the forest without a stack, and fills in preorder, the depths and the origins. */
static void walk_forest(struct snapshot *out)
{
	uint32_t at = out->first_root;
	uint32_t seen = 0;

	while (at != READER_NONE) {
		struct reader_context *context = &out->contexts[at];
		const struct reader_context *parent =
			context->parent == READER_NONE ? NULL : &out->contexts[context->parent];

		out->preorder[seen++] = at;
		context->depth = parent ? parent->depth + 1 : 0;
		if (context->record.state & CTX_TABLE_LIVE)
			context->origin = READER_NONE;
		else if (context->record.state & CTX_TABLE_OWN)
			context->origin = at;
		else if (parent)
			context->origin = parent->origin;
		if (context->first_child != READER_NONE) {
			at = context->first_child;
			continue;
		}
		while (at != READER_NONE && out->contexts[at].next_sibling == READER_NONE)
			at = out->contexts[at].parent;
		if (at != READER_NONE)
			at = out->contexts[at].next_sibling;
	}
}

/* Links each operation to its context, and removes those whose context is gone. */
static void link_operations(struct reading *reading)
{
	struct snapshot *out = reading->out;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < out->operation_count; i++) {
		struct reader_operation *operation = &out->operations[i];

		operation->context = find_context(reading, operation->record.context_slot,
						  operation->record.context_generation);
		if (operation->context == READER_NONE)
			out->stale++;
		else
			out->operations[kept++] = *operation;
	}
	out->operation_count = kept;
	for (uint32_t i = kept; i-- > 0;) {
		struct reader_operation *operation = &out->operations[i];
		struct reader_context *context = &out->contexts[operation->context];

		operation->next = context->first_operation;
		context->first_operation = i;
		context->operation_count++;
	}
}

/* Counts the operations of each ring. The rings are sorted by slot. */
static void count_ring_operations(struct snapshot *out)
{
	for (uint32_t i = 0; i < out->operation_count; i++) {
		uint32_t slot = out->operations[i].record.ring;
		uint32_t low = 0, high = out->ring_count;

		while (low < high) {
			uint32_t middle = low + (high - low) / 2;

			if (out->rings[middle].slot < slot)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < out->ring_count && out->rings[low].slot == slot)
			out->rings[low].operation_count++;
	}
}

static int read_records(struct reading *reading)
{
	struct snapshot *out = reading->out;
	uint32_t slots = reading->header.contexts.used;
	int result;

	reading->index_of_slot = malloc(((size_t)slots + 1) * sizeof(uint32_t));
	if (!reading->index_of_slot)
		return -ENOMEM;
	memset(reading->index_of_slot, 0xff, ((size_t)slots + 1) * sizeof(uint32_t));
	result = read_operations(reading);
	if (!result)
		result = read_contexts(reading);
	if (!result)
		result = read_causes(reading);
	if (!result)
		result = read_rings(reading);
	if (!result)
		result = counters_read(reading->bytes, &reading->header, &out->counters);
	if (result)
		return result;
	out->preorder = malloc(((size_t)out->context_count + 1) * sizeof(uint32_t));
	if (!out->preorder)
		return -ENOMEM;
	link_parents(reading);
	result = cut_cycles(out);
	if (result)
		return result;
	out->shown_count = out->selected_count = out->context_count;
	link_children(out, out->preorder);
	walk_forest(out);
	link_operations(reading);
	count_ring_operations(out);
	return 0;
}

/* The bytes of all areas in use. check_area() and clip_area() have bounded both factors. */
static uint64_t bytes_in_use(struct ctx_table_header *header)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < AREAS; i++)
		bytes += (uint64_t)area_of(header, i)->used * area_of(header, i)->record_size;
	return bytes;
}

int snapshot_read_header(const void *bytes, size_t size, struct ctx_table_header *ret_header,
			 char reason[READER_REASON_SIZE])
{
	bool clipped;

	return read_header(bytes, size, size, ret_header, &clipped, reason);
}

int snapshot_read(const void *bytes, size_t size, uint64_t read_max, struct snapshot *ret_snapshot,
		  char reason[READER_REASON_SIZE])
{
	struct snapshot out = {.first_root = READER_NONE};
	struct reading reading = {.bytes = bytes, .size = size, .out = &out};
	int result;

	result = read_header(bytes, size, size, &reading.header, &out.clipped, reason);
	if (result)
		return result;
	if (bytes_in_use(&reading.header) > read_max) {
		snprintf(reason, READER_REASON_SIZE,
			 "broken table: it claims more records than it has memory for");
		return -EFBIG;
	}
	out.header = reading.header;
	update_latest(&out, out.header.created_ns);
	result = read_records(&reading);
	free(reading.index_of_slot);
	if (result) {
		snapshot_free(&out);
		snprintf(reason, READER_REASON_SIZE, "not enough memory to read the table");
		return result;
	}
	*ret_snapshot = out;
	return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->contexts);
	free(snapshot->operations);
	free(snapshot->causes);
	free(snapshot->rings);
	free(snapshot->preorder);
	counters_free(&snapshot->counters);
	memset(snapshot, 0, sizeof(*snapshot));
}

int snapshot_ranges(const void *header, size_t size, uint64_t table_size,
		    struct reader_range ret_ranges[READER_RANGES], char reason[READER_REASON_SIZE])
{
	struct ctx_table_header copy;
	bool clipped;
	int result;

	result = read_header(header, size, table_size, &copy, &clipped, reason);
	if (result)
		return result;
	ret_ranges[0] = (struct reader_range){0, HEADER_SIZE_MIN};
	for (unsigned i = 0; i < READER_RANGES - 1; i++) {
		const struct ctx_table_area *area = area_of(&copy, i);

		ret_ranges[i + 1] =
			(struct reader_range){area->offset, (uint64_t)area->used * area->record_size};
	}
	return 0;
}
