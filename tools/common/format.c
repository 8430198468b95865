/* SPDX-License-Identifier: MIT */
#include "format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctxring.h"
#include "names.h"

/* Constants of the kernel that old headers lack. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1u << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1u << 13)
#endif

/* A text that grows in a buffer of TEXT_SIZE bytes; what does not fit is left out. */
struct text {
	char *buffer;
	size_t length;
};

static __attribute__((format(printf, 2, 3))) void append(struct text *text, const char *format, ...)
{
	va_list arguments;
	int written;

	va_start(arguments, format);
	written = vsnprintf(text->buffer + text->length, TEXT_SIZE - text->length, format, arguments);
	va_end(arguments);
	if (written > 0)
		text->length += (size_t)written;
	if (text->length >= TEXT_SIZE)
		text->length = TEXT_SIZE - 1;
}

static struct text begin_text(char buffer[TEXT_SIZE])
{
	buffer[0] = '\0';
	return (struct text){.buffer = buffer};
}

char *format_id(const struct process *process, const struct reader_context *context, char buffer[ID_SIZE])
{
	snprintf(buffer, ID_SIZE, "%d:%" PRIu32 ".%" PRIu32, (int)process->pid, context->slot,
		 context->record.generation);
	return buffer;
}

uint64_t age_ns(const struct process *process, uint64_t since_ns)
{
	return process->now_ns > since_ns ? process->now_ns - since_ns : 0;
}

char *format_time_left(const struct process *process, const struct reader_context *context, char buffer[16])
{
	uint64_t deadline = context->record.deadline_ns;

	if (deadline == UINT64_MAX || !(context->record.state & CTX_TABLE_LIVE))
		return strcpy(buffer, "-");
	if (deadline <= process->now_ns)
		return strcpy(buffer, "due");
	return duration_text(deadline - process->now_ns, buffer);
}

enum colour state_colour(uint32_t state)
{
	if (state & CTX_TABLE_LIVE)
		return COLOUR_GREEN;
	return strcmp(state_name(state), "expired") == 0 ? COLOUR_YELLOW : COLOUR_RED;
}

const struct reader_context *origin_of(const struct process *process, const struct reader_context *context)
{
	return context->origin == READER_NONE ? NULL : &process->snapshot.contexts[context->origin];
}

static void append_cause(struct text *text, const struct process *process,
			 const struct reader_context *origin)
{
	const struct ctx_table_context *record = &origin->record;
	char name[32], escaped[ESCAPED_SIZE];

	append(text, "%s", ctx_cause_kind_name(record->cause_kind));
	if (record->cause_kind == CTX_CAUSE_SIGNAL)
		append(text, " %d", record->cause_code);
	if (origin->cause != READER_NONE) {
		const struct ctx_table_cause *cause = &process->snapshot.causes[origin->cause];

		append(text, " %s", errno_text(cause->error, name, sizeof(name)));
		if (cause->text[0])
			append(text, " \"%s\"", escape(cause->text, escaped, sizeof(escaped)));
		if (cause->host[0])
			append(text, " on %s", escape(cause->host, escaped, sizeof(escaped)));
	} else {
		append(text, " %s", errno_text((int)(record->state & CTX_TABLE_ERRNO), name, sizeof(name)));
	}
}

char *format_cause(const struct process *process, const struct reader_context *context, bool long_form,
		   char buffer[TEXT_SIZE])
{
	const struct reader_context *origin = origin_of(process, context);
	struct text text = begin_text(buffer);
	char id[ID_SIZE], time[16], site[320], escaped[ESCAPED_SIZE];

	if (context->record.state & CTX_TABLE_LIVE)
		return strcpy(buffer, "-");
	if (!origin) {
		append(&text, "inherited, from %s",
		       context->record.kind == CTX_TABLE_MERGED ? "one of its parents"
								: "a context that is gone");
		return buffer;
	}
	append_cause(&text, process, origin);
	if (origin != context) {
		append(&text, " from %s", format_id(process, origin, id));
		if (long_form && origin->record.label[0])
			append(&text, " \"%s\"", escape(origin->record.label, escaped, sizeof(escaped)));
	}
	if (!long_form)
		return buffer;
	append(&text, ", %s ago", duration_text(age_ns(process, origin->record.done_ns), time));
	if (origin->record.done_tid)
		append(&text, ", by thread %" PRIu32, origin->record.done_tid);
	if (origin->record.done_site)
		append(&text, ", at %s",
		       site_name_text(process, origin->record.done_site, site, sizeof(site)));
	return buffer;
}

char *format_operation_flags(unsigned flags, char buffer[128])
{
	snprintf(buffer, 128, "%s%s%s%s",
		 flags & CTX_TABLE_OP_STUCK	   ? ", STUCK"
		 : flags & CTX_TABLE_OP_CANCELLING ? ", being cancelled"
						   : "",
		 flags & CTX_TABLE_OP_TIMED ? ", linked timeout" : "",
		 flags & CTX_TABLE_OP_MULTISHOT ? ", multishot" : "",
		 flags & CTX_TABLE_OP_PARKED ? ", parked" : "");
	return buffer;
}

char *format_operation(struct process *process, const struct reader_operation *operation,
		       char buffer[TEXT_SIZE])
{
	const struct ctx_table_operation *record = &operation->record;
	struct text text = begin_text(buffer);
	char name[16], time[16], flags[128];

	append(&text, "%s", opcode_text(record->opcode, name, sizeof(name)));
	if (record->fd >= 0 && record->flags & CTX_TABLE_OP_FIXED_FILE)
		append(&text, " fixed file %" PRId32, record->fd);
	else if (record->fd >= 0)
		append(&text, " fd %" PRId32 " %s", record->fd,
		       descriptor_text(&process->descriptors, record->fd));
	append(&text, "%sfor %s%s", text.buffer[text.length - 1] == ' ' ? "" : " ",
	       duration_text(age_ns(process, record->since_ns), time),
	       format_operation_flags(record->flags, flags));
	return buffer;
}

static void append_batch(struct text *text, const struct process *process, const struct ctx_table_ring *ring)
{
	char submit[16], reap[16];

	append(text,
	       "; %" PRIu64 " batch%s cancelled, the last under %d:%" PRIu32 ".%" PRIu32 ": %" PRIu32
	       " operation%s, %" PRIu32 " cancel SQE%s, %" PRIu32 " enter%s, %" PRIu32 " cancelled, %" PRIu32
	       " finished first",
	       ring->batches, ring->batches == 1 ? "" : "es", (int)process->pid, ring->batch_context_slot,
	       ring->batch_context_generation, ring->batch_operations, plural(ring->batch_operations),
	       ring->batch_sqes, plural(ring->batch_sqes), ring->batch_enters, plural(ring->batch_enters),
	       ring->batch_cancelled, ring->batch_finished);
	if (ring->batch_unsent)
		append(text, ", %" PRIu32 " never sent", ring->batch_unsent);
	if (ring->batch_timed)
		append(text, ", %" PRIu32 " left to linked timeout%s", ring->batch_timed,
		       plural(ring->batch_timed));
	append(text, ", submitted in %s, reaped in %s", duration_text(ring->batch_submit_ns, submit),
	       duration_text(ring->batch_reap_ns, reap));
}

char *format_ring(const struct process *process, const struct reader_ring *ring, char buffer[TEXT_SIZE])
{
	const struct ctx_table_ring *record = &ring->record;
	struct text text = begin_text(buffer);

	append(&text, "ring fd %" PRId32 ": SQ %" PRIu32 ", CQ %" PRIu32 ", %s%s", record->fd,
	       record->sq_entries, record->cq_entries,
	       record->setup_flags & IORING_SETUP_DEFER_TASKRUN	  ? "DEFER_TASKRUN"
	       : record->setup_flags & IORING_SETUP_SINGLE_ISSUER ? "SINGLE_ISSUER"
								  : "ordinary",
	       record->adopted ? ", adopted" : "");
	if (record->owner_tid)
		append(&text, ", thread %" PRIu32, record->owner_tid);
	append(&text, ", %" PRIu32 " in flight", ring->operation_count);
	if (record->batches)
		append_batch(&text, process, record);
	return buffer;
}

char *format_process(const struct process *process, char buffer[TEXT_SIZE])
{
	const struct snapshot *snapshot = &process->snapshot;
	struct text text = begin_text(buffer);
	char escaped[256], part[24] = "", time[16];

	if (snapshot->selected_count < snapshot->context_count)
		snprintf(part, sizeof(part), "%" PRIu32 " of ", snapshot->selected_count);
	append(&text,
	       "%d %s (uid %u%s): %s%" PRIu32 " context%s, %" PRIu32 " live, %" PRIu32
	       " operation%s in flight",
	       (int)process->pid, escape(process->name, escaped, sizeof(escaped)), (unsigned)process->uid,
	       process->is_core ? ", core file" : "", part, snapshot->context_count,
	       plural(snapshot->context_count), snapshot->live_count, snapshot->operation_count,
	       plural(snapshot->operation_count));
	if (!process->is_core)
		append(&text, ", table %s old",
		       duration_text(age_ns(process, snapshot->header.created_ns), time));
	else
		append(&text, "; times count to the last event in the table");
	return buffer;
}

char *format_losses(const struct process *process, char buffer[TEXT_SIZE])
{
	const struct snapshot *snapshot = &process->snapshot;
	struct text text = begin_text(buffer);

	if (snapshot->torn)
		append(&text, "%" PRIu32 " record%s being written and not shown", snapshot->torn,
		       snapshot->torn == 1 ? " was" : "s were");
	if (snapshot->cycles)
		append(&text, "%s%" PRIu32 " parent link%s led round in a circle and %s cut",
		       text.length ? "; " : "", snapshot->cycles, plural(snapshot->cycles),
		       snapshot->cycles == 1 ? "was" : "were");
	if (snapshot->clipped)
		append(&text, "%sonly the first %u slots of each kind were read", text.length ? "; " : "",
		       READER_SLOTS_MAX);
	return buffer;
}
