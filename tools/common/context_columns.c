/* SPDX-License-Identifier: MIT */
#include "context_columns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"

int context_rows_collect(struct survey *survey, struct context_rows *ret_rows)
{
	size_t total = 0;

	*ret_rows = (struct context_rows){0};
	for (size_t i = 0; i < survey->process_count; i++)
		total += survey->processes[i].snapshot.shown_count;
	ret_rows->rows = malloc((total + 1) * sizeof(*ret_rows->rows));
	if (!ret_rows->rows)
		return -ENOMEM;
	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.shown_count; j++)
			ret_rows->rows[ret_rows->count++] = (struct context_row){
				.process = process,
				.context = &process->snapshot.contexts[process->snapshot.preorder[j]]};
	}
	return 0;
}

void context_rows_free(struct context_rows *rows)
{
	free(rows->rows);
	*rows = (struct context_rows){0};
}

uint32_t context_row_children(const struct context_row *row)
{
	uint32_t count = 0;

	for (uint32_t i = row->context->first_child; i != READER_NONE;
	     i = row->process->snapshot.contexts[i].next_sibling)
		count++;
	return count;
}

static const struct ctx_table_context *record_of(const void *row)
{
	return &((const struct context_row *)row)->context->record;
}

/* ---- texts */

static const char *id_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct context_row *of = row;
	char *end = append_number(buffer, (uint32_t)of->process->pid);

	*end++ = ':';
	end = append_number(end, of->context->slot);
	*end++ = '.';
	end = append_number(end, of->context->record.generation);
	*end = '\0';
	return buffer;
}

static const char *state_text(const void *row, char buffer[TEXT_SIZE])
{
	(void)buffer;
	return state_name(record_of(row)->state);
}

static enum colour colour_of_state(const void *row)
{
	return state_colour(record_of(row)->state);
}

static uint64_t age_of(const void *row)
{
	return age_ns(((const struct context_row *)row)->process, record_of(row)->created_ns);
}

static const char *age_text(const void *row, char buffer[TEXT_SIZE])
{
	return duration_text(age_of(row), buffer);
}

static const char *left_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct context_row *of = row;

	return format_time_left(of->process, of->context, buffer);
}

static const char *operations_text(const void *row, char buffer[TEXT_SIZE])
{
	return number_text(((const struct context_row *)row)->context->operation_count, buffer);
}

static const char *label_text(const void *row, char buffer[TEXT_SIZE])
{
	return escaped_text(record_of(row)->label, buffer);
}

static const char *cause_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct context_row *of = row;

	return format_cause(of->process, of->context, false, buffer);
}

static const char *kind_text(const void *row, char buffer[TEXT_SIZE])
{
	(void)buffer;
	return context_kind_name(record_of(row)->kind);
}

static const char *parent_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct context_row *of = row;

	if (of->context->parent == READER_NONE)
		return "-";
	return format_id(of->process, &of->process->snapshot.contexts[of->context->parent], buffer);
}

static const char *children_text(const void *row, char buffer[TEXT_SIZE])
{
	return number_text(context_row_children(row), buffer);
}

static const char *depth_text(const void *row, char buffer[TEXT_SIZE])
{
	return number_text(((const struct context_row *)row)->context->depth, buffer);
}

static const char *thread_text(const void *row, char buffer[TEXT_SIZE])
{
	return record_of(row)->creator_tid ? number_text(record_of(row)->creator_tid, buffer) : "-";
}

static const char *site_text_of(const void *row, char buffer[TEXT_SIZE])
{
	const struct context_row *of = row;

	if (!of->context->record.site)
		return "-";
	return site_name_text(of->process, of->context->record.site, buffer, TEXT_SIZE);
}

/* ---- orders */

static int by_id(const void *left, const void *right)
{
	int result = row_compare_pids(left, right);

	return result ? result
		      : order_numbers(((const struct context_row *)left)->context->slot,
				      ((const struct context_row *)right)->context->slot);
}

static int by_state(const void *left, const void *right)
{
	return strcmp(state_name(record_of(left)->state), state_name(record_of(right)->state));
}

static int by_age(const void *left, const void *right)
{
	return order_numbers(age_of(left), age_of(right));
}

/* Those without a deadline come last. */
static uint64_t end_of(const void *row)
{
	const struct context_row *of = row;
	uint64_t deadline_ns = of->context->record.deadline_ns;

	if (!(of->context->record.state & CTX_TABLE_LIVE) || deadline_ns == UINT64_MAX)
		return UINT64_MAX;
	/* Tables of core files have their own clocks. */
	return deadline_ns > of->process->now_ns ? deadline_ns - of->process->now_ns : 0;
}

static int by_left(const void *left, const void *right)
{
	return order_numbers(end_of(left), end_of(right));
}

static int by_operations(const void *left, const void *right)
{
	return order_numbers(((const struct context_row *)left)->context->operation_count,
			     ((const struct context_row *)right)->context->operation_count);
}

static int by_label(const void *left, const void *right)
{
	return strcmp(record_of(left)->label, record_of(right)->label);
}

static int by_cause(const void *left, const void *right)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];

	return strcmp(cause_text(left, a), cause_text(right, b));
}

static int by_kind(const void *left, const void *right)
{
	return strcmp(context_kind_name(record_of(left)->kind), context_kind_name(record_of(right)->kind));
}

static int by_parent(const void *left, const void *right)
{
	const struct context_row *a = left, *b = right;
	int result = row_compare_pids(left, right);

	/* A root, of which the index is READER_NONE, comes first. */
	return result ? result : order_numbers(a->context->parent + 1u, b->context->parent + 1u);
}

static int by_children(const void *left, const void *right)
{
	return order_numbers(context_row_children(left), context_row_children(right));
}

static int by_depth(const void *left, const void *right)
{
	return order_numbers(((const struct context_row *)left)->context->depth,
			     ((const struct context_row *)right)->context->depth);
}

static int by_thread(const void *left, const void *right)
{
	return order_numbers(record_of(left)->creator_tid, record_of(right)->creator_tid);
}

static int by_site(const void *left, const void *right)
{
	return order_numbers(record_of(left)->site, record_of(right)->site);
}

const struct column context_columns[] = {
	{"id", "ID", 2, 40, false, id_text, by_id, NULL},
	{"state", "STATE", 9, 0, false, state_text, by_state, colour_of_state},
	{"age", "AGE", 8, 0, true, age_text, by_age, NULL},
	{"left", "LEFT", 8, 0, true, left_text, by_left, NULL},
	{"ops", "OPS", 5, 0, true, operations_text, by_operations, NULL},
	{"user", "USER", 4, 16, false, row_user_text, row_compare_users, NULL},
	{"process", "PROCESS", 7, 16, false, row_process_text, row_compare_processes, NULL},
	{"label", "LABEL", 5, 32, false, label_text, by_label, NULL},
	{"cause", "CAUSE", 5, 60, false, cause_text, by_cause, NULL},
	{"pid", "PID", 7, 0, true, row_pid_text, row_compare_pids, NULL},
	{"uid", "UID", 5, 0, true, row_uid_text, row_compare_uids, NULL},
	{"kind", "KIND", 8, 16, false, kind_text, by_kind, NULL},
	{"parent", "PARENT", 6, 40, false, parent_text, by_parent, NULL},
	{"children", "CHILDREN", 8, 0, true, children_text, by_children, NULL},
	{"depth", "DEPTH", 5, 0, true, depth_text, by_depth, NULL},
	{"thread", "THREAD", 7, 0, true, thread_text, by_thread, NULL},
	{"site", "MADE AT", 7, 60, false, site_text_of, by_site, NULL},
	{0},
};
