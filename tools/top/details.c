/* SPDX-License-Identifier: MIT */
/* What the pane of ctxtool top shows: the help, or what ctxtool show prints of a context or process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "screen.h"

struct help_line {
	enum top_style style;
	const char *text;
};

static const struct help_line keys[] = {
	{TOP_STYLE_TITLE, "Keys"},
	{TOP_PLAIN, "  arrows j k PgUp PgDn Home End   move the bar; scroll an open pane"},
	{TOP_PLAIN, "  1 2 3 4, Tab     contexts; sums by process, by label, by user"},
	{TOP_PLAIN, "  Enter            details; of a label or user: its contexts"},
	{TOP_PLAIN, "  Esc              close the pane; take the filter away"},
	{TOP_PLAIN, "  / f              filter: an expression, or an id or label"},
	{TOP_PLAIN, "  s S              sort by the next column; reverse"},
	{TOP_PLAIN, "  t                trees instead of a list"},
	{TOP_PLAIN, "  space            fold or unfold what is below"},
	{TOP_PLAIN, "  c                cancel the context, after asking"},
	{TOP_PLAIN, "  p                pause"},
	{TOP_PLAIN, "  h ? F1           this help"},
	{TOP_PLAIN, "  q Ctrl-C         close the pane; quit"},
	{TOP_PLAIN,
	 "  mouse            a click chooses a row or a tab, or sorts by a title; the wheel scrolls"},
	{TOP_PLAIN, " "},
	{TOP_STYLE_TITLE, "Filter"},
	{TOP_PLAIN, "  comm=nginx* and left<1s, op=RECV or fd~:5432, not label=\"GET *\", state=stuck"},
	{TOP_PLAIN, "  The language is that of all commands: see SELECTION in ctxtool(1)."},
	{TOP_PLAIN, "  Rates, P50 and P99 are those of all contexts of the label, process or user."},
	{TOP_PLAIN, " "},
	{TOP_STYLE_TITLE, "Colours"},
	{TOP_STYLE_LIVE, "  live"},
	{TOP_STYLE_EXPIRED, "  expired: ended by a deadline"},
	{TOP_STYLE_CANCELLED, "  cancelled: ended by anything else"},
	{TOP_STYLE_DUE, "  the deadline is less than a second away, or has passed"},
	{TOP_STYLE_CANCELLING, "  an operation is being cancelled"},
	{TOP_STYLE_STUCK, "  STUCK: it has not ended in twice the grace of its context"},
	{TOP_PLAIN, "  --theme=dark|light|mono chooses others; NO_COLOR means mono."},
	{TOP_PLAIN, " "},
	{TOP_STYLE_TITLE, "Columns"},
};

static const struct help_line ends[] = {
	{TOP_PLAIN, "  Where the line is short, the least important columns are left out."},
	{TOP_PLAIN,
	 "  Rates are those since the last refresh. P50 and P99 are of the ends of the last minute;"},
	{TOP_PLAIN,
	 "  where nothing ended in it, of all since the process began. \"-\": not known yet, or the"},
	{TOP_PLAIN, "  library of the process does not count."},
	{TOP_PLAIN, " "},
	{TOP_STYLE_TITLE, "Above"},
	{TOP_PLAIN, "  The bars show the last minute: operations in flight, and contexts that ended or were"},
	{TOP_PLAIN, "  freed, per second, in all processes."},
};

static int add_lines(struct top_pane *pane, const struct help_line *lines, size_t count)
{
	int result = 0;

	for (size_t i = 0; i < count && !result; i++)
		result = top_pane_add(pane, lines[i].style, lines[i].text);
	return result;
}

static int add_columns(struct top_pane *pane)
{
	char line[160];
	int result = 0;

	for (int i = 0; i < TOP_COLUMNS && !result; i++) {
		const struct top_column_spec *spec = top_column_spec((enum top_column)i);

		if (i == TOP_TREE)
			continue;
		snprintf(line, sizeof(line), "  %-10s %s", i == TOP_OPERATION ? "OLDEST..." : spec->title,
			 spec->words);
		result = top_pane_add(pane, TOP_PLAIN, line);
	}
	return result;
}

int top_open_help(struct top_screen *screen)
{
	struct top_pane *pane = &screen->pane;

	top_pane_clear(pane);
	pane->first = 0;
	screen->pane_kind = TOP_PANE_HELP;
	int result = add_lines(pane, keys, sizeof(keys) / sizeof(keys[0]));
	if (!result)
		result = add_columns(pane);
	return result ? result : add_lines(pane, ends, sizeof(ends) / sizeof(ends[0]));
}

/* ---- details */

const struct reader_context *top_find_at(struct top_model *model, struct top_place place,
					 struct process **ret_process)
{
	*ret_process = NULL;
	for (size_t i = 0; i < model->survey.process_count; i++) {
		struct process *process = &model->survey.processes[i];

		if (process->inode != place.table)
			continue;
		*ret_process = process;
		for (uint32_t j = 0; j < process->snapshot.context_count; j++)
			if (top_is_same_place(top_place_of(process, &process->snapshot.contexts[j]), place))
				return &process->snapshot.contexts[j];
	}
	return NULL;
}

int top_refresh_details(struct top_screen *screen)
{
	struct process *process;
	const struct reader_context *context;
	char *text = NULL;
	size_t size;
	FILE *to;

	if (screen->pane_kind != TOP_PANE_DETAILS)
		return 0;
	context = top_find_at(&screen->model, screen->details_of, &process);
	screen->is_gone = screen->details_of.ctx_id ? !context : !process;
	if (screen->is_gone)
		return 0;
	to = open_memstream(&text, &size);
	if (!to)
		return -ENOMEM;
	if (context)
		describe_context(to, false, process, context);
	else
		describe_process(to, process);
	int result = fclose(to) ? -ENOMEM : 0;
	if (!result) {
		top_pane_clear(&screen->pane);
		result = top_pane_add(&screen->pane, TOP_PLAIN, text);
	}
	free(text);
	return result;
}

int top_open_details(struct top_screen *screen, const struct top_row *row)
{
	screen->pane_kind = TOP_PANE_DETAILS;
	screen->pane.first = 0;
	screen->details_of = row->context ? top_place_of(row->process, row->context)
					  : (struct top_place){row->process->inode, 0};
	return top_refresh_details(screen);
}

void top_close_pane(struct top_screen *screen)
{
	screen->pane_kind = TOP_PANE_NONE;
	top_pane_clear(&screen->pane);
}
