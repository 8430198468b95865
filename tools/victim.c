/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "format.h"

static void count_below(struct victim *victim)
{
	const struct snapshot *snapshot = &victim->source->snapshot;
	const struct reader_context *first = victim->context;
	bool inside = false;

	/* What is below it follows it in preorder, deeper than it is. */
	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		const struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];

		if (context == first)
			inside = true;
		else if (inside && context->depth <= first->depth)
			break;
		if (!inside)
			continue;
		victim->contexts += (context->record.state & CTX_TABLE_LIVE) != 0;
		victim->operations += context->operation_count;
	}
}

void victim_describe(struct victim *victim)
{
	char id[ID_SIZE], label[ESCAPED_SIZE];
	const struct ctxd_entry *entry;

	victim->contexts = victim->operations = 0;
	if (victim->source) {
		count_below(victim);
		snprintf(victim->name, sizeof(victim->name), "%s \"%s\"",
			 format_id(victim->source, victim->context, id),
			 escape(victim->context->record.label, label, sizeof(label)));
		return;
	}
	entry = service_shared(victim->id);
	victim->contexts = 1;
	ctxd_format_id(victim->id, id, sizeof(id));
	snprintf(victim->name, sizeof(victim->name), "%s \"%s\"", id,
		 entry ? escape(entry->label, label, sizeof(label)) : "");
}

static void add(struct ctxd_report *sum, const struct ctxd_report *report)
{
	sum->asked += report->asked;
	sum->ended += report->ended;
	sum->silent += report->silent;
	sum->batches += report->batches;
	sum->operations += report->operations;
	sum->unsent += report->unsent;
	sum->timed += report->timed;
	sum->sqes += report->sqes;
	sum->enters += report->enters;
	sum->cancelled += report->cancelled;
	sum->finished += report->finished;
	sum->held += report->held;
	if (report->submit_ns > sum->submit_ns)
		sum->submit_ns = report->submit_ns;
	if (report->reap_ns > sum->reap_ns)
		sum->reap_ns = report->reap_ns;
}

/* A process that is stopped ends nothing; what others joined of it can be ended without it. */
static void cancel_joined(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
			  struct ctxd_report *report)
{
	const struct snapshot *snapshot = &victim->source->snapshot;
	bool inside = false;

	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		const struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];
		const struct ctxd_entry *entry;
		struct ctxd_report more;

		if (context == victim->context)
			inside = true;
		else if (inside && context->depth <= victim->context->depth)
			break;
		entry = inside ? service_entry_of(CTXD_SHARED, victim->source->inode, service_ctx_id(context))
			       : NULL;
		if (!entry || entry->ended_ns)
			continue;
		struct ctxd_target target = {.id = entry->id};
		if (!ctxd_cancel(service_client(), &target, 0, error, text, wait_ns, &more))
			add(report, &more);
	}
}

int victim_cancel(const struct victim *victim, int error, const char *text, uint64_t wait_ns,
		  struct ctxd_report *ret_report)
{
	struct ctxd_target target = {.id = victim->id};

	if (victim->source) {
		target.table = victim->source->inode;
		target.ctx_id = service_ctx_id(victim->context);
	}
	int result = ctxd_cancel(service_client(), &target, 0, error, text, wait_ns, ret_report);
	if (!result && ret_report->silent && victim->source)
		cancel_joined(victim, error, text, wait_ns, ret_report);
	return result;
}

char *report_text(const struct ctxd_report *report, char *buffer, size_t size)
{
	char submit[16], reap[16];
	size_t length = (size_t)snprintf(buffer, size, "ended in %u process%s", report->ended,
					 report->ended == 1 ? "" : "es");

	if (report->silent)
		length += (size_t)snprintf(buffer + length, size - length, ", %u did not answer",
					   report->silent);
	if (!report->operations)
		return buffer;
	duration_text(report->submit_ns, submit);
	duration_text(report->reap_ns, reap);
	length += (size_t)snprintf(buffer + length, size - length,
				   "; %u operations reaped: %u cancelled, %u finished first",
				   report->operations, report->cancelled, report->finished);
	if (report->held)
		length += (size_t)snprintf(buffer + length, size - length, ", %u still held", report->held);
	snprintf(buffer + length, size - length,
		 "; %u cancel SQEs in %u system call%s, %s to submit, %s until the last was back",
		 report->sqes, report->enters, report->enters == 1 ? "" : "s", submit, reap);
	return buffer;
}
