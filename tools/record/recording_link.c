/* SPDX-License-Identifier: MIT */
/* Links what a recording has: contexts to their parents, operations and batches to their contexts. */
#include "recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"

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
