/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "selection.h"
#include "terminal.h"

/* So much of the expression is shown on each side of the mistake. */
#define SIDE 60

/* Copies a part of the text, from the beginning of a character to that of another one. */
static void copy_part(const char *text, size_t from, size_t to, char *part)
{
	while (from > 0 && (text[from] & 0xc0) == 0x80)
		from--;
	while (to > from && (text[to] & 0xc0) == 0x80)
		to--;
	memcpy(part, text + from, to - from);
	part[to - from] = '\0';
}

void selection_complain(const char *program, const char *text, const struct selection_error *error)
{
	size_t length = strlen(text), at = error->offset < length ? error->offset : length;
	size_t from = at > SIDE ? at - SIDE : 0, to = length - at > SIDE ? at + SIDE : length;
	char part[2 * SIDE + 8], before[4 * sizeof(part)], after[4 * sizeof(part)];

	copy_part(text, from, at, part);
	escape(part, before, sizeof(before));
	copy_part(text, at, to, part);
	escape(part, after, sizeof(after));
	fprintf(stderr, "%s: %s\n  %s%s%s%s\n  %*s^\n", program, error->message, from ? "..." : "", before,
		after, to < length ? "..." : "", (int)(text_width(before) + (from ? 3 : 0)), "");
}
