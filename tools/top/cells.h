/* SPDX-License-Identifier: MIT */
/* The cells of a row of ctxtool top as text, escaped, and how they look. */
#ifndef TOP_CELLS_H
#define TOP_CELLS_H

#include "format.h"
#include "rows.h"
#include "theme.h"

/* Marks of the order and of folds. */
struct top_marks {
	const char *descending, *ascending, *folded, *unfolded, *leaf;
};

/* Returns marks in Unicode, or in ASCII for a terminal or file that may lack it. */
const struct top_marks *top_marks(bool unicode);

/* Writes the text of a cell. Returns buffer. */
char *top_cell(const struct top_row *row, enum top_column column, const struct top_marks *marks,
	       char buffer[TEXT_SIZE]);

/* Returns how a cell looks when its row is not under the bar. */
enum top_style top_cell_style(const struct top_row *row, enum top_column column);

/* Writes the title of a column with the mark of the order, if the rows are sorted by it. Returns buffer. */
#define TOP_TITLE_SIZE 48
char *top_title(enum top_column column, const struct top_order *order, const struct top_marks *marks,
		char buffer[TOP_TITLE_SIZE]);

/* Raises what the columns of that line need to what the rows from first on need, `count` at most. */
void top_measure(const struct top_rows *rows, size_t first, size_t count, enum top_tab tab,
		 const struct top_order *order, const struct top_marks *marks, unsigned needed[TOP_COLUMNS]);

/* Returns how many bytes of text fit into that many cells of the terminal. */
size_t top_cut(const char *text, unsigned width, unsigned *ret_width);

#endif
