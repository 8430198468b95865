/* SPDX-License-Identifier: MIT */
/*
 * Writes the JSON of traces that Perfetto and chrome://tracing read ("Trace Event Format").
 *
 * Spans are complete events ("X"), which have to nest on each track. So every process gets as many tracks as
 * it needs: a span goes on the track of its parent when that span is the innermost one there, and else on one
 * that is empty. Spans are placed in the order of their begin. A track is a thread to the format, with a
 * number that is no thread's. From a batch an arrow ("s", "f") leads to each operation that it ended.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "names.h"
#include "write.h"

enum span_kind {
	SPAN_CONTEXT,
	SPAN_BATCH,
	SPAN_OPERATION,
};

struct span {
	uint64_t begin_ns, end_ns;
	enum span_kind kind;
	uint32_t index;	 /* of the context, batch or operation */
	uint32_t parent; /* the context above; RECORDING_NONE: none */
	uint32_t depth;
	uint32_t track; /* its track */
};

/* A track of a process: a stack of the spans that are open on it. */
struct track {
	uint32_t top; /* index of the innermost open span; RECORDING_NONE: it is empty */
};

struct layout {
	struct span *spans;
	size_t count;
	uint32_t *below;      /* of each span, the one below it on the stack of its track */
	uint32_t *of_context; /* of each context, its span */
	struct track *tracks;
	size_t track_count, track_room;
};

static uint32_t process_of(const struct recording *recording, const struct span *span)
{
	switch (span->kind) {
	case SPAN_CONTEXT:
		return recording->contexts[span->index].process;
	case SPAN_BATCH:
		return recording->batches[span->index].process;
	default:
		return recording->operations[span->index].process;
	}
}

static const struct recording *compared;

/* By process and begin; of several that begin together the outer ones first. */
static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;
	uint32_t process_a = process_of(compared, a), process_b = process_of(compared, b);

	if (process_a != process_b)
		return process_a < process_b ? -1 : 1;
	if (a->begin_ns != b->begin_ns)
		return a->begin_ns < b->begin_ns ? -1 : 1;
	if (a->depth != b->depth)
		return a->depth < b->depth ? -1 : 1;
	if (a->end_ns != b->end_ns)
		return a->end_ns > b->end_ns ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static struct span *collect_spans(const struct recording *recording, size_t *ret_count)
{
	size_t count = 0;
	struct span *spans =
		calloc(recording->context_count + recording->operation_count + recording->batch_count + 1,
		       sizeof(*spans));

	for (size_t i = 0; spans && i < recording->context_count; i++) {
		const struct recorded_context *context = &recording->contexts[i];
		spans[count++] = (struct span){.begin_ns = context->begin_ns,
					       .end_ns = recorded_context_end_ns(recording, context),
					       .kind = SPAN_CONTEXT,
					       .index = (uint32_t)i,
					       .parent = context->parent,
					       .depth = context->depth};
	}
	for (size_t i = 0; spans && i < recording->batch_count; i++) {
		const struct recorded_batch *batch = &recording->batches[i];
		spans[count++] = (struct span){.begin_ns = batch->begin_ns,
					       .end_ns = batch->begin_ns + batch->reap_ns,
					       .kind = SPAN_BATCH,
					       .index = (uint32_t)i,
					       .parent = batch->context,
					       .depth = UINT32_MAX};
	}
	for (size_t i = 0; spans && i < recording->operation_count; i++) {
		const struct recorded_operation *operation = &recording->operations[i];
		spans[count++] = (struct span){.begin_ns = operation->begin_ns,
					       .end_ns = recorded_operation_end_ns(recording, operation),
					       .kind = SPAN_OPERATION,
					       .index = (uint32_t)i,
					       .parent = operation->context,
					       .depth = UINT32_MAX};
	}
	*ret_count = count;
	return spans;
}

/* Ends the spans of a track that are over at that time. */
static void close_spans(struct layout *layout, struct track *track, uint64_t now_ns)
{
	while (track->top != RECORDING_NONE && layout->spans[track->top].end_ns <= now_ns)
		track->top = layout->below[track->top];
}

static void put_on(struct layout *layout, uint32_t span, uint32_t track)
{
	layout->below[span] = layout->tracks[track].top;
	layout->tracks[track].top = span;
	layout->spans[span].track = track;
}

static int compare_begin(const struct layout *layout, uint32_t track, const struct span *span)
{
	return layout->tracks[track].top != RECORDING_NONE &&
	       layout->spans[layout->tracks[track].top].end_ns >= span->end_ns;
}

/*
 * Puts each span on a track. first is the first track of the process; the search for an empty one begins
 * where the last one was found, so that it does not look at all of them each time.
 */
static int place_spans(const struct recording *recording, struct layout *layout)
{
	uint32_t first = 0, process = RECORDING_NONE, hint = 0;

	for (size_t i = 0; i < layout->count; i++) {
		struct span *span = &layout->spans[i];
		uint32_t own = process_of(recording, span);

		if (own != process) {
			process = own;
			first = hint = (uint32_t)layout->track_count;
		}
		if (span->kind == SPAN_CONTEXT)
			layout->of_context[span->index] = (uint32_t)i;
		uint32_t above =
			span->parent == RECORDING_NONE ? RECORDING_NONE : layout->of_context[span->parent];
		if (above != RECORDING_NONE) {
			uint32_t track = layout->spans[above].track;
			close_spans(layout, &layout->tracks[track], span->begin_ns);
			if (layout->tracks[track].top == above && compare_begin(layout, track, span)) {
				put_on(layout, (uint32_t)i, track);
				continue;
			}
		}
		uint32_t count = (uint32_t)layout->track_count - first, found = RECORDING_NONE;
		for (uint32_t step = 0; step < count && step < 512 && found == RECORDING_NONE; step++) {
			uint32_t track = first + (hint - first + step) % count;
			close_spans(layout, &layout->tracks[track], span->begin_ns);
			if (layout->tracks[track].top == RECORDING_NONE)
				found = track;
		}
		if (found == RECORDING_NONE) {
			if (layout->track_count == layout->track_room) {
				size_t room = layout->track_room ? layout->track_room * 2 : 64;
				void *larger = reallocarray(layout->tracks, room, sizeof(*layout->tracks));
				if (!larger)
					return -ENOMEM;
				layout->tracks = larger;
				layout->track_room = room;
			}
			found = (uint32_t)layout->track_count++;
			layout->tracks[found].top = RECORDING_NONE;
		}
		hint = found;
		put_on(layout, (uint32_t)i, found);
	}
	return 0;
}

/* Times are microseconds since the recording began, with three digits after the point. */
static void write_time(FILE *to, const char *name, uint64_t at_ns, uint64_t from_ns)
{
	bool before = at_ns < from_ns;
	uint64_t time_ns = before ? from_ns - at_ns : at_ns - from_ns;

	fprintf(to, ",\"%s\":%s%" PRIu64 ".%03" PRIu64, name, before ? "-" : "", time_ns / 1000,
		time_ns % 1000);
}

static void write_context_args(const struct recording *recording, const struct recorded_context *context,
			       FILE *to)
{
	char id[RECORDED_ID_SIZE], cause[RECORDED_CAUSE_SIZE];

	fprintf(to, "\"id\":\"%s\",\"kind\":\"%s\",\"outcome\":\"%s\"", recorded_id(recording, context, id),
		context_kind_name(context->kind), recorded_outcome_name(context->outcome));
	if (context->parent != RECORDING_NONE)
		fprintf(to, ",\"parent\":\"%s\"",
			recorded_id(recording, &recording->contexts[context->parent], id));
	if (recorded_cause(recording, context, cause)[0]) {
		fputs(",\"cause\":", to);
		write_string(to, cause);
	}
	if (context->done_ns)
		write_time(to, "done_us", context->done_ns, recording->begin_ns);
	if (context->site) {
		fputs(",\"made_at\":", to);
		write_text(to, recording, context->site);
	}
	if (context->done_site) {
		fputs(",\"ended_at\":", to);
		write_text(to, recording, context->done_site);
	}
	fprintf(to, ",\"made_by_thread\":%" PRIu32 ",\"operations\":%" PRIu32, context->creator_tid,
		context->operation_count);
}

static void write_operation_args(const struct recording *recording,
				 const struct recorded_operation *operation, FILE *to)
{
	char name[32], id[RECORDED_ID_SIZE];

	if (operation->context != RECORDING_NONE)
		fprintf(to, "\"context\":\"%s\",",
			recorded_id(recording, &recording->contexts[operation->context], id));
	fprintf(to, "\"%s\":%" PRId32 ",\"ring\":%u",
		operation->flags & CTX_TABLE_OP_FIXED_FILE ? "fixed_file" : "fd", operation->fd,
		operation->ring);
	if (operation->target) {
		fputs(",\"target\":", to);
		write_text(to, recording, operation->target);
	}
	if (!operation->end_ns)
		fputs(",\"in_flight\":true", to);
	else
		fprintf(to, ",\"result\":%" PRId32, operation->result);
	if (operation->end_ns && operation->result < 0)
		fprintf(to, ",\"error\":\"%s\"", errno_text(operation->result, name, sizeof(name)));
	if (recorded_is_cancelled(operation))
		fputs(",\"cancelled\":true", to);
}

static void write_batch_args(const struct recorded_batch *batch, FILE *to)
{
	fprintf(to,
		"\"operations\":%" PRIu32 ",\"cancelled\":%" PRIu32 ",\"finished\":%" PRIu32
		",\"cancel_sqes\":%" PRIu32 ",\"enters\":%" PRIu32 ",\"unsent\":%" PRIu32
		",\"left_to_linked_timeouts\":%" PRIu32 ",\"submit_ns\":%" PRIu64 ",\"reap_ns\":%" PRIu64,
		batch->operations, batch->cancelled, batch->finished, batch->sqes, batch->enters,
		batch->unsent, batch->timed, batch->submit_ns, batch->reap_ns);
}

/* Colours that both viewers know by name, for the outcomes that ask for attention. */
static const char *colour_name(const struct recorded_context *context)
{
	switch (context->outcome) {
	case RECORDED_LIVE:
		return "thread_state_running";
	case RECORDED_FINISHED:
		return "good";
	default:
		return context->cause_kind == 2 ? "bad" : "terrible";
	}
}

static void write_span(const struct recording *recording, const struct span *span, FILE *to)
{
	uint32_t process = process_of(recording, span);
	const struct recorded_context *context = &recording->contexts[span->index];
	const struct recorded_operation *operation = &recording->operations[span->index];
	char id[RECORDED_ID_SIZE], name[32];

	fputs(",\n{\"ph\":\"X\",\"name\":", to);
	switch (span->kind) {
	case SPAN_CONTEXT:
		if (context->label)
			write_text(to, recording, context->label);
		else
			write_string(to, recorded_id(recording, context, id));
		fprintf(to, ",\"cat\":\"context\",\"cname\":\"%s\"", colour_name(context));
		break;
	case SPAN_OPERATION:
		write_string(to, opcode_text(operation->opcode, name, sizeof(name)));
		fputs(",\"cat\":\"operation\"", to);
		break;
	case SPAN_BATCH:
		fprintf(to, "\"batch of %" PRIu32 "\",\"cat\":\"batch\"",
			recording->batches[span->index].operations);
		break;
	}
	fprintf(to, ",\"pid\":%d,\"tid\":%" PRIu32, (int)recording->processes[process].pid, span->track + 1);
	write_time(to, "ts", span->begin_ns, recording->begin_ns);
	write_time(to, "dur", span->end_ns, span->begin_ns);
	fputs(",\"args\":{", to);
	if (span->kind == SPAN_CONTEXT)
		write_context_args(recording, context, to);
	else if (span->kind == SPAN_OPERATION)
		write_operation_args(recording, operation, to);
	else
		write_batch_args(&recording->batches[span->index], to);
	fputs("}}", to);
}

/* An arrow from the batch to an operation that it ended. Both ends lie within their spans. */
static void write_arrow(const struct recording *recording, const struct span *operation,
			const uint32_t *batch_tracks, FILE *to)
{
	uint32_t index = recording->operations[operation->index].batch;
	const struct recorded_batch *batch = &recording->batches[index];
	int pid = (int)recording->processes[batch->process].pid;
	uint64_t at_ns = batch->begin_ns;

	if (at_ns < operation->begin_ns || at_ns >= operation->end_ns)
		at_ns = operation->begin_ns;
	fprintf(to,
		",\n{\"ph\":\"s\",\"name\":\"ends\",\"cat\":\"batch\",\"id\":%" PRIu32
		",\"pid\":%d,\"tid\":%" PRIu32,
		operation->index + 1, pid, batch_tracks[index] + 1);
	write_time(to, "ts", batch->begin_ns < at_ns ? batch->begin_ns : at_ns, recording->begin_ns);
	fprintf(to,
		"},\n{\"ph\":\"f\",\"bp\":\"e\",\"name\":\"ends\",\"cat\":\"batch\",\"id\":%" PRIu32
		",\"pid\":%d,\"tid\":%" PRIu32,
		operation->index + 1, pid, operation->track + 1);
	write_time(to, "ts", at_ns, recording->begin_ns);
	fputs("}", to);
}

static void write_names(const struct recording *recording, const struct layout *layout, FILE *to)
{
	uint32_t process = RECORDING_NONE, last = RECORDING_NONE;

	for (size_t i = 0; i < recording->process_count; i++) {
		fprintf(to,
			",\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"tid\":0,\"args\":{\"name\":",
			(int)recording->processes[i].pid);
		write_text(to, recording, recording->processes[i].name);
		fputs("}}", to);
	}
	/* A track has the name of the first span on it. */
	for (size_t i = 0; i < layout->count; i++) {
		const struct span *span = &layout->spans[i];
		char name[64], id[RECORDED_ID_SIZE], opcode[32];

		process = process_of(recording, span);
		if (last != RECORDING_NONE && span->track <= last)
			continue;
		last = span->track;
		const char *label = "";
		if (span->kind == SPAN_CONTEXT) {
			const struct recorded_context *context = &recording->contexts[span->index];
			label = context->label ? recorded_text(recording, context->label)
					       : recorded_id(recording, context, id);
		} else if (span->kind == SPAN_OPERATION) {
			snprintf(name, sizeof(name), "operations: %s",
				 opcode_text(recording->operations[span->index].opcode, opcode,
					     sizeof(opcode)));
			label = name;
		} else {
			label = "batches";
		}
		fprintf(to,
			",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%" PRIu32
			",\"args\":{\"name\":",
			(int)recording->processes[process].pid, span->track + 1);
		write_string(to, label);
		fprintf(to,
			"}},\n{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%d,\"tid\":%" PRIu32
			",\"args\":{\"sort_index\":%" PRIu32 "}}",
			(int)recording->processes[process].pid, span->track + 1, span->track + 1);
	}
}

static void write_head(const struct recording *recording, FILE *to)
{
	char losses[RECORDED_CAUSE_SIZE];

	fputs("{\"displayTimeUnit\":\"ms\",\"otherData\":{\"made_by\":\"ctxtool record\",\"host\":", to);
	write_text(to, recording, recording->host);
	fputs(",\"command\":", to);
	write_text(to, recording, recording->command);
	fprintf(to, ",\"begin_realtime_ns\":\"%" PRIu64 "\",\"lost\":",
		recording->begin_ns + recording->wall_offset_ns);
	write_string(to, recorded_losses(recording, losses));
	fputs(",\"notes\":[", to);
	for (size_t i = 0; i < recording->note_count; i++) {
		fputs(i ? "," : "", to);
		write_text(to, recording, recording->notes[i]);
	}
	/* The first event is there so that each of the others begins with a comma. */
	fputs("]},\n\"traceEvents\":[\n{\"ph\":\"i\",\"s\":\"g\",\"name\":\"the recording "
	      "begins\",\"cat\":\"recording\",\"pid\":0,\"tid\":0,\"ts\":0}",
	      to);
}

int write_trace(const struct recording *recording, FILE *to)
{
	struct layout layout = {0};
	uint32_t *batch_tracks = calloc(recording->batch_count + 1, sizeof(*batch_tracks));
	int result = -ENOMEM;

	layout.spans = collect_spans(recording, &layout.count);
	layout.below = calloc(layout.count + 1, sizeof(*layout.below));
	layout.of_context = malloc((recording->context_count + 1) * sizeof(*layout.of_context));
	if (!layout.spans || !layout.below || !layout.of_context || !batch_tracks)
		goto free_all;
	for (size_t i = 0; i < recording->context_count; i++)
		layout.of_context[i] = RECORDING_NONE;
	compared = recording;
	qsort(layout.spans, layout.count, sizeof(*layout.spans), compare_spans);
	result = place_spans(recording, &layout);
	if (result)
		goto free_all;
	for (size_t i = 0; i < layout.count; i++)
		if (layout.spans[i].kind == SPAN_BATCH)
			batch_tracks[layout.spans[i].index] = layout.spans[i].track;
	write_head(recording, to);
	write_names(recording, &layout, to);
	for (size_t i = 0; i < layout.count; i++) {
		const struct span *span = &layout.spans[i];

		write_span(recording, span, to);
		if (span->kind == SPAN_OPERATION &&
		    recording->operations[span->index].batch != RECORDING_NONE)
			write_arrow(recording, span, batch_tracks, to);
	}
	fputs("\n]}\n", to);

free_all:
	free(layout.spans);
	free(layout.below);
	free(layout.of_context);
	free(layout.tracks);
	free(batch_tracks);
	return result;
}
