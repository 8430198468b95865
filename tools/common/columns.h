/* SPDX-License-Identifier: MIT */
/*
 * Listings of lines with columns, of which the user chooses some, and the order of the lines. A table of
 * columns says what there is; what a row is only its functions know.
 */
#ifndef TOOL_COLUMNS_H
#define TOOL_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "format.h"

#define LAYOUT_COLUMNS_MAX 24

struct column {
	const char *name;    /* in small letters, as in --columns and --sort */
	const char *heading; /* in capitals */
	unsigned width;	     /* at least so many characters */
	/* Above width: texts are measured, and the column gets as wide as the longest one, up to this. */
	unsigned width_max;
	bool right; /* aligned to the right */
	/* Returns the text, escaped; it may write it to buffer. */
	const char *(*text)(const void *row, char buffer[TEXT_SIZE]);
	/* Compares as strcmp(3) does: the order of --sort. */
	int (*compare)(const void *left, const void *right);
	/* May be NULL: plain. */
	enum colour (*colour)(const void *row);
};

/* The columns that are shown, and by which the rows are sorted. */
struct layout {
	const struct column *table; /* all columns; the last one has no name */
	const struct column *shown[LAYOUT_COLUMNS_MAX];
	unsigned widths[LAYOUT_COLUMNS_MAX];
	size_t shown_count;
	const struct column *sorted[LAYOUT_COLUMNS_MAX];
	bool descending[LAYOUT_COLUMNS_MAX];
	size_t sorted_count;
};

/*
 * Chooses columns by their names, with commas between them; and for the order, with a "-" before a name for
 * the opposite one. NULL: the columns of defaults; no order. 0; or -EINVAL, and what is wrong is written to
 * message, with the names that there are.
 */
int layout_choose(struct layout *layout, const struct column *table, const char *defaults,
		  const char *columns, const char *sort, char message[TEXT_SIZE]);

/* Makes the columns as wide as the row needs. To be called for every row before the first one is printed. */
void layout_measure(struct layout *layout, const void *row);

/* Prints the headings, or a row, as one line. The last column is not padded. */
void layout_print_head(const struct layout *layout);
void layout_print(const struct layout *layout, const void *row);

/* Sorts rows of size bytes. Those that are equal keep their order. 0 or -ENOMEM. */
int layout_sort(const struct layout *layout, void *rows, size_t count, size_t size);

/* For tables of columns: the result of strcmp(3) for two numbers. */
int order_numbers(uint64_t left, uint64_t right);

#endif
