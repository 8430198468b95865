/* SPDX-License-Identifier: MIT */
#include "cells.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "names.h"
#include "short.h"
#include "users.h"

/* Deeper contexts are not indented further. */
#define INDENT_MAX 16
#define SOON_NS 1000000000u

const struct top_marks *top_marks(bool unicode)
{
	static const struct top_marks marks[] = {{"v", "^", "+", "-", " "}, {"▼", "▲", "▸", "▾", " "}};

	return &marks[unicode];
}

/* ---- cells of contexts */

/* What is wrong with an operation comes first, because the end of the cell may be cut. */
static void write_operation(const struct top_row *row, char buffer[TEXT_SIZE])
{
	const struct ctx_table_operation *record = &row->oldest->record;
	char name[16], flags[128], fd[ESCAPED_SIZE] = "";

	if (record->fd >= 0 && record->flags & CTX_TABLE_OP_FIXED_FILE)
		snprintf(fd, sizeof(fd), " fixed file %" PRId32, record->fd);
	else if (record->fd >= 0)
		snprintf(fd, sizeof(fd), " fd %" PRId32 " %s", record->fd,
			 descriptor_text(&row->process->descriptors, record->fd));
	size_t length = strlen(fd);
	if (length && fd[length - 1] == ' ')
		fd[length - 1] = '\0';
	format_operation_flags(record->flags & (unsigned)~CTX_TABLE_OP_STUCK, flags);
	snprintf(buffer, TEXT_SIZE, "%s%s%s%s", record->flags & CTX_TABLE_OP_STUCK ? "STUCK " : "",
		 opcode_text(record->opcode, name, sizeof(name)), fd, flags);
}

static void write_tree(const struct top_row *row, const struct top_marks *marks, char buffer[TEXT_SIZE])
{
	const struct reader_context *context = row->context;
	uint32_t depth = context->depth < INDENT_MAX ? context->depth : INDENT_MAX;
	char label[ESCAPED_SIZE], hidden[24] = "";
	const char *mark = row->hidden				 ? marks->folded
			   : context->first_child != READER_NONE ? marks->unfolded
								 : marks->leaf;

	if (row->hidden)
		snprintf(hidden, sizeof(hidden), " (%" PRIu32 " below)", row->hidden);
	snprintf(buffer, TEXT_SIZE, "%*s%s%s%s", (int)depth * 2, "", mark,
		 escape(context->record.label, label, sizeof(label)), hidden);
}

static void write_of_context(const struct top_row *row, enum top_column column, const struct top_marks *marks,
			     char buffer[TEXT_SIZE])
{
	const struct ctx_table_context *record = &row->context->record;
	const struct process *process = row->process;

	switch (column) {
	case TOP_ID:
		format_id(process, row->context, buffer);
		break;
	case TOP_STATE:
		strcpy(buffer, state_name(record->state));
		break;
	case TOP_AGE:
		top_time_text(age_ns(process, record->created_ns), buffer);
		break;
	case TOP_LEFT:
		/* "-" or "due" stay as they are. */
		format_time_left(process, row->context, buffer);
		if (buffer[0] >= '0' && buffer[0] <= '9')
			top_time_text(record->deadline_ns - process->now_ns, buffer);
		break;
	case TOP_LABEL:
		escape(record->label, buffer, TEXT_SIZE);
		break;
	case TOP_TREE:
		write_tree(row, marks, buffer);
		break;
	default:
		break;
	}
}

/* ---- cells of groups */

static void write_rate(const struct top_group *group, double rate, char buffer[TEXT_SIZE])
{
	if (group->is_counted && group->has_rates)
		top_rate_text(rate, buffer);
	else
		strcpy(buffer, "-");
}

static void write_percentile(uint64_t time_ns, char buffer[TEXT_SIZE])
{
	if (time_ns)
		top_time_text(time_ns, buffer);
	else
		strcpy(buffer, "-");
}

static void write_of_group(const struct top_row *row, enum top_column column, char buffer[TEXT_SIZE])
{
	const struct top_group *group = row->group;

	switch (column) {
	case TOP_LABEL_STEM:
		escape(group->name[0] ? group->name : "(none)", buffer, TEXT_SIZE);
		break;
	case TOP_LIVE:
		snprintf(buffer, TEXT_SIZE, "%" PRIu64, group->live);
		break;
	case TOP_STUCK:
		snprintf(buffer, TEXT_SIZE, "%" PRIu64, group->stuck);
		break;
	case TOP_BEGUN:
		write_rate(group, group->begun, buffer);
		break;
	case TOP_ENDED:
		write_rate(group, group->ended, buffer);
		break;
	case TOP_CANCELLED:
		write_rate(group, group->cancelled, buffer);
		break;
	case TOP_EXPIRED:
		write_rate(group, group->expired, buffer);
		break;
	case TOP_P50:
		write_percentile(group->p50_ns, buffer);
		break;
	case TOP_P99:
		write_percentile(group->p99_ns, buffer);
		break;
	default:
		break;
	}
}

/* ---- all cells */

char *top_cell(const struct top_row *row, enum top_column column, const struct top_marks *marks,
	       char buffer[TEXT_SIZE])
{
	buffer[0] = '\0';
	switch (column) {
	case TOP_PID:
		snprintf(buffer, TEXT_SIZE, "%d", (int)row->process->pid);
		break;
	case TOP_PROCESS:
		escape(row->process->name, buffer, TEXT_SIZE);
		break;
	case TOP_USER:
		escape(user_name(row->group ? row->group->uid : row->process->uid), buffer, TEXT_SIZE);
		break;
	case TOP_OPS:
		snprintf(buffer, TEXT_SIZE, "%" PRIu64,
			 row->group ? row->group->operations : row->operations);
		break;
	case TOP_WAIT:
		write_percentile(row->oldest ? row->waiting_ns + !row->waiting_ns : 0, buffer);
		break;
	case TOP_OPERATION:
		if (row->oldest)
			write_operation(row, buffer);
		else if (row->context && !(row->context->record.state & CTX_TABLE_LIVE))
			format_cause(row->process, row->context, false, buffer);
		break;
	default:
		if (row->context)
			write_of_context(row, column, marks, buffer);
		else
			write_of_group(row, column, buffer);
	}
	return buffer;
}

static enum top_style style_of_state(const struct top_row *row)
{
	uint32_t state = row->context->record.state;

	if (state & CTX_TABLE_LIVE)
		return TOP_STYLE_LIVE;
	return strcmp(state_name(state), "expired") == 0 ? TOP_STYLE_EXPIRED : TOP_STYLE_CANCELLED;
}

static bool is_due(const struct top_row *row)
{
	const struct ctx_table_context *record = &row->context->record;

	return record->state & CTX_TABLE_LIVE && record->deadline_ns != UINT64_MAX &&
	       (record->deadline_ns <= row->process->now_ns ||
		record->deadline_ns - row->process->now_ns < SOON_NS);
}

enum top_style top_cell_style(const struct top_row *row, enum top_column column)
{
	unsigned flags = row->oldest ? row->oldest->record.flags : 0;
	bool is_done = row->context && !(row->context->record.state & CTX_TABLE_LIVE);

	if (column == TOP_STATE)
		return style_of_state(row);
	if (column == TOP_LEFT && is_due(row))
		return TOP_STYLE_DUE;
	if (column == TOP_STUCK)
		return row->group->stuck ? TOP_STYLE_STUCK : TOP_STYLE_DIM;
	if ((column == TOP_OPERATION || column == TOP_WAIT) && flags & CTX_TABLE_OP_STUCK)
		return TOP_STYLE_STUCK;
	if ((column == TOP_OPERATION || column == TOP_WAIT) && flags & CTX_TABLE_OP_CANCELLING)
		return TOP_STYLE_CANCELLING;
	return is_done ? style_of_state(row) : TOP_PLAIN;
}

char *top_title(enum top_column column, const struct top_order *order, const struct top_marks *marks,
		char buffer[TOP_TITLE_SIZE])
{
	const struct top_column_spec *spec = top_column_spec(column);
	const char *mark = "";

	if (order && order->column == column)
		mark = spec->descending != order->reverse ? marks->descending : marks->ascending;
	snprintf(buffer, TOP_TITLE_SIZE, "%s%s", spec->title, mark);
	return buffer;
}

void top_measure(const struct top_rows *rows, size_t first, size_t count, enum top_tab tab,
		 const struct top_order *order, const struct top_marks *marks, unsigned needed[TOP_COLUMNS])
{
	char text[TEXT_SIZE];
	size_t columns;
	const enum top_column *shown = top_columns_of(tab, &columns);

	for (size_t i = 0; i < columns; i++) {
		unsigned *width = &needed[shown[i]];
		unsigned title = (unsigned)text_width(top_title(shown[i], order, marks, text));

		*width = title > *width ? title : *width;
		/* What is last takes what is over. */
		for (size_t j = first; j < rows->count && j - first < count && shown[i] != TOP_OPERATION;
		     j++) {
			unsigned wanted =
				(unsigned)text_width(top_cell(&rows->rows[j], shown[i], marks, text));

			*width = wanted > *width ? wanted : *width;
		}
	}
}

size_t top_cut(const char *text, unsigned width, unsigned *ret_width)
{
	size_t bytes = 0, size = strlen(text);
	mbstate_t state = {0};
	unsigned used = 0;

	while (bytes < size) {
		wchar_t character;
		size_t length = mbrtowc(&character, text + bytes, size - bytes, &state);
		int cells = length > size ? 1 : wcwidth(character);

		/* In a locale without UTF-8 each byte is a character. */
		if (length > size) {
			length = 1;
			state = (mbstate_t){0};
		}
		if (used + (unsigned)(cells > 0 ? cells : 0) > width)
			break;
		used += (unsigned)(cells > 0 ? cells : 0);
		bytes += length;
	}
	*ret_width = used;
	return bytes;
}
