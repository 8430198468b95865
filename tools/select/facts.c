/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include "users.h"

static bool next_operation(const struct selection_facts *facts, uint32_t *position,
			   struct selection_operation *ret_operation)
{
	const struct process *process = facts->process;
	const struct reader_context *context = facts->context;
	/* A position is the index of the latest one plus 1. */
	uint32_t index =
		*position ? process->snapshot.operations[*position - 1].next : context->first_operation;

	if (index == READER_NONE)
		return false;
	const struct reader_operation *operation = &process->snapshot.operations[index];
	*position = index + 1;
	*ret_operation = (struct selection_operation){.opcode = operation->record.opcode,
						      .flags = operation->record.flags,
						      .fd = operation->record.fd};
	return true;
}

static const char *describe_fd(const struct selection_facts *facts, int fd)
{
	struct process *process = facts->process;

	return descriptor_text(&process->descriptors, fd);
}

/* Fills in the cause, which the context has itself or from the one with which the end began. */
static void fill_cause(struct selection_facts *facts, const struct snapshot *snapshot,
		       const struct reader_context *context)
{
	if (context->origin == READER_NONE)
		return;
	const struct reader_context *origin = &snapshot->contexts[context->origin];

	facts->cause = origin->record.cause_kind;
	if (origin->cause != READER_NONE)
		facts->cause_text = snapshot->causes[origin->cause].text;
}

bool selection_matches_context(const struct selection *selection, struct process *process,
			       const struct reader_context *context)
{
	const struct ctx_table_context *record = &context->record;
	uint64_t now_ns = process->now_ns, deadline_ns = record->deadline_ns;
	struct selection_facts facts = {
		.pid = process->pid,
		.uid = process->uid,
		.comm = process->name,
		.label = record->label,
		.slot = context->slot,
		.generation = record->generation,
		.live = record->state & CTX_TABLE_LIVE,
		.age_ns = now_ns > record->created_ns ? now_ns - record->created_ns : 0,
		.left_ns = SELECTION_NO_DEADLINE,
		.kind = record->kind,
		.operation_count = context->operation_count,
		.user_name = user_name,
		.next_operation = next_operation,
		.describe_fd = describe_fd,
		.process = process,
		.context = context,
	};

	if (!selection)
		return true;
	if (!facts.live) {
		facts.error = -(int)(record->state & CTX_TABLE_ERRNO);
		fill_cause(&facts, &process->snapshot, context);
	} else if (deadline_ns != UINT64_MAX) {
		facts.left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	}
	return selection_matches(selection, &facts);
}

bool selection_matches_stem(const struct selection *selection, const struct process *process,
			    const char *stem)
{
	const unsigned known =
		1u << SELECTION_PID | 1u << SELECTION_COMM | 1u << SELECTION_USER | 1u << SELECTION_LABEL;
	struct selection_facts facts = {
		.pid = process->pid,
		.uid = process->uid,
		.comm = process->name,
		.label = stem,
		.user_name = user_name,
	};
	struct selection_error error;

	return !selection_check_keys(selection, known, "counters", &error) &&
	       selection_matches(selection, &facts);
}

bool selection_matches_entry(const struct selection *selection, const struct ctxd_entry *entry,
			     uint64_t now_ns)
{
	struct selection_facts facts = {
		.pid = entry->pid,
		.uid = entry->uid,
		.comm = entry->process,
		.label = entry->label,
		.slot = (uint32_t)entry->ctx_id,
		.generation = (uint32_t)(entry->ctx_id >> 32),
		.live = !entry->ended_ns,
		.error = entry->ended_ns ? entry->cause.error : 0,
		.age_ns = now_ns > entry->created_ns ? now_ns - entry->created_ns : 0,
		.left_ns = SELECTION_NO_DEADLINE,
		.cause = entry->ended_ns ? entry->cause.kind : CTX_CAUSE_NONE,
		.cause_text = entry->ended_ns ? entry->cause.text : "",
		.user_name = user_name,
	};

	if (facts.live && entry->deadline_ns != CTX_FOREVER)
		facts.left_ns = entry->deadline_ns > now_ns ? entry->deadline_ns - now_ns : 0;
	return selection_matches(selection, &facts);
}
