/* SPDX-License-Identifier: MIT */
#include "recording.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "identity.h"
#include "names.h"
#include "terminal.h"

/*
 * So many ends are kept for each context or operation that may be, of which some end long before they are
 * freed: a limit for memory only.
 */
#define ENDS_PER_SPAN 4u

/* Enlarges an array so that one more entry fits. */
static int grow_array(void *array, size_t *room, size_t count, size_t entry_size)
{
	void **memory = array;

	if (count < *room)
		return 0;
	size_t larger_room = *room ? *room * 2 : 64;
	void *larger = reallocarray(*memory, larger_room, entry_size);
	if (!larger)
		return -ENOMEM;
	*memory = larger;
	*room = larger_room;
	return 0;
}

/* ---- texts */

static uint32_t hash_text(const char *text)
{
	uint32_t hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash;
}

static uint32_t *find_place(const struct texts *texts, const char *text)
{
	size_t at = hash_text(text) & (texts->place_room - 1);

	while (texts->places[at] && strcmp(texts->bytes + texts->places[at], text) != 0)
		at = (at + 1) & (texts->place_room - 1);
	return &texts->places[at];
}

/* Keeps the hash table at most half full. */
static int grow_places(struct texts *texts)
{
	struct texts larger = *texts;

	if (texts->count * 2 < texts->place_room)
		return 0;
	larger.place_room = texts->place_room ? texts->place_room * 2 : 256;
	larger.places = calloc(larger.place_room, sizeof(*larger.places));
	if (!larger.places)
		return -ENOMEM;
	for (size_t i = 0; i < texts->place_room; i++)
		if (texts->places[i])
			*find_place(&larger, texts->bytes + texts->places[i]) = texts->places[i];
	free(texts->places);
	*texts = larger;
	return 0;
}

uint32_t recording_escaped(struct recording *recording, const char *escaped_text)
{
	struct texts *texts = &recording->texts;
	size_t size = strlen(escaped_text) + 1;

	if (!*escaped_text)
		return 0;
	if (grow_places(texts))
		return RECORDING_NONE;
	uint32_t *place = find_place(texts, escaped_text);
	if (*place)
		return *place;
	while (texts->room - texts->size < size) {
		char *larger = texts->room < UINT32_MAX / 4 ? realloc(texts->bytes, texts->room * 2) : NULL;
		if (!larger)
			return RECORDING_NONE;
		texts->bytes = larger;
		texts->room *= 2;
	}
	memcpy(texts->bytes + texts->size, escaped_text, size);
	*place = (uint32_t)texts->size;
	texts->size += size;
	texts->count++;
	return *place;
}

uint32_t recording_text(struct recording *recording, const char *text)
{
	char escaped[ESCAPED_SIZE];

	return recording_escaped(recording, escape(text, escaped, sizeof(escaped)));
}

const char *recorded_text(const struct recording *recording, uint32_t text)
{
	return text < recording->texts.size ? recording->texts.bytes + text : "";
}

/* ---- filling */

int recording_begin(struct recording *ret_recording, uint64_t begin_ns, size_t spans_max)
{
	*ret_recording = (struct recording){
		.begin_ns = begin_ns, .spans_max = spans_max, .first_root = RECORDING_NONE};
	ret_recording->texts.room = 4096;
	ret_recording->texts.bytes = calloc(1, ret_recording->texts.room);
	ret_recording->texts.size = 1;
	return ret_recording->texts.bytes ? 0 : -ENOMEM;
}

void recording_free(struct recording *recording)
{
	free(recording->processes);
	free(recording->contexts);
	free(recording->operations);
	free(recording->batches);
	free(recording->ends);
	free(recording->texts.bytes);
	free(recording->texts.places);
	free(recording->notes);
	free(recording->preorder);
	*recording = (struct recording){0};
}

struct recorded_process *recording_add_process(struct recording *recording)
{
	if (grow_array(&recording->processes, &recording->process_room, recording->process_count,
		       sizeof(*recording->processes)))
		return NULL;
	struct recorded_process *process = &recording->processes[recording->process_count++];
	*process = (struct recorded_process){0};
	return process;
}

struct recorded_batch *recording_add_batch(struct recording *recording)
{
	if (grow_array(&recording->batches, &recording->batch_room, recording->batch_count,
		       sizeof(*recording->batches)))
		return NULL;
	struct recorded_batch *batch = &recording->batches[recording->batch_count++];
	*batch = (struct recorded_batch){0};
	return batch;
}

/* Whether one more span may be kept; counts it as not kept otherwise. */
static bool has_room(struct recording *recording, uint64_t end_ns)
{
	if (recording->context_count + recording->operation_count < recording->spans_max)
		return true;
	if (!recording->full_ns || (end_ns && end_ns < recording->full_ns))
		recording->full_ns = end_ns ? end_ns : recording->begin_ns;
	recording->not_kept++;
	return false;
}

int recording_add_context(struct recording *recording, const struct recorded_context *context)
{
	if (!has_room(recording, context->freed_ns))
		return 0;
	if (grow_array(&recording->contexts, &recording->context_room, recording->context_count,
		       sizeof(*recording->contexts)))
		return -ENOMEM;
	recording->contexts[recording->context_count++] = *context;
	return 0;
}

int recording_add_operation(struct recording *recording, const struct recorded_operation *operation)
{
	if (!has_room(recording, operation->end_ns))
		return 0;
	if (grow_array(&recording->operations, &recording->operation_room, recording->operation_count,
		       sizeof(*recording->operations)))
		return -ENOMEM;
	recording->operations[recording->operation_count++] = *operation;
	return 0;
}

int recording_add_end(struct recording *recording, const struct recorded_end *end)
{
	/* It adds to a context that is kept, and has no span of its own. */
	if (recording->end_count / ENDS_PER_SPAN >= recording->spans_max)
		return 0;
	if (grow_array(&recording->ends, &recording->end_room, recording->end_count,
		       sizeof(*recording->ends)))
		return -ENOMEM;
	recording->ends[recording->end_count++] = *end;
	return 0;
}

int recording_add_note(struct recording *recording, const char *note)
{
	uint32_t text = recording_text(recording, note);

	if (text == RECORDING_NONE || grow_array(&recording->notes, &recording->note_room,
						 recording->note_count, sizeof(*recording->notes)))
		return -ENOMEM;
	recording->notes[recording->note_count++] = text;
	return 0;
}

/* ---- linking */

/* What names a context in a recording. */
static int compare_keys(uint32_t process_a, uint32_t slot_a, uint32_t generation_a, uint32_t process_b,
			uint32_t slot_b, uint32_t generation_b)
{
	if (process_a != process_b)
		return process_a < process_b ? -1 : 1;
	if (slot_a != slot_b)
		return slot_a < slot_b ? -1 : 1;
	if (generation_a != generation_b)
		return generation_a < generation_b ? -1 : 1;
	return 0;
}

/* By key; of several the one that was freed comes first. */
static int compare_contexts(const void *left, const void *right)
{
	const struct recorded_context *a = left, *b = right;
	int order = compare_keys(a->process, a->slot, a->generation, b->process, b->slot, b->generation);

	if (order)
		return order;
	return !a->freed_ns - !b->freed_ns;
}

static uint32_t find_context(const struct recording *recording, uint32_t process, uint32_t slot,
			     uint32_t generation)
{
	size_t low = 0, high = recording->context_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct recorded_context *at = &recording->contexts[middle];
		int order = compare_keys(at->process, at->slot, at->generation, process, slot, generation);

		if (!order)
			return (uint32_t)middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return RECORDING_NONE;
}

/* Sorts contexts by key, and removes those that are there twice or were gone before the recording began. */
static void sort_contexts(struct recording *recording)
{
	size_t kept = 0;

	if (recording->context_count)
		qsort(recording->contexts, recording->context_count, sizeof(*recording->contexts),
		      compare_contexts);
	for (size_t i = 0; i < recording->context_count; i++) {
		const struct recorded_context *context = &recording->contexts[i];
		const struct recorded_context *last = kept ? &recording->contexts[kept - 1] : NULL;

		if (last && !compare_keys(last->process, last->slot, last->generation, context->process,
					  context->slot, context->generation))
			continue;
		if (context->freed_ns && context->freed_ns < recording->begin_ns)
			continue;
		recording->contexts[kept++] = *context;
	}
	recording->context_count = kept;
}

static void apply_ends(struct recording *recording)
{
	for (size_t i = 0; i < recording->end_count; i++) {
		const struct recorded_end *end = &recording->ends[i];
		uint32_t at = find_context(recording, end->process, end->slot, end->generation);

		if (at == RECORDING_NONE)
			continue;
		recording->contexts[at].error = end->error;
		recording->contexts[at].cause_pid = end->cause_pid;
		if (end->cause_text)
			recording->contexts[at].cause_text = end->cause_text;
	}
}

/* Compares by time of begin, for lists of children. */
static const struct recording *sorted_recording;

static int compare_begins(const void *left, const void *right)
{
	const struct recorded_context *a = &sorted_recording->contexts[*(const uint32_t *)left];
	const struct recorded_context *b = &sorted_recording->contexts[*(const uint32_t *)right];

	if (a->process != b->process)
		return a->process < b->process ? -1 : 1;
	if (a->begin_ns != b->begin_ns)
		return a->begin_ns < b->begin_ns ? -1 : 1;
	return a < b ? -1 : a > b;
}

/*
 * Whether the way upwards from the context, over those that began as late as it, leads to the other one. Of
 * the links that are followed none leads round in a circle, since each was looked at by this function before
 * it was set.
 */
static bool leads_to(const struct recording *recording, uint32_t context, uint32_t wanted)
{
	uint64_t begin_ns = recording->contexts[context].begin_ns;

	while (context != RECORDING_NONE && recording->contexts[context].begin_ns == begin_ns) {
		if (context == wanted)
			return true;
		context = recording->contexts[context].parent;
	}
	return false;
}

/*
 * Links contexts to their parents. In an honest table a parent was made before its child; a link to one that
 * is younger is cut, so that links form a forest.
 */
static int link_contexts(struct recording *recording)
{
	size_t count = recording->context_count;
	uint32_t *order = malloc((count + 1) * sizeof(*order));

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct recorded_context *context = &recording->contexts[i];

		order[i] = (uint32_t)i;
		context->parent = context->first_child = context->next_sibling = RECORDING_NONE;
		context->origin = RECORDING_NONE;
		context->operation_count = context->batch_count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		struct recorded_context *context = &recording->contexts[i];

		if (!context->parent_slot)
			continue;
		uint32_t parent = find_context(recording, context->process, context->parent_slot,
					       context->parent_generation);
		if (parent == RECORDING_NONE)
			continue;
		const struct recorded_context *above = &recording->contexts[parent];
		/* Times are coarse: of two of the same time either may be the parent. */
		if (above->begin_ns < context->begin_ns ||
		    (above->begin_ns == context->begin_ns && !leads_to(recording, parent, (uint32_t)i)))
			context->parent = parent;
	}
	sorted_recording = recording;
	if (count)
		qsort(order, count, sizeof(*order), compare_begins);
	/* From the youngest to the oldest, each put in front of its siblings. */
	recording->first_root = RECORDING_NONE;
	for (size_t i = count; i-- > 0;) {
		struct recorded_context *context = &recording->contexts[order[i]];
		uint32_t *first = context->parent == RECORDING_NONE
					  ? &recording->first_root
					  : &recording->contexts[context->parent].first_child;

		context->next_sibling = *first;
		*first = order[i];
	}
	free(order);
	return 0;
}

static int order_contexts(struct recording *recording)
{
	uint32_t at = recording->first_root, depth = 0;
	size_t count = 0;

	recording->preorder = malloc((recording->context_count + 1) * sizeof(*recording->preorder));
	if (!recording->preorder)
		return -ENOMEM;
	while (at != RECORDING_NONE) {
		struct recorded_context *context = &recording->contexts[at];

		context->depth = depth;
		recording->preorder[count++] = at;
		if (context->first_child != RECORDING_NONE) {
			at = context->first_child;
			depth++;
			continue;
		}
		while (at != RECORDING_NONE && recording->contexts[at].next_sibling == RECORDING_NONE) {
			at = recording->contexts[at].parent;
			depth -= at != RECORDING_NONE;
		}
		if (at != RECORDING_NONE)
			at = recording->contexts[at].next_sibling;
	}
	return 0;
}

/* ---- operations and batches */

static int compare_operations(const void *left, const void *right)
{
	const struct recorded_operation *a = left, *b = right;

	if (a->context != b->context)
		return a->context < b->context ? -1 : 1;
	if (a->begin_ns != b->begin_ns)
		return a->begin_ns < b->begin_ns ? -1 : 1;
	if (a->fd != b->fd)
		return a->fd < b->fd ? -1 : 1;
	if (a->opcode != b->opcode)
		return a->opcode < b->opcode ? -1 : 1;
	return a->end_ns < b->end_ns ? -1 : a->end_ns > b->end_ns;
}

/*
 * Whether an operation that was seen in flight at the end is there once more, because it ended after that.
 * The list is sorted, and those in flight come before others that are like them.
 */
static bool has_ended(const struct recording *recording, size_t index, size_t count)
{
	const struct recorded_operation *open = &recording->operations[index];
	uint64_t snapshot_ns = recording->processes[open->process].snapshot_ns;

	for (size_t i = index + 1; i < count; i++) {
		const struct recorded_operation *at = &recording->operations[i];

		if (at->context != open->context || at->begin_ns != open->begin_ns || at->fd != open->fd ||
		    at->opcode != open->opcode)
			return false;
		if (at->ring == open->ring && at->end_ns && at->end_ns >= snapshot_ns)
			return true;
	}
	return false;
}

static int compare_batches(const void *left, const void *right)
{
	const struct recorded_batch *a = left, *b = right;

	if (a->context != b->context)
		return a->context < b->context ? -1 : 1;
	return a->begin_ns < b->begin_ns ? -1 : a->begin_ns > b->begin_ns;
}

static void link_operations(struct recording *recording)
{
	size_t kept = 0;

	for (size_t i = 0; i < recording->operation_count; i++) {
		struct recorded_operation operation = recording->operations[i];

		if (operation.end_ns && operation.end_ns < recording->begin_ns)
			continue;
		operation.batch = RECORDING_NONE;
		operation.context = find_context(recording, operation.process, operation.context_slot,
						 operation.context_generation);
		recording->operations[kept++] = operation;
	}
	if (kept)
		qsort(recording->operations, kept, sizeof(*recording->operations), compare_operations);
	size_t count = kept;
	kept = 0;
	for (size_t i = 0; i < count; i++)
		if (recording->operations[i].end_ns || !has_ended(recording, i, count))
			recording->operations[kept++] = recording->operations[i];
	recording->operation_count = kept;
	for (size_t i = 0; i < kept; i++) {
		uint32_t at = recording->operations[i].context;
		if (at == RECORDING_NONE)
			break;
		struct recorded_context *context = &recording->contexts[at];
		if (!context->operation_count++)
			context->first_operation = (uint32_t)i;
	}
}

bool recorded_is_cancelled(const struct recorded_operation *operation)
{
	return operation->end_ns && (operation->batch != RECORDING_NONE || operation->result == -ECANCELED ||
				     operation->flags & CTX_TABLE_OP_CANCELLING);
}

static void link_batches(struct recording *recording)
{
	size_t kept = 0;

	for (size_t i = 0; i < recording->batch_count; i++) {
		struct recorded_batch batch = recording->batches[i];

		if (batch.begin_ns + batch.reap_ns < recording->begin_ns)
			continue;
		batch.context =
			find_context(recording, batch.process, batch.context_slot, batch.context_generation);
		recording->batches[kept++] = batch;
	}
	recording->batch_count = kept;
	if (kept)
		qsort(recording->batches, kept, sizeof(*recording->batches), compare_batches);
	for (size_t i = 0; i < kept; i++) {
		uint32_t at = recording->batches[i].context;
		if (at == RECORDING_NONE)
			break;
		struct recorded_context *context = &recording->contexts[at];
		if (!context->batch_count++)
			context->first_batch = (uint32_t)i;
	}
}

/* Times of completions may be those of a coarse clock, which is late by as much as this. */
#define COARSE_NS 10000000u

/* Whether the operation ended while the batch ran; also a little outside of that if it was cancelled. */
static bool is_of_batch(const struct recorded_operation *operation, const struct recorded_batch *batch)
{
	uint64_t slack_ns = recorded_is_cancelled(operation) ? COARSE_NS : 0;

	return operation->ring == batch->ring && operation->process == batch->process &&
	       operation->begin_ns <= batch->begin_ns + slack_ns &&
	       operation->end_ns + slack_ns >= batch->begin_ns &&
	       operation->end_ns <= batch->begin_ns + batch->reap_ns + slack_ns;
}

/* Compares batches by process, ring and time. */
static int compare_ring_batches(const void *left, const void *right)
{
	const struct recorded_batch *a = &sorted_recording->batches[*(const uint32_t *)left];
	const struct recorded_batch *b = &sorted_recording->batches[*(const uint32_t *)right];

	if (a->process != b->process)
		return a->process < b->process ? -1 : 1;
	if (a->ring != b->ring)
		return a->ring < b->ring ? -1 : 1;
	return a->begin_ns < b->begin_ns ? -1 : a->begin_ns > b->begin_ns;
}

/* The last batch of the operation's ring that began before it ended, or shortly after; or none. */
static uint32_t find_ring_batch(const struct recording *recording, const uint32_t *by_ring,
				const struct recorded_operation *operation)
{
	size_t low = 0, high = recording->batch_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct recorded_batch *at = &recording->batches[by_ring[middle]];
		bool before = at->process != operation->process ? at->process < operation->process
			      : at->ring != operation->ring	? at->ring < operation->ring
							    : at->begin_ns <= operation->end_ns + COARSE_NS;

		if (before)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? by_ring[low - 1] : RECORDING_NONE;
}

/* The batch of the operation's context, or of one above it, that ended it; or none. */
static uint32_t find_own_batch(const struct recording *recording, const struct recorded_operation *operation)
{
	uint32_t at = operation->context;

	while (at != RECORDING_NONE) {
		const struct recorded_context *context = &recording->contexts[at];
		for (uint32_t i = 0; i < context->batch_count; i++)
			if (is_of_batch(operation, &recording->batches[context->first_batch + i]))
				return context->first_batch + i;
		at = context->parent;
	}
	return RECORDING_NONE;
}

/*
 * Finds the batch that ended each operation: that of a context of its own branch; or, since a batch names
 * only the first of several contexts that ended together, one of its ring at that time.
 */
static int find_batches(struct recording *recording)
{
	uint32_t *by_ring = malloc((recording->batch_count + 1) * sizeof(*by_ring));

	if (!by_ring)
		return -ENOMEM;
	for (size_t i = 0; i < recording->batch_count; i++)
		by_ring[i] = (uint32_t)i;
	sorted_recording = recording;
	if (recording->batch_count)
		qsort(by_ring, recording->batch_count, sizeof(*by_ring), compare_ring_batches);
	for (size_t i = 0; i < recording->operation_count; i++) {
		struct recorded_operation *operation = &recording->operations[i];

		if (!operation->end_ns)
			continue;
		uint32_t batch = find_own_batch(recording, operation);
		if (batch == RECORDING_NONE && recorded_is_cancelled(operation)) {
			batch = find_ring_batch(recording, by_ring, operation);
			if (batch != RECORDING_NONE && !is_of_batch(operation, &recording->batches[batch]))
				batch = RECORDING_NONE;
		}
		operation->batch = batch;
	}
	free(by_ring);
	return 0;
}

/* ---- outcomes */

static bool is_done(const struct recorded_context *context)
{
	return !(context->state & CTX_TABLE_LIVE) && context->state & CTX_TABLE_ERRNO;
}

/* Whether somebody noticed the end: something was cancelled by it, or it has a reason. */
static bool has_cancelled(const struct recording *recording, const struct recorded_context *context)
{
	if (context->batch_count || context->cause_text || context->cause_pid)
		return true;
	for (uint32_t i = 0; i < context->operation_count; i++) {
		const struct recorded_operation *operation =
			&recording->operations[context->first_operation + i];
		if (recorded_is_cancelled(operation) || !operation->end_ns)
			return true;
	}
	return false;
}

/*
 * A call with ECANCELED and nothing that it cancelled is how a program says that it has finished with a
 * context, ctx_finish(3). So contexts first count as finished; what ended with them, or was cancelled, turns
 * that into an outcome of their cause.
 */
static void find_outcomes(struct recording *recording)
{
	for (size_t i = 0; i < recording->context_count; i++) {
		uint32_t index = recording->preorder[i];
		struct recorded_context *context = &recording->contexts[index];
		struct recorded_context *parent =
			context->parent == RECORDING_NONE ? NULL : &recording->contexts[context->parent];

		if (!is_done(context)) {
			context->outcome = context->freed_ns ? RECORDED_FINISHED : RECORDED_LIVE;
			continue;
		}
		if (context->state & CTX_TABLE_OWN)
			context->origin = index;
		else if (parent)
			context->origin = parent->origin;
		struct recorded_context *origin =
			context->origin == RECORDING_NONE ? NULL : &recording->contexts[context->origin];
		if (!origin) {
			context->outcome = RECORDED_CAUSE + (context->cause_kind % CTX_TABLE_CAUSES);
			continue;
		}
		if (!context->done_ns)
			context->done_ns = origin->done_ns;
		/* The clock of the table is coarse. */
		if (context->done_ns < context->begin_ns)
			context->done_ns = context->begin_ns;
		if (context->freed_ns && context->done_ns > context->freed_ns)
			context->done_ns = context->freed_ns;
		context->outcome = RECORDED_FINISHED;
		bool reason = origin->cause_kind != CTX_CAUSE_CALL ||
			      (origin->state & CTX_TABLE_ERRNO) != ECANCELED;
		if (reason || has_cancelled(recording, context))
			origin->outcome = RECORDED_CAUSE + (origin->cause_kind % CTX_TABLE_CAUSES);
	}
	/* What ended with a context has its outcome. */
	for (size_t i = 0; i < recording->context_count; i++) {
		struct recorded_context *context = &recording->contexts[i];
		if (context->origin != RECORDING_NONE)
			context->outcome = recording->contexts[context->origin].outcome;
	}
}

/* Finds what belongs to what, of contexts that are sorted. */
static int link_recording(struct recording *recording)
{
	free(recording->preorder);
	recording->preorder = NULL;
	int result = link_contexts(recording);
	if (!result)
		result = order_contexts(recording);
	if (result)
		return result;
	link_operations(recording);
	link_batches(recording);
	return find_batches(recording);
}

int recording_finish(struct recording *recording, uint64_t end_ns)
{
	recording->end_ns = end_ns;
	for (size_t i = 0; i < recording->process_count; i++)
		if (!recording->processes[i].end_ns)
			recording->processes[i].end_ns = end_ns;
	sort_contexts(recording);
	apply_ends(recording);
	int result = link_recording(recording);
	if (!result)
		find_outcomes(recording);
	return result;
}

/* ---- a part of a recording */

/* Marks the contexts that are wanted, those above them, and all below. Parents come before their children. */
static void mark_wanted(const struct recording *recording, recording_wants_fn wants, void *data, bool *marks)
{
	for (size_t i = 0; i < recording->context_count; i++) {
		uint32_t index = recording->preorder[i];
		uint32_t parent = recording->contexts[index].parent;

		marks[index] = (parent != RECORDING_NONE && marks[parent]) ||
			       wants(recording, &recording->contexts[index], data);
	}
	for (size_t i = recording->context_count; i-- > 0;) {
		uint32_t index = recording->preorder[i];
		uint32_t parent = recording->contexts[index].parent;

		if (marks[index] && parent != RECORDING_NONE)
			marks[parent] = true;
	}
}

/* Where the end of a context began. That one stays when the context does, for it is above it. */
struct kept_origin {
	uint32_t process, slot, generation;
	uint8_t outcome;
};

/* Removes what is not marked. origins gets those of the contexts that stay. */
static void remove_unmarked(struct recording *recording, const bool *marks, struct kept_origin *origins)
{
	size_t kept = 0;

	for (size_t i = 0; i < recording->operation_count; i++) {
		uint32_t context = recording->operations[i].context;
		if (context != RECORDING_NONE && marks[context])
			recording->operations[kept++] = recording->operations[i];
	}
	recording->operation_count = kept;
	kept = 0;
	for (size_t i = 0; i < recording->batch_count; i++) {
		uint32_t context = recording->batches[i].context;
		if (context != RECORDING_NONE && marks[context])
			recording->batches[kept++] = recording->batches[i];
	}
	recording->batch_count = kept;
	kept = 0;
	for (size_t i = 0; i < recording->context_count; i++) {
		const struct recorded_context *context = &recording->contexts[i];

		if (!marks[i])
			continue;
		origins[kept] = (struct kept_origin){.outcome = context->outcome};
		if (context->origin != RECORDING_NONE) {
			origins[kept].process = context->process;
			origins[kept].slot = context->origin_slot;
			origins[kept].generation = context->origin_generation;
		}
		recording->contexts[kept++] = *context;
	}
	recording->context_count = kept;
}

int recording_keep(struct recording *recording, recording_wants_fn wants, void *data)
{
	size_t count = recording->context_count;
	bool *marks = calloc(count + 1, sizeof(*marks));
	struct kept_origin *origins = calloc(count + 1, sizeof(*origins));
	int result = marks && origins ? 0 : -ENOMEM;

	if (!result) {
		for (size_t i = 0; i < count; i++) {
			struct recorded_context *context = &recording->contexts[i];
			if (context->origin == RECORDING_NONE)
				continue;
			context->origin_slot = recording->contexts[context->origin].slot;
			context->origin_generation = recording->contexts[context->origin].generation;
		}
		mark_wanted(recording, wants, data, marks);
		remove_unmarked(recording, marks, origins);
		result = link_recording(recording);
	}
	for (size_t i = 0; !result && i < recording->context_count; i++) {
		struct recorded_context *context = &recording->contexts[i];
		context->outcome = origins[i].outcome;
		if (origins[i].slot)
			context->origin = find_context(recording, origins[i].process, origins[i].slot,
						       origins[i].generation);
	}
	free(marks);
	free(origins);
	return result;
}

/* ---- for the writers */

uint64_t recorded_context_end_ns(const struct recording *recording, const struct recorded_context *context)
{
	uint64_t end_ns =
		context->freed_ns ? context->freed_ns : recording->processes[context->process].end_ns;

	return end_ns > context->begin_ns ? end_ns : context->begin_ns;
}

uint64_t recorded_operation_end_ns(const struct recording *recording,
				   const struct recorded_operation *operation)
{
	uint64_t end_ns =
		operation->end_ns ? operation->end_ns : recording->processes[operation->process].end_ns;

	return end_ns > operation->begin_ns ? end_ns : operation->begin_ns;
}

const char *recorded_outcome_name(unsigned outcome)
{
	return outcome == RECORDED_LIVE	      ? "live"
	       : outcome == RECORDED_FINISHED ? "finished"
					      : ctx_cause_kind_name(outcome - RECORDED_CAUSE);
}

char *recorded_id(const struct recording *recording, const struct recorded_context *context,
		  char buffer[RECORDED_ID_SIZE])
{
	snprintf(buffer, RECORDED_ID_SIZE, "%d:%" PRIu32 ".%" PRIu32,
		 (int)recording->processes[context->process].pid, context->slot, context->generation);
	return buffer;
}

char *recorded_cause(const struct recording *recording, const struct recorded_context *context,
		     char buffer[RECORDED_CAUSE_SIZE])
{
	char name[32], from[RECORDED_ID_SIZE + 8] = "", code[16] = "", by[32] = "", id[RECORDED_ID_SIZE];

	buffer[0] = '\0';
	if (context->outcome == RECORDED_LIVE || context->outcome == RECORDED_FINISHED)
		return buffer;
	const struct recorded_context *origin =
		context->origin == RECORDING_NONE ? context : &recording->contexts[context->origin];
	int error = origin->error ? origin->error : (int)(origin->state & CTX_TABLE_ERRNO);
	const char *text = recorded_text(recording, origin->cause_text);
	if (origin != context)
		snprintf(from, sizeof(from), " from %s", recorded_id(recording, origin, id));
	if (origin->cause_kind == CTX_CAUSE_SIGNAL)
		snprintf(code, sizeof(code), " %" PRId32, origin->cause_code);
	if (origin->cause_pid)
		snprintf(by, sizeof(by), " by process %d", (int)origin->cause_pid);
	snprintf(buffer, RECORDED_CAUSE_SIZE, "%s%s %s%s%s%s%s%s", ctx_cause_kind_name(origin->cause_kind),
		 code, errno_text(error, name, sizeof(name)), text[0] ? " \"" : "", text, text[0] ? "\"" : "",
		 by, from);
	return buffer;
}

char *recorded_losses(const struct recording *recording, char buffer[RECORDED_CAUSE_SIZE])
{
	uint64_t contexts = 0, operations = 0, ends = 0;
	size_t length = 0;

	for (size_t i = 0; i < recording->process_count; i++) {
		contexts += recording->processes[i].lost_contexts;
		operations += recording->processes[i].lost_operations;
		ends += recording->processes[i].lost_ends;
	}
	buffer[0] = '\0';
	if (contexts || operations || ends)
		length = (size_t)snprintf(buffer, RECORDED_CAUSE_SIZE,
					  "%" PRIu64 " contexts, %" PRIu64 " operations and %" PRIu64
					  " ends were overwritten before they could be read",
					  contexts, operations, ends);
	if (recording->not_kept)
		snprintf(buffer + length, RECORDED_CAUSE_SIZE - length,
			 "%s%" PRIu64 " spans beyond the first %zu were not kept", length ? "; " : "",
			 recording->not_kept, recording->spans_max);
	return buffer;
}

static uint64_t context_number(const struct recorded_context *context)
{
	return (uint64_t)context->generation << 32 | context->slot;
}

/* The number of the process; of one that has given no identity to anybody, one that is computed. */
static uint64_t identity_number(const struct recording *recording, uint32_t process_index)
{
	const struct recorded_process *process = &recording->processes[process_index];

	if (process->identity_number)
		return process->identity_number;
	return identity_mix(identity_mix((uint64_t)process->pid) ^
			    (recording->begin_ns + recording->wall_offset_ns));
}

void recorded_span(const struct recording *recording, const struct recorded_context *context,
		   uint8_t ret_span[8])
{
	identity_span(identity_number(recording, context->process), context_number(context), ret_span);
}

void recorded_trace(const struct recording *recording, const struct recorded_context *context,
		    uint8_t ret_trace[16])
{
	static const uint8_t none[16];

	for (;;) {
		if (memcmp(context->trace, none, sizeof(none)) != 0) {
			memcpy(ret_trace, context->trace, sizeof(context->trace));
			return;
		}
		if (context->parent == RECORDING_NONE)
			break;
		context = &recording->contexts[context->parent];
	}
	identity_trace(identity_number(recording, context->process), context_number(context), ret_trace);
}
