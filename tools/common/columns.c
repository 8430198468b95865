/* SPDX-License-Identifier: MIT */
#include "columns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"

/* ---- choosing */

static const char *column_name(size_t index, void *table)
{
	return ((const struct column *)table)[index].name;
}

static int fail_by_column(const struct column *table, const char *name, char message[TEXT_SIZE])
{
	size_t closest = closest_name(name, column_name, (void *)table);
	char shown[256];
	int length;

	escape(name, shown, sizeof(shown));
	if (closest != SIZE_MAX) {
		snprintf(message, TEXT_SIZE, "there is no column '%s'; did you mean '%s'?", shown,
			 table[closest].name);
		return -EINVAL;
	}
	length = snprintf(message, TEXT_SIZE, "there is no column '%s'; there are ", shown);
	for (const struct column *column = table; column->name && length < TEXT_SIZE; column++)
		length += snprintf(message + length, (size_t)(TEXT_SIZE - length), "%s%s",
				   column == table ? "" : ", ", column->name);
	return -EINVAL;
}

/* Takes the names between commas one by one. descending is NULL where no "-" may stand before a name. */
static int take_names(const struct column *table, const char *names, const struct column **chosen,
		      bool *descending, size_t *ret_count, char message[TEXT_SIZE])
{
	char name[64];

	*ret_count = 0;
	for (;;) {
		size_t length = strcspn(names, ",");
		bool minus = descending && *names == '-';
		const struct column *column = table;

		snprintf(name, sizeof(name), "%.*s", (int)length - minus, names + minus);
		while (column->name && strcmp(column->name, name) != 0)
			column++;
		if (!column->name)
			return fail_by_column(table, name, message);
		if (*ret_count == LAYOUT_COLUMNS_MAX) {
			snprintf(message, TEXT_SIZE, "more than %d columns", LAYOUT_COLUMNS_MAX);
			return -EINVAL;
		}
		if (descending)
			descending[*ret_count] = minus;
		chosen[(*ret_count)++] = column;
		if (!names[length])
			return 0;
		names += length + 1;
	}
}

int layout_choose(struct layout *layout, const struct column *table, const char *defaults,
		  const char *columns, const char *sort, char message[TEXT_SIZE])
{
	int result;

	*layout = (struct layout){.table = table};
	result = take_names(table, columns ? columns : defaults, layout->shown, NULL, &layout->shown_count,
			    message);
	if (!result && sort)
		result = take_names(table, sort, layout->sorted, layout->descending, &layout->sorted_count,
				    message);
	for (size_t i = 0; i < layout->shown_count; i++) {
		const struct column *column = layout->shown[i];
		unsigned heading = (unsigned)strlen(column->heading);

		layout->widths[i] = column->width > heading ? column->width : heading;
	}
	return result;
}

/* ---- printing */

void layout_measure(struct layout *layout, const void *row)
{
	char buffer[TEXT_SIZE];

	/* The last one has no neighbour that could be pushed aside. */
	for (size_t i = 0; i + 1 < layout->shown_count; i++) {
		const struct column *column = layout->shown[i];

		if (layout->widths[i] >= column->width_max)
			continue;
		size_t needed = text_width(column->text(row, buffer));
		if (needed > layout->widths[i])
			layout->widths[i] = needed < column->width_max ? (unsigned)needed : column->width_max;
	}
}

static void print_blanks(size_t count)
{
	static const char blanks[] = "                                        ";

	while (count) {
		size_t part = count < sizeof(blanks) - 1 ? count : sizeof(blanks) - 1;

		fwrite_unlocked(blanks, 1, part, stdout);
		count -= part;
	}
}

static void print_cell(const struct layout *layout, size_t index, const char *text, enum colour of)
{
	const struct column *column = layout->shown[index];
	bool last = index + 1 == layout->shown_count;
	size_t width = last && !column->right ? 0 : text_width(text);
	size_t pad = width < layout->widths[index] && !(last && !column->right)
			     ? layout->widths[index] - width
			     : 0;

	if (index)
		fwrite_unlocked("  ", 1, 2, stdout);
	if (column->right)
		print_blanks(pad);
	if (of != COLOUR_PLAIN)
		fputs_unlocked(colour(of), stdout);
	fputs_unlocked(text, stdout);
	if (of != COLOUR_PLAIN)
		fputs_unlocked(colour(COLOUR_PLAIN), stdout);
	if (!column->right)
		print_blanks(pad);
}

void layout_print_head(const struct layout *layout)
{
	fputs(colour(COLOUR_BOLD), stdout);
	for (size_t i = 0; i < layout->shown_count; i++)
		print_cell(layout, i, layout->shown[i]->heading, COLOUR_PLAIN);
	fputs(colour(COLOUR_PLAIN), stdout);
	putchar('\n');
}

void layout_print(const struct layout *layout, const void *row)
{
	char buffer[TEXT_SIZE];

	for (size_t i = 0; i < layout->shown_count; i++) {
		const struct column *column = layout->shown[i];

		print_cell(layout, i, column->text(row, buffer),
			   column->colour ? column->colour(row) : COLOUR_PLAIN);
	}
	putc_unlocked('\n', stdout);
}

/* ---- sorting */

int order_numbers(uint64_t left, uint64_t right)
{
	return left < right ? -1 : left > right;
}

static int compare_rows(const void *left, const void *right, void *data)
{
	const char *const *a = left, *const *b = right;
	const struct layout *layout = data;

	for (size_t i = 0; i < layout->sorted_count; i++) {
		int result = layout->sorted[i]->compare(*a, *b);

		if (result)
			return layout->descending[i] ? -result : result;
	}
	/* Both are in one array: the one that stood before stays before. */
	return *a < *b ? -1 : *a > *b;
}

int layout_sort(const struct layout *layout, void *rows, size_t count, size_t size)
{
	const char **order;
	char *sorted;

	if (!layout->sorted_count || count < 2)
		return 0;
	order = malloc(count * sizeof(*order));
	sorted = malloc(count * size);
	if (!order || !sorted) {
		free(order);
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++)
		order[i] = (const char *)rows + i * size;
	qsort_r(order, count, sizeof(*order), compare_rows, (void *)layout);
	for (size_t i = 0; i < count; i++)
		memcpy(sorted + i * size, order[i], size);
	memcpy(rows, sorted, count * size);
	free(order);
	free(sorted);
	return 0;
}
