/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counts.h"
#include "facts.h"
#include "theme.h"
#include "usage.h"

/* Returns the tab for a value of --by, TOP_TABS for another text. */
static enum top_tab tab_by(const char *by)
{
	static const char *const names[TOP_TABS] = {"context", "process", "label", "user"};
	int tab = TOP_CONTEXTS;

	while (by && tab < TOP_TABS && strcmp(by, names[tab]) != 0)
		tab++;
	return (enum top_tab)tab;
}

int top_check(const struct view_options *options)
{
	enum top_theme theme;

	if (options->theme && top_theme_parse(options->theme, &theme)) {
		complain_of_usage("ctxtool top", "no theme: give dark, light or mono", options->theme);
		return EXIT_USAGE;
	}
	if (tab_by(options->by) < TOP_TABS)
		return -1;
	complain_of_usage("ctxtool top", "nothing to sum up by: give process, label or user", options->by);
	return EXIT_USAGE;
}

void top_model_begin(struct top_model *model, const struct view_options *options)
{
	*model = (struct top_model){.options = options, .tab = tab_by(options->by)};
	for (int i = 0; i < TOP_TABS; i++)
		model->orders[i].column = top_first_order((enum top_tab)i);
}

int top_look(struct top_model *model, uint64_t now_ns)
{
	/* What the operands select is the first filter, which can be taken away. */
	struct view_options unfiltered = *model->options;
	struct survey survey;
	int result = view_survey(model->options, &survey);

	if (result)
		return result;
	unfiltered.selection = NULL;
	view_select(&unfiltered, false, &survey);
	return top_take(model, &survey, now_ns);
}

void top_model_free(struct top_model *model)
{
	survey_free(&model->survey);
	top_rates_free(&model->rates);
	top_groups_free(&model->groups);
	selection_free(model->selection);
	free(model->rows.rows);
	free(model->folds.places);
	*model = (struct top_model){0};
}

enum top_tab top_line(const struct top_model *model)
{
	return model->tab == TOP_CONTEXTS && model->tree ? TOP_TREES : model->tab;
}

const struct top_order *top_order_of(const struct top_model *model)
{
	return top_line(model) == TOP_TREES ? NULL : &model->orders[model->tab];
}

struct top_sums top_sum(const struct top_model *model)
{
	const struct survey *survey = &model->survey;
	struct top_sums sums = {.processes = survey->process_count,
				.unread = survey->unreadable_count + survey->strangers};

	for (size_t i = 0; i < survey->process_count; i++) {
		const struct snapshot *snapshot = &survey->processes[i].snapshot;

		sums.rings += snapshot->ring_count;
		sums.contexts += snapshot->selected_count;
		sums.live += snapshot->live_count;
		sums.operations += snapshot->operation_count;
	}
	return sums;
}

/* ---- rows */

static bool matches(struct process *process, const struct reader_context *context, void *data)
{
	return selection_matches_context(data, process, context);
}

static enum top_group_by group_by(enum top_tab tab)
{
	return tab == TOP_PROCESSES ? TOP_BY_PROCESS : tab == TOP_LABELS ? TOP_BY_LABEL : TOP_BY_USER;
}

/* Adds the contexts of all rows to their groups, and makes rows of the groups. */
static int group_rows(struct top_model *model)
{
	enum top_group_by by = group_by(model->tab);
	int result = top_groups_begin(&model->groups, &model->survey, by);

	for (size_t i = 0; i < model->rows.count && !result; i++) {
		const struct top_row *row = &model->rows.rows[i];
		char stem[CTX_TABLE_LABEL_SIZE] = "";

		if (by == TOP_BY_LABEL)
			top_context_stem(row->process, row->context, stem);
		result = top_groups_add(&model->groups, by, row->process, row->context, stem, row->oldest);
	}
	/* What the filter is about is contexts that are there. */
	if (!result)
		result = top_groups_add_rates(&model->groups, by, &model->rates, !model->selection);
	return result ? result : top_group_rows(&model->groups, &model->rows);
}

int top_fill(struct top_model *model)
{
	struct top_filter filter = {matches, model->selection};
	int result = top_line(model) == TOP_TREES
			     ? top_tree(&model->survey, &filter, &model->folds, &model->rows)
			     : top_list(&model->survey, &filter, &model->rows);

	if (!result && model->tab != TOP_CONTEXTS)
		result = group_rows(model);
	if (result)
		model->rows.count = 0;
	return result;
}

static int read_rates(struct top_model *model, uint64_t now_ns)
{
	struct top_total *totals;
	size_t count;
	int result = top_read_totals(&model->survey, now_ns, &totals, &count);

	if (result)
		return result;
	result = top_rates_take(&model->rates, totals, count, now_ns);
	free(totals);
	model->ended = 0;
	model->has_ended = false;
	for (size_t i = 0; i < model->rates.count; i++) {
		model->has_ended |= model->rates.series[i].has_rates;
		model->ended += model->rates.series[i].ended;
	}
	return result;
}

int top_take(struct top_model *model, struct survey *survey, uint64_t now_ns)
{
	model->rows.count = 0;
	survey_free(&model->survey);
	model->survey = *survey;
	*survey = (struct survey){0};
	int result = read_rates(model, now_ns);
	if (result)
		return result;
	top_spark_add(&model->in_flight, now_ns, (double)top_sum(model).operations);
	if (model->has_ended)
		top_spark_add(&model->ends, now_ns, model->ended);
	return top_fill(model);
}

/* ---- order and bar */

/* Returns the index of what the bar was on, as the rows are now; SIZE_MAX: it is not there. */
static size_t find_chosen(const struct top_model *model)
{
	return model->tab == TOP_CONTEXTS ? top_find_context(&model->rows, model->chosen_place)
					  : top_find_group(&model->rows, model->chosen_group);
}

static void remember_chosen(struct top_model *model)
{
	const struct top_row *row = top_chosen(model);

	if (row && row->context)
		model->chosen_place = top_place_of(row->process, row->context);
	else if (row)
		memcpy(model->chosen_group, row->group->name, sizeof(model->chosen_group));
}

/* Puts the bar on a row that there is, and the rows that are shown so that it is among them. */
static void keep_in_view(struct top_model *model, size_t shown)
{
	size_t count = model->rows.count;

	if (model->chosen >= count)
		model->chosen = count ? count - 1 : 0;
	if (model->chosen < model->first)
		model->first = model->chosen;
	if (shown && model->chosen >= model->first + shown)
		model->first = model->chosen - shown + 1;
	/* Where rows have become fewer, no empty lines are shown while rows are hidden above. */
	if (model->first + shown > count)
		model->first = count > shown ? count - shown : 0;
}

static void arrange_sorted(struct top_model *model, size_t shown, bool follow)
{
	struct top_order order = *top_order_of(model);

	top_set_keys(&model->rows, order);
	if (follow) {
		size_t at = find_chosen(model);
		if (at != SIZE_MAX)
			model->chosen = top_rank(&model->rows, order, &model->rows.rows[at]);
	}
	keep_in_view(model, shown);
	top_sort(&model->rows, order, model->first, shown ? shown : 1);
}

void top_arrange(struct top_model *model, size_t shown)
{
	bool follow = model->chosen > 0 && !model->moved;

	model->moved = false;
	if (top_line(model) == TOP_TREES) {
		size_t at = follow ? find_chosen(model) : SIZE_MAX;

		if (at != SIZE_MAX)
			model->chosen = at;
		keep_in_view(model, shown);
	} else {
		arrange_sorted(model, shown, follow);
	}
	remember_chosen(model);
}

void top_move(struct top_model *model, long by)
{
	long to = (long)model->chosen + by;

	if (to >= (long)model->rows.count)
		to = (long)model->rows.count - 1;
	model->chosen = to < 0 ? 0 : (size_t)to;
	model->moved = true;
}

void top_choose(struct top_model *model, size_t row)
{
	if (row < model->rows.count)
		model->chosen = row;
	model->moved = true;
}

const struct top_row *top_chosen(const struct top_model *model)
{
	return model->chosen < model->rows.count ? &model->rows.rows[model->chosen] : NULL;
}

/* ---- what is shown */

void top_set_tab(struct top_model *model, enum top_tab tab)
{
	model->tab = tab;
	model->first = model->chosen = 0;
	model->moved = true;
	memset(model->needed, 0, sizeof(model->needed));
}

void top_set_order(struct top_model *model, enum top_column column, bool reverse)
{
	model->orders[model->tab] = (struct top_order){column, reverse};
}

int top_set_filter(struct top_model *model, const char *text, struct selection_error *ret_error)
{
	struct selection *selection = NULL;

	*ret_error = (struct selection_error){0};
	if (strlen(text) >= TOP_FILTER_SIZE) {
		snprintf(ret_error->message, sizeof(ret_error->message), "a filter has at most %d characters",
			 TOP_FILTER_SIZE - 1);
		return -EINVAL;
	}
	if (text[strspn(text, " \t")]) {
		int result = selection_parse(text, &selection, ret_error);
		if (result)
			return result;
	}
	selection_free(model->selection);
	model->selection = selection;
	snprintf(model->filter, sizeof(model->filter), "%s", selection ? text : "");
	return 0;
}
