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
