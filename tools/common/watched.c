/* SPDX-License-Identifier: MIT */
#include "watched.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "names.h"
#include "proc_file.h"
#include "signals.h"

/* A number of a hostile table may be any. */
static bool is_watching(const struct reader_context *context)
{
	return context->record.kind == CTX_TABLE_SOURCE && context->record.state & CTX_TABLE_LIVE &&
	       context->record.cause_kind != CTX_CAUSE_NONE;
}

static const struct {
	unsigned bit;
	const char *name;
} poll_events[] = {
	{POLLIN, "readable"},	     {POLLPRI, "exceptional"}, {POLLOUT, "writable"},
	{POLLRDHUP, "read hung up"}, {POLLHUP, "hung up"},     {POLLERR, "failed"},
};
#define POLL_EVENTS (sizeof(poll_events) / sizeof(poll_events[0]))

static const char *resource_name(uint32_t flags)
{
	static const char *const names[] = {
		[CTX_RESOURCE_MEMORY] = "memory", [CTX_RESOURCE_CPU] = "cpu", [CTX_RESOURCE_IO] = "io"};
	uint32_t resource = flags & ~CTX_TABLE_SOURCE_FULL;

	return resource < sizeof(names) / sizeof(names[0]) && names[resource] ? names[resource] : "unknown";
}

/*
 * Finds the name of the program that a pid of the process means, if the process counts pids as we do. The
 * process that is watched has not ended, so the number is still its own.
 */
static bool find_program(const struct process *process, int pid, char name[64])
{
	char path[32], *text;

	if (process->is_core || pid <= 0 || process->snapshot.header.pid != process->pid)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (proc_file_read(AT_FDCWD, path, NULL, &text))
		return false;
	text[strcspn(text, "\n")] = '\0';
	escape(text, name, 64);
	free(text);
	return true;
}

/* ---- text */

static __attribute__((format(printf, 2, 3))) void append(char buffer[TEXT_SIZE], const char *format, ...)
{
	size_t length = strlen(buffer);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer + length, TEXT_SIZE - length, format, arguments);
	va_end(arguments);
}

static void append_descriptor(char buffer[TEXT_SIZE], struct process *process, int fd)
{
	const char *target = descriptor_text(&process->descriptors, fd);

	append(buffer, "fd %d%s%s", fd, target[0] ? " " : "", target);
}

static void append_signals(char buffer[TEXT_SIZE], uint64_t signals)
{
	const char *separator = "";
	char name[SIGNAL_NAME_SIZE];

	for (int signo = 1; signo <= 64; signo++) {
		if (!(signals >> (signo - 1) & 1))
			continue;
		append(buffer, "%sSIG%s", separator, signal_name(signo, name));
		separator = " or ";
	}
}

static void append_events(char buffer[TEXT_SIZE], uint64_t events)
{
	const char *separator = "";

	for (size_t i = 0; i < POLL_EVENTS; i++) {
		if (!(events & poll_events[i].bit))
			continue;
		append(buffer, "%s%s", separator, poll_events[i].name);
		separator = " or ";
	}
}

char *watched_text(struct process *process, const struct reader_context *context, char buffer[TEXT_SIZE])
{
	const struct ctx_table_context *record = &context->record;
	char program[64];

	buffer[0] = '\0';
	if (!is_watching(context))
		return buffer;
	switch (record->cause_kind) {
	case CTX_CAUSE_HANGUP:
		append(buffer, "%s of ",
		       record->source_detail & POLLRDHUP ? "the end of sending by the peer"
							 : "the end of the connection");
		append_descriptor(buffer, process, record->source_id);
		break;
	case CTX_CAUSE_FD:
		append_descriptor(buffer, process, record->source_id);
		append(buffer, " becoming ");
		append_events(buffer, record->source_detail);
		break;
	case CTX_CAUSE_PROCESS:
		append(buffer, "the end of process ");
		if (record->source_id)
			append(buffer, "%" PRId32, record->source_id);
		else
			append(buffer, "of unknown number");
		if (find_program(process, record->source_id, program))
			append(buffer, " %s", program);
		break;
	case CTX_CAUSE_SIGNAL:
		append_signals(buffer, record->source_detail);
		break;
	case CTX_CAUSE_PRESSURE:
		append(buffer, "%s pressure: %s %g ms in %g s, by ", resource_name(record->source_flags),
		       record->source_flags & CTX_TABLE_SOURCE_FULL ? "full" : "some",
		       (double)(record->source_detail >> 32) / 1e3,
		       (double)(record->source_detail & UINT32_MAX) / 1e6);
		append_descriptor(buffer, process, record->source_id);
		break;
	default:
		break;
	}
	return buffer;
}

/* ---- JSON */

static json_t *events_json(uint64_t events)
{
	json_t *list = json_array();

	for (size_t i = 0; i < POLL_EVENTS; i++)
		if (events & poll_events[i].bit)
			json_array_append_new(list, json_string(poll_events[i].name));
	return list;
}

static json_t *signals_json(uint64_t signals)
{
	json_t *list = json_array();
	char name[SIGNAL_NAME_SIZE];

	for (int signo = 1; signo <= 64; signo++)
		if (signals >> (signo - 1) & 1)
			json_array_append_new(list, json_string(signal_name(signo, name)));
	return list;
}

static void set_descriptor(json_t *object, struct process *process, int fd)
{
	const char *target = descriptor_text(&process->descriptors, fd);

	json_object_set_new(object, "fd", json_integer(fd));
	json_object_set_new(object, "target", target[0] ? json_string(target) : json_null());
}

json_t *watched_json(struct process *process, const struct reader_context *context)
{
	const struct ctx_table_context *record = &context->record;
	json_t *object;
	char program[64];

	if (!is_watching(context))
		return json_null();
	object = json_object();
	json_object_set_new(object, "kind", json_string(ctx_cause_kind_name(record->cause_kind)));
	switch (record->cause_kind) {
	case CTX_CAUSE_HANGUP:
	case CTX_CAUSE_FD:
		set_descriptor(object, process, record->source_id);
		json_object_set_new(object, "events", events_json(record->source_detail));
		break;
	case CTX_CAUSE_PROCESS:
		json_object_set_new(object, "pid",
				    record->source_id ? json_integer(record->source_id) : json_null());
		json_object_set_new(object, "program",
				    find_program(process, record->source_id, program) ? json_string(program)
										      : json_null());
		break;
	case CTX_CAUSE_SIGNAL:
		json_object_set_new(object, "signals", signals_json(record->source_detail));
		break;
	case CTX_CAUSE_PRESSURE:
		set_descriptor(object, process, record->source_id);
		json_object_set_new(object, "resource", json_string(resource_name(record->source_flags)));
		json_object_set_new(object, "full",
				    json_boolean(record->source_flags & CTX_TABLE_SOURCE_FULL));
		json_object_set_new(object, "stall_us",
				    json_integer((json_int_t)(record->source_detail >> 32)));
		json_object_set_new(object, "window_us",
				    json_integer((json_int_t)(record->source_detail & UINT32_MAX)));
		break;
	default:
		break;
	}
	return object;
}
