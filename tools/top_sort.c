/* SPDX-License-Identifier: MIT */
/* The rows of ctxtool top, and how they are sorted. */
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

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static bool is_live(const struct top_row *row)
{
	return row->context->record.state & CTX_TABLE_LIVE;
}

/* The time at which the deadline ends the context; UINT64_MAX for one that is done. */
static uint64_t end_ns(const struct top_row *row)
{
	return is_live(row) ? row->context->record.deadline_ns : UINT64_MAX;
}

/* Compares by the order alone: 0 for rows that are equal in it. */
static int compare_by(enum top_order order, const struct top_row *a, const struct top_row *b)
{
	switch (order) {
	case TOP_BY_AGE:
		return compare_numbers(a->context->record.created_ns, b->context->record.created_ns);
	case TOP_BY_TIME_LEFT:
		return compare_numbers(end_ns(a), end_ns(b));
	case TOP_BY_LABEL:
		return strcmp(a->context->record.label, b->context->record.label);
	default:
		return compare_numbers(b->context->operation_count, a->context->operation_count);
	}
}

/* Decides between rows that the order leaves equal, so that they stay in place from one round to the next. */
static int compare_equals(enum top_order order, const struct top_row *a, const struct top_row *b)
{
	if (order == TOP_BY_OPERATIONS && a->waiting_ns != b->waiting_ns)
		return compare_numbers(b->waiting_ns, a->waiting_ns);
	if (is_live(a) != is_live(b))
		return is_live(a) ? -1 : 1;
	if (a->context->record.created_ns != b->context->record.created_ns)
		return compare_numbers(a->context->record.created_ns, b->context->record.created_ns);
	if (a->process->pid != b->process->pid)
		return a->process->pid < b->process->pid ? -1 : 1;
	return compare_numbers(a->context->slot, b->context->slot);
}

struct sorting {
	enum top_order order;
	bool reverse;
};

static int compare_rows(const void *left, const void *right, void *data)
{
	const struct sorting *sorting = data;
	int result = compare_by(sorting->order, left, right);

	if (!result)
		return compare_equals(sorting->order, left, right);
	return sorting->reverse ? -result : result;
}

void top_sort(struct top_row *rows, size_t count, enum top_order order, bool reverse)
{
	struct sorting sorting = {order, reverse};

	qsort_r(rows, count, sizeof(*rows), compare_rows, &sorting);
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
