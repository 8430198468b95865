/* SPDX-License-Identifier: MIT */
#include "end_columns.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "duration.h"
#include "names.h"

static const struct past_end *end_of(const void *row)
{
	return ((const struct end_row *)row)->end;
}

/* ---- texts */

static const char *time_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct end_row *of = row;

	return ends_time(of->ends, of->end->entry.time_ns, of->utc, buffer);
}

static const char *id_text(const void *row, char buffer[TEXT_SIZE])
{
	return ends_id(end_of(row), buffer);
}

static const char *label_text(const void *row, char buffer[TEXT_SIZE])
{
	return escaped_text(end_of(row)->entry.end.label, buffer);
}

static const char *state_text(const void *row, char buffer[TEXT_SIZE])
{
	(void)buffer;
	return ends_state(end_of(row));
}

static enum colour colour_of_state(const void *row)
{
	return state_colour((uint32_t)-end_of(row)->entry.end.error & CTX_TABLE_ERRNO);
}

static const char *operations_text(const void *row, char buffer[TEXT_SIZE])
{
	return end_of(row)->batched ? number_text(end_of(row)->operations, buffer) : "-";
}

static const char *took_text(const void *row, char buffer[TEXT_SIZE])
{
	return end_of(row)->batched ? duration_text(end_of(row)->batch_ns, buffer) : "-";
}

static const char *cause_text(const void *row, char buffer[TEXT_SIZE])
{
	const struct past_end *end = end_of(row);
	uint32_t below = end->entry.end.below;
	char by[TEXT_SIZE];
	size_t length;

	ends_by(((const struct end_row *)row)->ends, end, by);
	length = strlen(ends_cause(end, true, buffer));
	snprintf(buffer + length, TEXT_SIZE - length, ", by %s", by);
	length = strlen(buffer);
	if (below)
		snprintf(buffer + length, TEXT_SIZE - length, ", with %" PRIu32 " context%s below", below,
			 plural(below));
	return buffer;
}

static const char *site_text_of(const void *row, char buffer[TEXT_SIZE])
{
	uint64_t site = end_of(row)->entry.end.done_site;

	return site ? site_name_text(row_process(row), site, buffer, TEXT_SIZE) : "-";
}

/* ---- orders */

static int by_time(const void *left, const void *right)
{
	return order_numbers(end_of(left)->entry.time_ns, end_of(right)->entry.time_ns);
}

static int by_id(const void *left, const void *right)
{
	const struct ctx_table_end *a = &end_of(left)->entry, *b = &end_of(right)->entry;
	int result = row_compare_pids(left, right);

	if (!result)
		result = order_numbers(a->context_slot, b->context_slot);
	return result ? result : order_numbers(a->context_generation, b->context_generation);
}

static int by_label(const void *left, const void *right)
{
	return strcmp(end_of(left)->entry.end.label, end_of(right)->entry.end.label);
}

static int by_state(const void *left, const void *right)
{
	return strcmp(ends_state(end_of(left)), ends_state(end_of(right)));
}

/* Ends without a batch come before those whose batch had no operation. */
static int by_operations(const void *left, const void *right)
{
	const struct past_end *a = end_of(left), *b = end_of(right);

	return order_numbers(a->batched ? a->operations + UINT64_C(1) : 0,
			     b->batched ? b->operations + UINT64_C(1) : 0);
}

static int by_took(const void *left, const void *right)
{
	const struct past_end *a = end_of(left), *b = end_of(right);

	if (a->batched != b->batched)
		return a->batched ? 1 : -1;
	return order_numbers(a->batch_ns, b->batch_ns);
}

/* By the cause alone: neither the place in the code nor who it was has a part in it. */
static int by_cause(const void *left, const void *right)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];

	return strcmp(ends_cause(end_of(left), false, a), ends_cause(end_of(right), false, b));
}

static int by_site(const void *left, const void *right)
{
	return order_numbers(end_of(left)->entry.end.done_site, end_of(right)->entry.end.done_site);
}

const struct column end_columns[] = {
	{"time", "TIME", 12, 24, false, time_text, by_time, NULL},
	{"id", "ID", 12, 40, false, id_text, by_id, NULL},
	{"process", "PROCESS", 11, 16, false, row_process_text, row_compare_processes, NULL},
	{"user", "USER", 8, 16, false, row_user_text, row_compare_users, NULL},
	{"label", "LABEL", 16, 32, false, label_text, by_label, NULL},
	{"state", "STATE", 9, 0, false, state_text, by_state, colour_of_state},
	{"ops", "OPS", 5, 0, true, operations_text, by_operations, NULL},
	{"took", "TOOK", 8, 0, true, took_text, by_took, NULL},
	{"cause", "CAUSE", 5, 60, false, cause_text, by_cause, NULL},
	{"pid", "PID", 7, 0, true, row_pid_text, row_compare_pids, NULL},
	{"uid", "UID", 5, 0, true, row_uid_text, row_compare_uids, NULL},
	{"site", "ENDED AT", 8, 60, false, site_text_of, by_site, NULL},
	{0},
};
