/* SPDX-License-Identifier: MIT */
#include "survey_filter.h"

#include <string.h>

#include "facts.h"

/* Marks what is not selected as beside. */
static void mark_contexts(struct process *process, const struct selection *selection)
{
	struct snapshot *snapshot = &process->snapshot;

	snapshot->selected_count = snapshot->live_count = 0;
	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		struct reader_context *context = &snapshot->contexts[i];

		context->beside = !selection_matches_context(selection, process, context);
		snapshot->selected_count += !context->beside;
		snapshot->live_count += !context->beside && context->record.state & CTX_TABLE_LIVE;
	}
}

/* Keeps the operations of selected contexts, in the same order. */
static void filter_operations(struct snapshot *snapshot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->operation_count; i++)
		if (!snapshot->contexts[snapshot->operations[i].context].beside)
			snapshot->operations[kept++] = snapshot->operations[i];
	snapshot->operation_count = kept;
	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		struct reader_context *context = &snapshot->contexts[i];

		context->first_operation = READER_NONE;
		context->operation_count = context->beside ? 0 : context->operation_count;
	}
	/* The last one first, because each is put before those that are in its list already. */
	for (uint32_t i = kept; i-- > 0;) {
		struct reader_operation *operation = &snapshot->operations[i];
		struct reader_context *context = &snapshot->contexts[operation->context];

		operation->next = context->first_operation;
		context->first_operation = i;
	}
}

/*
 * Keeps in preorder what is selected and what that stands below. Children stand behind their parents, so from
 * the last one to the first each child has had its say before its parent is looked at. Links of kept contexts
 * are made anew on the way.
 */
static void keep_ancestors(struct snapshot *snapshot)
{
	uint32_t to = snapshot->context_count;

	for (uint32_t i = 0; i < snapshot->context_count; i++)
		snapshot->contexts[i].first_child = READER_NONE;
	snapshot->first_root = READER_NONE;
	for (uint32_t i = snapshot->context_count; i-- > 0;) {
		uint32_t index = snapshot->preorder[i];
		struct reader_context *context = &snapshot->contexts[index];

		/* A kept child has linked itself here. */
		if (context->beside && context->first_child == READER_NONE)
			continue;
		uint32_t *first = context->parent == READER_NONE
					  ? &snapshot->first_root
					  : &snapshot->contexts[context->parent].first_child;
		context->next_sibling = *first;
		*first = index;
		snapshot->preorder[--to] = index;
	}
	snapshot->shown_count = snapshot->context_count - to;
	memmove(snapshot->preorder, snapshot->preorder + to, snapshot->shown_count * sizeof(uint32_t));
}

static void keep_selected(struct snapshot *snapshot)
{
	snapshot->shown_count = 0;
	for (uint32_t i = 0; i < snapshot->context_count; i++)
		if (!snapshot->contexts[snapshot->preorder[i]].beside)
			snapshot->preorder[snapshot->shown_count++] = snapshot->preorder[i];
}

static bool has_selected(const struct process *process)
{
	return process->snapshot.selected_count;
}

void survey_filter(struct survey *survey, const struct selection *selection, bool with_ancestors)
{
	for (size_t i = 0; selection && i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		mark_contexts(process, selection);
		if (!process->snapshot.selected_count)
			continue;
		filter_operations(&process->snapshot);
		if (with_ancestors)
			keep_ancestors(&process->snapshot);
		else
			keep_selected(&process->snapshot);
	}
	if (selection)
		survey_keep(survey, has_selected);
}

/* Whether a selected context has that stem. has_context says of which slots one has. */
static bool is_stem_in_use(const struct counters *counters, const bool has_context[CTX_TABLE_STEMS],
			   const char *stem)
{
	for (uint32_t slot = 0; slot < CTX_TABLE_STEMS; slot++)
		if (has_context[slot] && strcmp(counters_stem_at(counters, slot), stem) == 0)
			return true;
	return false;
}

static void filter_counters(const struct process *process, const struct selection *selection,
			    struct counters *counters)
{
	const struct snapshot *snapshot = &process->snapshot;
	bool has_context[CTX_TABLE_STEMS] = {false};
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->shown_count; i++) {
		uint16_t slot = snapshot->contexts[snapshot->preorder[i]].record.stem;

		if (slot < CTX_TABLE_STEMS && counters_stem_at(counters, slot))
			has_context[slot] = true;
	}
	for (uint32_t i = 0; i < counters->count; i++) {
		const struct stem_counters *stem = &counters->stems[i];

		if (!is_stem_in_use(counters, has_context, stem->stem) &&
		    !selection_matches_stem(selection, process, stem->stem))
			continue;
		if (kept != i)
			counters->stems[kept] = *stem;
		kept++;
	}
	counters->count = kept;
}

static bool has_selected_or_counters(const struct process *process)
{
	return process->snapshot.selected_count || process->snapshot.counters.count;
}

void survey_filter_counted(struct survey *survey, const struct selection *selection)
{
	if (!selection)
		return;
	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		mark_contexts(process, selection);
		filter_operations(&process->snapshot);
		keep_selected(&process->snapshot);
		filter_counters(process, selection, &process->snapshot.counters);
	}
	survey_keep(survey, has_selected_or_counters);
}

bool is_service_name(const char *comm)
{
	return strcmp(comm, "ctxd") == 0 || strcmp(comm, "ctxd-fleet") == 0;
}

static bool is_no_service(const struct process *process)
{
	return !is_service_name(process->name);
}

void survey_hide_service(struct survey *survey)
{
	survey_keep(survey, is_no_service);
}
