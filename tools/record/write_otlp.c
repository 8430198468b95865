/* SPDX-License-Identifier: MIT */
/*
 * Writes the spans as an ExportTraceServiceRequest of OTLP in its JSON form: ids are hexadecimal, integers of
 * 64 bits are strings, enumerations are numbers.
 *
 * Trace and span of a context are those by which ctx_inject(3) names it to other processes, so that the spans
 * of a receiver find their parent here. Everything below an extracted context has the trace that was
 * received. A tree without an extracted context is one trace, that of its root. If a context of such a tree
 * was injected, it began a trace of its own there: its span has a link to that.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "identity.h"
#include "names.h"
#include "write.h"

#define STATUS_ERROR 2
#define KIND_INTERNAL 1
#define KIND_CLIENT 3

static void write_hex(FILE *to, const uint8_t *bytes, size_t count)
{
	putc('"', to);
	for (size_t i = 0; i < count; i++)
		fprintf(to, "%02x", bytes[i]);
	putc('"', to);
}

static void write_wall_time(const struct recording *recording, const char *name, uint64_t time_ns, FILE *to)
{
	fprintf(to, ",\"%s\":\"%" PRIu64 "\"", name, time_ns + recording->wall_offset_ns);
}

/* A list of attributes; each is preceded by a comma but the first. */
struct attributes {
	FILE *to;
	bool any;
};

static void begin_attribute(struct attributes *list, const char *key)
{
	fprintf(list->to, "%s{\"key\":\"%s\",\"value\":{", list->any ? "," : "", key);
	list->any = true;
}

static void add_string(struct attributes *list, const char *key, const char *escaped_text)
{
	if (!escaped_text[0])
		return;
	begin_attribute(list, key);
	fputs("\"stringValue\":", list->to);
	write_string(list->to, escaped_text);
	fputs("}}", list->to);
}

static void add_number(struct attributes *list, const char *key, int64_t number)
{
	begin_attribute(list, key);
	fprintf(list->to, "\"intValue\":\"%" PRId64 "\"}}", number);
}

static void add_true(struct attributes *list, const char *key)
{
	begin_attribute(list, key);
	fputs("\"boolValue\":true}}", list->to);
}

static void write_resource(const struct recording *recording, const struct recorded_process *process,
			   FILE *to)
{
	struct attributes list = {.to = to};

	fputs("{\"resource\":{\"attributes\":[", to);
	add_string(&list, "service.name", recorded_text(recording, process->name));
	add_number(&list, "process.pid", process->pid);
	add_string(&list, "process.executable.name", recorded_text(recording, process->name));
	add_string(&list, "host.name", recorded_text(recording, recording->host));
	add_string(&list, "telemetry.sdk.name", "ctxring");
	add_string(&list, "telemetry.sdk.language", "c");
	fprintf(to, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"ctxring\",\"version\":\"%d.%d\"},\"spans\":[",
		CTXRING_VERSION_MAJOR, CTXRING_VERSION_MINOR);
}

/* The span above a context: its parent, or of an extracted one the sender's. False: there is none. */
static bool parent_span(const struct recording *recording, const struct recorded_context *context,
			uint8_t ret_span[8])
{
	static const uint8_t none[16];

	if (memcmp(context->trace, none, sizeof(none)) != 0) {
		memcpy(ret_span, context->sender, sizeof(context->sender));
		return memcmp(ret_span, none, sizeof(context->sender)) != 0;
	}
	if (context->parent == RECORDING_NONE)
		return false;
	recorded_span(recording, &recording->contexts[context->parent], ret_span);
	return true;
}

static void write_ids(const uint8_t trace[16], const uint8_t span[8], FILE *to)
{
	fputs("{\"traceId\":", to);
	write_hex(to, trace, 16);
	fputs(",\"spanId\":", to);
	write_hex(to, span, 8);
}

static void write_context_attributes(const struct recording *recording,
				     const struct recorded_context *context, FILE *to)
{
	struct attributes list = {.to = to};
	char text[RECORDED_CAUSE_SIZE];

	fputs(",\"attributes\":[", to);
	add_string(&list, "ctxring.context.id", recorded_id(recording, context, text));
	add_string(&list, "ctxring.context.kind", context_kind_name(context->kind));
	add_string(&list, "ctxring.outcome", recorded_outcome_name(context->outcome));
	add_string(&list, "ctxring.cause", recorded_cause(recording, context, text));
	add_string(&list, "code.made_at", recorded_text(recording, context->site));
	add_string(&list, "code.ended_at", recorded_text(recording, context->done_site));
	add_number(&list, "thread.id", context->creator_tid);
	add_number(&list, "ctxring.operations", context->operation_count);
	if (!context->freed_ns)
		add_true(&list, "ctxring.still_open");
	fputs("]", to);
}

static void write_batch_event(const struct recording *recording, const struct recorded_batch *batch, FILE *to)
{
	struct attributes list = {.to = to};

	fprintf(to, "{\"name\":\"batch\",\"timeUnixNano\":\"%" PRIu64 "\",\"attributes\":[",
		batch->begin_ns + recording->wall_offset_ns);
	add_number(&list, "ctxring.batch.operations", batch->operations);
	add_number(&list, "ctxring.batch.cancelled", batch->cancelled);
	add_number(&list, "ctxring.batch.finished", batch->finished);
	add_number(&list, "ctxring.batch.cancel_sqes", batch->sqes);
	add_number(&list, "ctxring.batch.enters", batch->enters);
	add_number(&list, "ctxring.batch.submit_ns", (int64_t)batch->submit_ns);
	add_number(&list, "ctxring.batch.reap_ns", (int64_t)batch->reap_ns);
	fputs("]}", to);
}

static void write_events(const struct recording *recording, const struct recorded_context *context, FILE *to)
{
	struct attributes list = {.to = to};
	char cause[RECORDED_CAUSE_SIZE];
	bool done = context->done_ns != 0;

	fputs(",\"events\":[", to);
	if (done) {
		fputs("{\"name\":\"done\"", to);
		write_wall_time(recording, "timeUnixNano", context->done_ns, to);
		fputs(",\"attributes\":[", to);
		add_string(&list, "ctxring.outcome", recorded_outcome_name(context->outcome));
		add_string(&list, "ctxring.cause", recorded_cause(recording, context, cause));
		fputs("]}", to);
	}
	for (uint32_t i = 0; i < context->batch_count; i++) {
		fputs(done || i ? "," : "", to);
		write_batch_event(recording, &recording->batches[context->first_batch + i], to);
	}
	fputs("]", to);
}

/* A context of a tree without an extracted one: where it was injected, its trace is another one. */
static void write_link(const struct recording *recording, const struct recorded_context *context,
		       const uint8_t trace[16], const uint8_t span[8], FILE *to)
{
	const struct recorded_process *process = &recording->processes[context->process];
	uint8_t own[16], of_root[16];
	const struct recorded_context *root = context;

	if (!process->identity_number || context->parent == RECORDING_NONE)
		return;
	while (root->parent != RECORDING_NONE)
		root = &recording->contexts[root->parent];
	identity_trace(process->identity_number, (uint64_t)root->generation << 32 | root->slot, of_root);
	if (memcmp(of_root, trace, sizeof(of_root)) != 0)
		return;
	identity_trace(process->identity_number, (uint64_t)context->generation << 32 | context->slot, own);
	fputs(",\"links\":[", to);
	write_ids(own, span, to);
	fputs("}]", to);
}

static void write_context(const struct recording *recording, const struct recorded_context *context, FILE *to)
{
	uint8_t trace[16], span[8], above[8];
	char text[RECORDED_CAUSE_SIZE];

	recorded_trace(recording, context, trace);
	recorded_span(recording, context, span);
	write_ids(trace, span, to);
	if (parent_span(recording, context, above)) {
		fputs(",\"parentSpanId\":", to);
		write_hex(to, above, sizeof(above));
	}
	fputs(",\"name\":", to);
	if (context->label)
		write_text(to, recording, context->label);
	else
		write_string(to, recorded_id(recording, context, text));
	fprintf(to, ",\"kind\":%d", KIND_INTERNAL);
	write_wall_time(recording, "startTimeUnixNano", context->begin_ns, to);
	write_wall_time(recording, "endTimeUnixNano", recorded_context_end_ns(recording, context), to);
	write_context_attributes(recording, context, to);
	write_events(recording, context, to);
	write_link(recording, context, trace, span, to);
	if (recorded_cause(recording, context, text)[0]) {
		fprintf(to, ",\"status\":{\"code\":%d,\"message\":", STATUS_ERROR);
		write_string(to, text);
		fputs("}}", to);
	} else {
		fputs(",\"status\":{}}", to);
	}
}

static void write_operation(const struct recording *recording, const struct recorded_operation *operation,
			    FILE *to)
{
	const struct recorded_context *context = &recording->contexts[operation->context];
	uint8_t trace[16], span[8], above[8];
	struct attributes list = {.to = to};
	char name[32];

	recorded_trace(recording, context, trace);
	recorded_span(recording, context, above);
	/* A number that no context has: an id of a context has a generation in its upper half. */
	identity_span(identity_mix(recording->processes[operation->process].identity_number ^
				   (uint64_t)recording->processes[operation->process].pid),
		      (operation->begin_ns << 20) + (uint64_t)(operation - recording->operations), span);
	write_ids(trace, span, to);
	fputs(",\"parentSpanId\":", to);
	write_hex(to, above, sizeof(above));
	fputs(",\"name\":", to);
	write_string(to, opcode_text(operation->opcode, name, sizeof(name)));
	fprintf(to, ",\"kind\":%d", KIND_CLIENT);
	write_wall_time(recording, "startTimeUnixNano", operation->begin_ns, to);
	write_wall_time(recording, "endTimeUnixNano", recorded_operation_end_ns(recording, operation), to);
	fputs(",\"attributes\":[", to);
	add_number(&list, operation->flags & CTX_TABLE_OP_FIXED_FILE ? "ctxring.fixed_file" : "ctxring.fd",
		   operation->fd);
	add_string(&list, "ctxring.target", recorded_text(recording, operation->target));
	add_number(&list, "ctxring.ring", operation->ring);
	if (operation->end_ns)
		add_number(&list, "ctxring.result", operation->result);
	else
		add_true(&list, "ctxring.still_open");
	if (recorded_is_cancelled(operation))
		add_true(&list, "ctxring.cancelled");
	fputs("]", to);
	/* A timeout that is over has not failed. */
	bool over = operation->opcode == IORING_OP_TIMEOUT && operation->result == -ETIME;
	if (operation->end_ns && operation->result < 0 && !over)
		fprintf(to, ",\"status\":{\"code\":%d,\"message\":\"%s\"}}", STATUS_ERROR,
			errno_text(operation->result, name, sizeof(name)));
	else
		fputs(",\"status\":{}}", to);
}

/* Contexts of a process follow each other, and so do the operations of a context. */
int write_otlp(const struct recording *recording, FILE *to)
{
	size_t at = 0;
	bool first_resource = true;

	fputs("{\"resourceSpans\":[\n", to);
	while (at < recording->context_count) {
		uint32_t process = recording->contexts[at].process;
		bool first = true;

		fputs(first_resource ? "" : ",\n", to);
		first_resource = false;
		write_resource(recording, &recording->processes[process], to);
		for (; at < recording->context_count && recording->contexts[at].process == process; at++) {
			const struct recorded_context *context = &recording->contexts[at];

			fputs(first ? "\n" : ",\n", to);
			first = false;
			write_context(recording, context, to);
			for (uint32_t i = 0; i < context->operation_count; i++) {
				fputs(",\n", to);
				write_operation(recording,
						&recording->operations[context->first_operation + i], to);
			}
		}
		fputs("\n]}]}", to);
	}
	fputs("\n]}\n", to);
	return 0;
}
