/* SPDX-License-Identifier: MIT */
/*
 * The list of contexts is flat, and each context has the id of its parent. A nested form would be as deep as
 * the tree, which is deeper than most JSON readers take.
 */
#include "json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format.h"
#include "json_values.h"
#include "names.h"
#include "service.h"
#include "target.h"
#include "users.h"
#include "watched.h"

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *context_reference(const struct process *process, uint32_t index)
{
	char id[ID_SIZE];

	if (index == READER_NONE)
		return json_null();
	return json_string(format_id(process, &process->snapshot.contexts[index], id));
}

static json_t *site_json(const struct process *process, uint64_t site)
{
	char text[320];

	return site ? json_string(site_text(&process->sites, site, text, sizeof(text))) : json_null();
}

json_t *site_name_json(const struct process *process, uint64_t site)
{
	struct site_name name;
	json_t *object;

	if (!site_name(process, site, &name))
		return json_null();
	object = json_object();
	json_object_set_new(object, "function", name.function[0] ? escaped_json(name.function) : json_null());
	json_object_set_new(object, "offset", name.function[0] ? number_json(name.offset) : json_null());
	json_object_set_new(object, "file", name.file[0] ? escaped_json(name.file) : json_null());
	json_object_set_new(object, "line", name.file[0] ? json_integer(name.line) : json_null());
	return object;
}

/* Sets what is known of a place. Its name takes time, and is null unless named says so. */
static void add_site(json_t *object, const struct process *process, uint64_t site, bool named)
{
	json_object_set_new(object, "site", site_json(process, site));
	json_object_set_new(object, "site_name", named ? site_name_json(process, site) : json_null());
}

static json_t *cause_json(const struct process *process, const struct reader_context *context, bool named)
{
	const struct reader_context *origin = origin_of(process, context);
	const struct ctx_table_cause *own;
	char name[32];
	json_t *cause;
	int error;

	if (context->record.state & CTX_TABLE_LIVE)
		return json_null();
	cause = json_object();
	json_object_set_new(cause, "inherited", json_boolean(origin != context));
	json_object_set_new(cause, "began_in", context_reference(process, context->origin));
	if (!origin)
		return cause;
	own = origin->cause == READER_NONE ? NULL : &process->snapshot.causes[origin->cause];
	error = own ? own->error : (int)(origin->record.state & CTX_TABLE_ERRNO);
	json_object_set_new(cause, "kind", json_string(ctx_cause_kind_name(origin->record.cause_kind)));
	json_object_set_new(cause, "code", json_integer(origin->record.cause_code));
	json_object_set_new(cause, "error", json_string(errno_text(error, name, sizeof(name))));
	json_object_set_new(cause, "text", own && own->text[0] ? escaped_json(own->text) : json_null());
	json_object_set_new(cause, "host", own && own->host[0] ? escaped_json(own->host) : json_null());
	json_object_set_new(cause, "tid", number_json(origin->record.done_tid));
	add_site(cause, process, origin->record.done_site, named);
	json_object_set_new(cause, "time_ns", number_json(origin->record.done_ns));
	json_object_set_new(cause, "ago_ns", number_json(age_ns(process, origin->record.done_ns)));
	return cause;
}

static json_t *operation_json(struct process *process, const struct reader_operation *operation)
{
	const struct ctx_table_operation *record = &operation->record;
	char name[16];
	json_t *object = json_object();
	bool fixed = record->flags & CTX_TABLE_OP_FIXED_FILE;

	json_object_set_new(object, "opcode", json_string(opcode_text(record->opcode, name, sizeof(name))));
	json_object_set_new(object, "opcode_number", json_integer(record->opcode));
	json_object_set_new(object, fixed ? "fixed_file" : "fd", json_integer(record->fd));
	json_object_set_new(object, "target",
			    text_or_null(fixed ? "" : descriptor_text(&process->descriptors, record->fd)));
	json_object_set_new(object, "ring", json_integer(record->ring));
	json_object_set_new(object, "since_ns", number_json(record->since_ns));
	json_object_set_new(object, "age_ns", number_json(age_ns(process, record->since_ns)));
	json_object_set_new(object, "cancelling", json_boolean(record->flags & CTX_TABLE_OP_CANCELLING));
	json_object_set_new(object, "stuck", json_boolean(record->flags & CTX_TABLE_OP_STUCK));
	json_object_set_new(object, "linked_timeout", json_boolean(record->flags & CTX_TABLE_OP_TIMED));
	json_object_set_new(object, "multishot", json_boolean(record->flags & CTX_TABLE_OP_MULTISHOT));
	json_object_set_new(object, "parked", json_boolean(record->flags & CTX_TABLE_OP_PARKED));
	return object;
}

static json_t *service_id_json(struct ctxd_id id)
{
	char text[CTXD_ID_TEXT];

	ctxd_format_id(id, text, sizeof(text));
	return json_string(text);
}

static json_t *shared_json(const struct process *process, const struct reader_context *context)
{
	const struct ctxd_entry *entry =
		service_entry_of(CTXD_SHARED, process->inode, service_ctx_id(context));
	char mode[8];

	if (!entry || entry->ended_ns)
		return json_null();
	json_t *object = json_object();
	snprintf(mode, sizeof(mode), "%04o", (unsigned)entry->mode);
	json_object_set_new(object, "id", service_id_json(entry->id));
	json_object_set_new(object, "name", entry->name[0] ? escaped_json(entry->name) : json_null());
	json_object_set_new(object, "mode", json_string(mode));
	json_object_set_new(object, "depth", json_integer(entry->depth));
	json_object_set_new(object, "joiners", json_integer(entry->joiners));
	return object;
}

static json_t *joined_json(const struct process *process, const struct reader_context *context)
{
	const struct ctxd_entry *entry =
		service_entry_of(CTXD_JOINED, process->inode, service_ctx_id(context));
	const struct ctxd_entry *shared = entry ? service_shared(entry->id) : NULL;
	char from[ID_SIZE], origin[ESCAPED_SIZE];

	if (!entry)
		return json_null();
	json_t *object = json_object();
	json_object_set_new(object, "id", service_id_json(entry->id));
	if (shared)
		snprintf(from, sizeof(from), "%d:%" PRIu32 ".%" PRIu32, (int)shared->pid,
			 (uint32_t)shared->ctx_id, (uint32_t)(shared->ctx_id >> 32));
	json_object_set_new(object, "from", shared && !entry->host[0] ? json_string(from) : json_null());
	json_object_set_new(object, "origin",
			    entry->host[0] ? json_string(origin_text(entry, origin, sizeof(origin)))
					   : json_null());
	return object;
}

static json_t *context_json(struct process *process, const struct reader_context *context, bool named)
{
	const struct ctx_table_context *record = &context->record;
	bool bounded = record->deadline_ns != UINT64_MAX;
	uint64_t left =
		bounded && record->deadline_ns > process->now_ns ? record->deadline_ns - process->now_ns : 0;
	json_t *object = json_object(), *operations = json_array();
	char id[ID_SIZE];

	json_object_set_new(object, "id", json_string(format_id(process, context, id)));
	json_object_set_new(object, "parent", context_reference(process, context->parent));
	json_object_set_new(object, "orphan", json_boolean(context->orphan));
	json_object_set_new(object, "depth", json_integer(context->depth));
	json_object_set_new(object, "label", escaped_json(record->label));
	json_object_set_new(object, "selected", json_boolean(!context->beside));
	json_object_set_new(object, "kind", json_string(context_kind_name(record->kind)));
	json_object_set_new(object, "watches", watched_json(process, context));
	json_object_set_new(object, "state", json_string(state_name(record->state)));
	json_object_set_new(object, "cause", cause_json(process, context, named));
	json_object_set_new(object, "created_ns", number_json(record->created_ns));
	json_object_set_new(object, "age_ns", number_json(age_ns(process, record->created_ns)));
	json_object_set_new(object, "deadline_ns", bounded ? number_json(record->deadline_ns) : json_null());
	json_object_set_new(object, "time_left_ns",
			    bounded && record->state & CTX_TABLE_LIVE ? number_json(left) : json_null());
	json_object_set_new(object, "shared", shared_json(process, context));
	json_object_set_new(object, "joined", joined_json(process, context));
	json_object_set_new(object, "creator_tid", json_integer(record->creator_tid));
	add_site(object, process, record->site, named);
	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next)
		json_array_append_new(operations, operation_json(process, &process->snapshot.operations[i]));
	json_object_set_new(object, "operations", operations);
	return object;
}

static json_t *batch_json(const struct process *process, const struct ctx_table_ring *record)
{
	json_t *object;
	char id[ID_SIZE];

	if (!record->batches)
		return json_null();
	object = json_object();
	snprintf(id, sizeof(id), "%d:%" PRIu32 ".%" PRIu32, (int)process->pid, record->batch_context_slot,
		 record->batch_context_generation);
	json_object_set_new(object, "context", json_string(id));
	json_object_set_new(object, "operations", json_integer(record->batch_operations));
	json_object_set_new(object, "unsent", json_integer(record->batch_unsent));
	json_object_set_new(object, "timed", json_integer(record->batch_timed));
	json_object_set_new(object, "sqes", json_integer(record->batch_sqes));
	json_object_set_new(object, "enters", json_integer(record->batch_enters));
	json_object_set_new(object, "cancelled", json_integer(record->batch_cancelled));
	json_object_set_new(object, "finished", json_integer(record->batch_finished));
	json_object_set_new(object, "submit_ns", number_json(record->batch_submit_ns));
	json_object_set_new(object, "reap_ns", number_json(record->batch_reap_ns));
	return object;
}

static json_t *ring_json(const struct process *process, const struct reader_ring *ring)
{
	const struct ctx_table_ring *record = &ring->record;
	json_t *object = json_object();

	json_object_set_new(object, "ring", json_integer(ring->slot));
	json_object_set_new(object, "fd", json_integer(record->fd));
	json_object_set_new(object, "owner_tid", json_integer(record->owner_tid));
	json_object_set_new(object, "setup_flags", json_integer(record->setup_flags));
	json_object_set_new(object, "adopted", json_boolean(record->adopted));
	json_object_set_new(object, "sq_entries", json_integer(record->sq_entries));
	json_object_set_new(object, "cq_entries", json_integer(record->cq_entries));
	json_object_set_new(object, "operations", json_integer(ring->operation_count));
	json_object_set_new(object, "batches", number_json(record->batches));
	json_object_set_new(object, "last_batch", batch_json(process, record));
	return object;
}

/* Everything of the process but its contexts. */
static json_t *process_json(const struct process *process)
{
	const struct snapshot *snapshot = &process->snapshot;
	json_t *object = json_object(), *rings = json_array();

	json_object_set_new(object, "pid", json_integer(process->pid));
	json_object_set_new(object, "pid_inside", json_integer(snapshot->header.pid));
	json_object_set_new(object, "name", escaped_json(process->name));
	json_object_set_new(object, "uid", json_integer(process->uid));
	json_object_set_new(object, "user", escaped_json(user_name(process->uid)));
	json_object_set_new(object, "core", json_boolean(process->is_core));
	json_object_set_new(object, "table_version", json_integer(snapshot->header.version));
	json_object_set_new(object, "now_ns", number_json(process->now_ns));
	json_object_set_new(object, "not_shown", json_integer(snapshot->torn));
	for (uint32_t i = 0; i < snapshot->ring_count; i++)
		json_array_append_new(rings, ring_json(process, &snapshot->rings[i]));
	json_object_set_new(object, "rings", rings);
	return object;
}

/* Writes a value and frees it. The flag JSON_EMBED leaves out its outer brackets. */
static int write_json(json_t *value, size_t flags)
{
	int failed = value ? json_dumpf(value, stdout, flags) : -1;

	json_decref(value);
	return failed;
}

/*
 * Writes the process with all contexts, or with one only, unless that is NULL, and then with names of places.
 * Each context is a value of its own: 100,000 of them in one value would take hundreds of megabytes.
 */
static int write_process(struct process *process, const struct reader_context *only, const char *newline)
{
	const struct snapshot *snapshot = &process->snapshot;
	const char *separator = "";
	int failed;

	putchar('{');
	failed = write_json(process_json(process), JSON_EMBED);
	fputs(", \"contexts\": [", stdout);
	for (uint32_t i = 0; i < snapshot->shown_count && !failed; i++) {
		const struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];

		if (only && only != context)
			continue;
		printf("%s%s", separator, newline);
		separator = ", ";
		failed = write_json(context_json(process, context, only != NULL), 0);
	}
	fputs("]}", stdout);
	return failed;
}

static json_t *unreadable_json(const struct survey *survey)
{
	json_t *list = json_array();

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		const struct unreadable *unreadable = &survey->unreadables[i];
		json_t *object = json_object();

		json_object_set_new(object, "pid",
				    unreadable->pid ? json_integer(unreadable->pid) : json_null());
		json_object_set_new(object, "name", escaped_json(unreadable->name));
		json_object_set_new(object, "has_table", json_boolean(!unreadable->missing));
		json_object_set_new(object, "reason", json_string(unreadable->reason));
		json_array_append_new(list, object);
	}
	return list;
}

int json_print(const struct view_options *options, const struct view *view, struct survey *survey)
{
	bool lines = options->watch || options->rounds || view->full_screen;
	struct target target = {0};
	const char *separator = "";
	int code = EXIT_OK, failed = 0;

	if (options->id)
		code = target_find(options->id, survey, &target);
	else if (!survey->process_count)
		code = EXIT_NOTHING;
	fputs("{\"processes\": [", stdout);
	for (size_t i = 0; i < survey->process_count && !failed; i++) {
		if (options->id && target.process != &survey->processes[i])
			continue;
		printf("%s%s", separator, lines ? "" : "\n");
		separator = ", ";
		failed = write_process(&survey->processes[i], target.context, lines ? "" : "\n");
	}
	printf("],%s\"unreadable\": ", lines ? " " : "\n");
	failed |= write_json(unreadable_json(survey), 0);
	printf(", \"strangers\": %u}\n", survey->strangers);
	if (failed) {
		fprintf(stderr, "ctxtool: cannot write the JSON, or not enough memory for it\n");
		return EXIT_TROUBLE;
	}
	return code;
}

char *json_text(const char *text, char *buffer, size_t size)
{
	char shown[ESCAPED_SIZE];

	return json_quote(escape(text, shown, sizeof(shown)), buffer, size);
}

char *json_quote(const char *escaped_text, char *buffer, size_t size)
{
	size_t at = 0;

	for (const char *from = escaped_text; *from && at + 3 < size; from++) {
		if (*from == '"' || *from == '\\')
			buffer[at++] = '\\';
		buffer[at++] = *from;
	}
	buffer[at] = '\0';
	return buffer;
}
