/* SPDX-License-Identifier: MIT */
#include "pane.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void top_pane_clear(struct top_pane *pane)
{
	for (size_t i = 0; i < pane->count; i++)
		free(pane->lines[i].text);
	pane->count = 0;
}

static int add_line(struct top_pane *pane, enum top_style style, const char *text, size_t bytes)
{
	char *copy;

	if (pane->count == pane->room) {
		size_t room = pane->room ? pane->room * 2 : 64;
		struct top_pane_line *larger = realloc(pane->lines, room * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		pane->lines = larger;
		pane->room = room;
	}
	copy = strndup(text, bytes);
	if (!copy)
		return -ENOMEM;
	pane->lines[pane->count++] = (struct top_pane_line){copy, style};
	return 0;
}

/* Says in the last line how many lines of the text are left out. */
static int add_last_line(struct top_pane *pane, const char *text)
{
	char line[80];
	size_t count = 0;

	for (; *text; count++) {
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	snprintf(line, sizeof(line), "  and %zu more line%s: ctxtool show prints all", count,
		 count == 1 ? "" : "s");
	return add_line(pane, TOP_STYLE_DIM, line, strlen(line));
}

int top_pane_add(struct top_pane *pane, enum top_style style, const char *text)
{
	int result = 0;

	while (*text && !result && pane->count < TOP_PANE_LINES) {
		size_t bytes = strcspn(text, "\n");

		if (pane->count + 1 == TOP_PANE_LINES)
			return add_last_line(pane, text);
		result = add_line(pane, style, text, bytes);
		text += bytes + (text[bytes] == '\n');
	}
	return result;
}

static bool begins_character(char byte)
{
	return ((unsigned char)byte & 0xc0) != 0x80;
}

/* Finds where the row that begins at text ends: at a blank, if it has one behind its first half. */
static size_t row_bytes(const char *text, unsigned width)
{
	size_t bytes = 0, blank = 0;
	unsigned characters = 0;

	for (; text[bytes]; bytes++) {
		if (!begins_character(text[bytes]))
			continue;
		if (characters++ == width)
			break;
		if (text[bytes] == ' ' && characters > width / 2)
			blank = bytes + 1;
	}
	return text[bytes] && blank ? blank : bytes;
}

static unsigned indent_of(unsigned width)
{
	return width > 2 * TOP_PANE_INDENT ? TOP_PANE_INDENT : 0;
}

/* Goes from row to row of all lines. */
struct walk {
	const struct top_pane *pane;
	unsigned width;
	size_t line, at;
};

static bool next_row(struct walk *walk, struct top_pane_row *ret_row)
{
	if (walk->line == walk->pane->count)
		return false;
	const struct top_pane_line *line = &walk->pane->lines[walk->line];
	unsigned indent = walk->at ? indent_of(walk->width) : 0;
	const char *text = line->text + walk->at;
	size_t bytes = row_bytes(text, walk->width > indent ? walk->width - indent : 1);

	*ret_row = (struct top_pane_row){text, bytes, indent, line->style};
	walk->at += bytes;
	if (!line->text[walk->at] || !bytes) {
		walk->line++;
		walk->at = 0;
	}
	return true;
}

size_t top_pane_rows(const struct top_pane *pane, unsigned width)
{
	struct walk walk = {.pane = pane, .width = width};
	struct top_pane_row row;
	size_t count = 0;

	while (next_row(&walk, &row))
		count++;
	return count;
}

void top_pane_get(const struct top_pane *pane, unsigned width, struct top_pane_row *rows, size_t count)
{
	struct walk walk = {.pane = pane, .width = width};
	struct top_pane_row row;
	size_t filled = 0;

	for (size_t at = 0; filled < count && next_row(&walk, &row); at++)
		if (at >= pane->first)
			rows[filled++] = row;
	while (filled < count)
		rows[filled++] = (struct top_pane_row){0};
}

void top_pane_scroll(struct top_pane *pane, unsigned width, size_t height, long by)
{
	size_t rows = top_pane_rows(pane, width);
	long first = (long)pane->first + by, last = rows > height ? (long)(rows - height) : 0;

	pane->first = first < 0 ? 0 : (size_t)(first > last ? last : first);
}

void top_pane_free(struct top_pane *pane)
{
	top_pane_clear(pane);
	free(pane->lines);
	*pane = (struct top_pane){0};
}
