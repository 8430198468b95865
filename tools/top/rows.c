/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t ctx_id_of(const struct reader_context *context)
{
	return (uint64_t)context->record.generation << 32 | context->slot;
}

struct top_place top_place_of(const struct process *process, const struct reader_context *context)
{
	return (struct top_place){process->inode, ctx_id_of(context)};
}

bool top_is_same_place(struct top_place a, struct top_place b)
{
	return a.table == b.table && a.ctx_id == b.ctx_id;
}

static uint64_t time_since(const struct process *process, uint64_t since_ns)
{
	return process->now_ns > since_ns ? process->now_ns - since_ns : 0;
}

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

/* ---- folds */

static int compare_places(const void *left, const void *right)
{
	const struct top_place *a = left, *b = right;

	if (a->table != b->table)
		return a->table < b->table ? -1 : 1;
	return a->ctx_id < b->ctx_id ? -1 : a->ctx_id > b->ctx_id;
}

static struct top_place *find_fold(const struct top_folds *folds, struct top_place place)
{
	if (!folds->count)
		return NULL;
	return bsearch(&place, folds->places, folds->count, sizeof(place), compare_places);
}

bool top_is_folded(const struct top_folds *folds, struct top_place place)
{
	return find_fold(folds, place) != NULL;
}

int top_fold(struct top_folds *folds, struct top_place place)
{
	struct top_place *found = find_fold(folds, place);

	if (found) {
		*found = folds->places[--folds->count];
	} else {
		if (folds->count == folds->room) {
			size_t room = folds->room ? folds->room * 2 : 64;
			struct top_place *larger = realloc(folds->places, room * sizeof(*larger));

			if (!larger)
				return -ENOMEM;
			folds->places = larger;
			folds->room = room;
		}
		folds->places[folds->count++] = place;
	}
	if (folds->count)
		qsort(folds->places, folds->count, sizeof(place), compare_places);
	return 0;
}

/* ---- rows */

static int make_room(struct top_rows *rows, size_t count)
{
	struct top_row *larger;

	rows->count = 0;
	if (count < rows->room)
		return 0;
	larger = realloc(rows->rows, (count + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	rows->rows = larger;
	rows->room = count + 1;
	return 0;
}

static size_t count_contexts(const struct survey *survey)
{
	size_t total = 0;

	for (size_t i = 0; i < survey->process_count; i++)
		total += survey->processes[i].snapshot.context_count;
	return total;
}

static bool is_wanted(const struct top_filter *filter, struct process *process,
		      const struct reader_context *context)
{
	/* What is beside is left out by the selection of the command. */
	return !context->beside && (!filter->data || filter->matches(process, context, filter->data));
}

static struct top_row make_row(struct process *process, const struct reader_context *context)
{
	const struct reader_operation *oldest = top_oldest(process, context);

	return (struct top_row){.process = process,
				.context = context,
				.oldest = oldest,
				.waiting_ns = oldest ? time_since(process, oldest->record.since_ns) : 0,
				.operations = context->operation_count};
}

int top_list(struct survey *survey, const struct top_filter *filter, struct top_rows *rows)
{
	int result = make_room(rows, count_contexts(survey));

	for (size_t i = 0; i < survey->process_count && !result; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context = &process->snapshot.contexts[j];

			if (is_wanted(filter, process, context))
				rows->rows[rows->count++] = make_row(process, context);
		}
	}
	return result;
}

/* Sets for each context whether it or one below it is wanted. */
static void mark_wanted(struct process *process, const struct top_filter *filter, bool *wanted)
{
	const struct snapshot *snapshot = &process->snapshot;

	memset(wanted, 0, snapshot->context_count);
	/* Backwards, children come before their parents. */
	for (uint32_t i = snapshot->context_count; i-- > 0;) {
		uint32_t at = snapshot->preorder[i];
		const struct reader_context *context = &snapshot->contexts[at];

		wanted[at] = wanted[at] || is_wanted(filter, process, context);
		if (wanted[at] && context->parent != READER_NONE)
			wanted[context->parent] = true;
	}
}

static void hide_below(struct top_row *folded, const struct top_row *hidden)
{
	folded->hidden++;
	folded->operations += hidden->operations;
	if (!hidden->oldest || (folded->oldest && hidden->waiting_ns <= folded->waiting_ns))
		return;
	folded->oldest = hidden->oldest;
	folded->waiting_ns = hidden->waiting_ns;
}

static void add_tree(struct process *process, const struct top_folds *folds, const bool *wanted,
		     struct top_rows *rows)
{
	const struct snapshot *snapshot = &process->snapshot;
	uint32_t folded_depth = UINT32_MAX; /* that of the last row, if it is folded */

	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		uint32_t at = snapshot->preorder[i];
		const struct reader_context *context = &snapshot->contexts[at];
		struct top_row row;

		if (!wanted[at])
			continue;
		row = make_row(process, context);
		if (context->depth > folded_depth) {
			hide_below(&rows->rows[rows->count - 1], &row);
			continue;
		}
		folded_depth =
			top_is_folded(folds, top_place_of(process, context)) ? context->depth : UINT32_MAX;
		rows->rows[rows->count++] = row;
	}
}

int top_tree(struct survey *survey, const struct top_filter *filter, const struct top_folds *folds,
	     struct top_rows *rows)
{
	size_t total = count_contexts(survey);
	bool *wanted = malloc(total + 1);
	int result = wanted ? make_room(rows, total) : -ENOMEM;

	for (size_t i = 0; i < survey->process_count && !result; i++) {
		mark_wanted(&survey->processes[i], filter, wanted);
		add_tree(&survey->processes[i], folds, wanted, rows);
	}
	free(wanted);
	return result;
}

int top_group_rows(const struct top_groups *groups, struct top_rows *rows)
{
	int result = make_room(rows, groups->count);

	for (size_t i = 0; i < groups->count && !result; i++) {
		const struct top_group *group = &groups->groups[i];

		rows->rows[rows->count++] = (struct top_row){
			.process = group->process ? group->process : group->oldest_process,
			.group = group,
			.oldest = group->oldest,
			.waiting_ns = group->waiting_ns,
			.operations =
				group->operations > UINT32_MAX ? UINT32_MAX : (uint32_t)group->operations};
	}
	return result;
}

/* ---- keys: the smaller one is further up */

static bool is_live(const struct top_row *row)
{
	return !row->context || row->context->record.state & CTX_TABLE_LIVE;
}

/* The first bytes of a text, so that keys compare as strcmp(3) does. */
static uint64_t text_key(const char *text)
{
	uint64_t key = 0;

	for (unsigned i = 0; i < sizeof(key); i++) {
		key = key << 8 | (unsigned char)*text;
		text += *text != '\0';
	}
	return key;
}

/* Rates are compared as thousandths. */
static uint64_t rate_key(double rate)
{
	return rate < 1e15 ? (uint64_t)(rate * 1000) : UINT64_MAX / 2;
}

/* The time at which the deadline ends the context; UINT64_MAX for one that is done. */
static uint64_t end_ns(const struct top_row *row)
{
	return is_live(row) ? row->context->record.deadline_ns : UINT64_MAX;
}

/* Returns the number of a column whose greatest number is further up. */
static uint64_t number_of(const struct top_row *row, enum top_column column)
{
	const struct top_group *group = row->group;

	switch (column) {
	case TOP_AGE:
		return time_since(row->process, row->context->record.created_ns);
	case TOP_LIVE:
		return group->live;
	case TOP_OPS:
		return group ? group->operations : row->operations;
	case TOP_STUCK:
		return group->stuck;
	case TOP_BEGUN:
		return rate_key(group->begun);
	case TOP_ENDED:
		return rate_key(group->ended);
	case TOP_CANCELLED:
		return rate_key(group->cancelled);
	case TOP_EXPIRED:
		return rate_key(group->expired);
	case TOP_P50:
		return group->p50_ns;
	case TOP_P99:
		return group->p99_ns;
	default:
		return row->waiting_ns;
	}
}

/* The text of a column that is sorted as strcmp(3) does; NULL: of another one. */
static const char *text_of(const struct top_row *row, enum top_column column)
{
	switch (column) {
	case TOP_LABEL:
		return row->context->record.label;
	case TOP_LABEL_STEM:
		return row->group->name;
	case TOP_PROCESS:
		return row->process->name;
	default:
		return NULL;
	}
}

static uint64_t key_of(const struct top_row *row, enum top_column column)
{
	const char *text = text_of(row, column);

	if (text)
		return text_key(text);
	switch (column) {
	case TOP_ID:
		return (uint64_t)row->process->pid << 32 | row->context->slot;
	case TOP_PID:
		return (uint64_t)row->process->pid;
	case TOP_USER:
		return row->group ? row->group->uid : row->process->uid;
	case TOP_STATE:
		return is_live(row) ? 0 : row->context->record.state & CTX_TABLE_ERRNO;
	case TOP_LEFT:
		return end_ns(row);
	default:
		return UINT64_MAX - number_of(row, column);
	}
}

/* ---- order */

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Decides between rows that the order leaves equal, so that they stay in place from one round to the next. */
static int compare_equals(enum top_column column, const struct top_row *a, const struct top_row *b)
{
	if (column == TOP_OPS && a->waiting_ns != b->waiting_ns)
		return compare_numbers(b->waiting_ns, a->waiting_ns);
	if (!a->context)
		return strcmp(a->group->name, b->group->name);
	if (is_live(a) != is_live(b))
		return is_live(a) ? -1 : 1;
	if (a->context->record.created_ns != b->context->record.created_ns)
		return compare_numbers(a->context->record.created_ns, b->context->record.created_ns);
	if (a->process->pid != b->process->pid)
		return a->process->pid < b->process->pid ? -1 : 1;
	return compare_numbers(a->context->slot, b->context->slot);
}

static int compare_rows(const void *left, const void *right, void *data)
{
	const struct top_row *a = left, *b = right;
	const struct top_order *order = data;
	int result = compare_numbers(a->key, b->key);

	if (!result) {
		const char *text = text_of(a, order->column);

		result = text ? strcmp(text, text_of(b, order->column)) : 0;
	}
	if (!result)
		return compare_equals(order->column, a, b);
	return order->reverse ? -result : result;
}

static void swap_rows(struct top_row *a, struct top_row *b)
{
	struct top_row saved = *a;

	*a = *b;
	*b = saved;
}

/* A generator that a process whose table is read cannot foresee: it could make the search below slow. */
static size_t random_below(size_t limit)
{
	static uint64_t state;

	if (!state && getrandom(&state, sizeof(state), GRND_NONBLOCK) != sizeof(state))
		state = 1;
	state |= !state;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t)(state % limit);
}

/* Divides the rows from low to high by one of them. Returns where that one is then: it is in its place. */
static size_t divide(struct top_row *rows, size_t low, size_t high, struct top_order *order)
{
	size_t at = low;

	swap_rows(&rows[low + random_below(high - low)], &rows[high - 1]);
	for (size_t i = low; i < high - 1; i++)
		if (compare_rows(&rows[i], &rows[high - 1], order) < 0)
			swap_rows(&rows[at++], &rows[i]);
	swap_rows(&rows[at], &rows[high - 1]);
	return at;
}

/* Of the rows from low to high, brings those that belong before `place` there. */
static void part_at(struct top_row *rows, size_t low, size_t high, size_t place, struct top_order *order)
{
	while (low < place && place < high) {
		size_t at = divide(rows, low, high, order);

		if (at < place)
			low = at + 1;
		else
			high = at;
	}
}

void top_set_keys(struct top_rows *rows, struct top_order order)
{
	for (size_t i = 0; i < rows->count; i++)
		rows->rows[i].key = key_of(&rows->rows[i], order.column);
}

void top_sort(struct top_rows *rows, struct top_order order, size_t first, size_t count)
{
	if (first >= rows->count)
		return;
	if (count > rows->count - first)
		count = rows->count - first;
	part_at(rows->rows, 0, rows->count, first, &order);
	part_at(rows->rows, first, rows->count, first + count, &order);
	qsort_r(&rows->rows[first], count, sizeof(*rows->rows), compare_rows, &order);
}

size_t top_rank(const struct top_rows *rows, struct top_order order, const struct top_row *row)
{
	size_t rank = 0;

	for (size_t i = 0; i < rows->count; i++)
		rank += compare_rows(&rows->rows[i], row, &order) < 0;
	return rank;
}

size_t top_find_context(const struct top_rows *rows, struct top_place place)
{
	for (size_t i = 0; i < rows->count; i++) {
		const struct top_row *row = &rows->rows[i];

		if (row->context && row->process->inode == place.table &&
		    ctx_id_of(row->context) == place.ctx_id)
			return i;
	}
	return SIZE_MAX;
}

size_t top_find_group(const struct top_rows *rows, const char *name)
{
	for (size_t i = 0; i < rows->count; i++)
		if (rows->rows[i].group && strcmp(rows->rows[i].group->name, name) == 0)
			return i;
	return SIZE_MAX;
}
