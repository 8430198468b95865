/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "top.h"

const struct reader_operation *top_oldest(const struct process *process, const struct reader_context *context)
{
	const struct reader_operation *oldest = NULL;

	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next) {
		const struct reader_operation *operation = &process->snapshot.operations[i];

		if (!oldest || operation->record.since_ns < oldest->record.since_ns)
			oldest = operation;
	}
	return oldest;
}

static int order_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static bool is_live(const struct top_row *row)
{
	return row->context->record.state & CTX_TABLE_LIVE;
}

/* What decides among equals, in every order: so that rows do not jump. */
static int compare_rest(const struct top_row *a, const struct top_row *b)
{
	if (is_live(a) != is_live(b))
		return is_live(a) ? -1 : 1;
	if (a->context->record.created_ns != b->context->record.created_ns)
		return order_u64(a->context->record.created_ns, b->context->record.created_ns);
	if (a->process->pid != b->process->pid)
		return a->process->pid < b->process->pid ? -1 : 1;
	return order_u64(a->context->slot, b->context->slot);
}

static int by_operations(const void *left, const void *right)
{
	const struct top_row *a = left, *b = right;
	int order = order_u64(b->context->operation_count, a->context->operation_count);

	if (!order)
		order = order_u64(b->waiting_ns, a->waiting_ns);
	return order ? order : compare_rest(a, b);
}

static int by_age(const void *left, const void *right)
{
	const struct top_row *a = left, *b = right;
	int order = order_u64(a->context->record.created_ns, b->context->record.created_ns);

	return order ? order : compare_rest(a, b);
}

static int by_time_left(const void *left, const void *right)
{
	const struct top_row *a = left, *b = right;
	uint64_t left_ns = is_live(a) ? a->context->record.deadline_ns : UINT64_MAX;
	uint64_t right_ns = is_live(b) ? b->context->record.deadline_ns : UINT64_MAX;
	int order = order_u64(left_ns, right_ns);

	return order ? order : compare_rest(a, b);
}

static int by_label(const void *left, const void *right)
{
	const struct top_row *a = left, *b = right;
	int order = strcmp(a->context->record.label, b->context->record.label);

	return order ? order : compare_rest(a, b);
}

void top_sort(struct top_row *rows, size_t count, enum top_order order, bool reverse)
{
	static int (*const orders[TOP_ORDERS])(const void *, const void *) = {by_operations, by_age,
									      by_time_left, by_label};

	qsort(rows, count, sizeof(*rows), orders[order]);
	for (size_t i = 0; reverse && i < count / 2; i++) {
		struct top_row row = rows[i];
		rows[i] = rows[count - 1 - i];
		rows[count - 1 - i] = row;
	}
}

const char *top_order_name(enum top_order order)
{
	static const char *const names[TOP_ORDERS] = {"operations", "age", "time left", "label"};

	return names[order];
}

size_t top_collect(struct survey *survey, struct top_row *rows)
{
	size_t count = 0;

	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context = &process->snapshot.contexts[j];
			const struct reader_operation *oldest = top_oldest(process, context);

			rows[count++] = (struct top_row){
				process, context, oldest ? age_ns(process, oldest->record.since_ns) : 0};
		}
	}
	top_sort(rows, count, TOP_BY_OPERATIONS, false);
	return count;
}
