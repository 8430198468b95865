/* SPDX-License-Identifier: MIT */
#include "pattern.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Returns what follows the first character, which may have several bytes in UTF-8. */
static const char *skip_character(const char *text)
{
	text++;
	while ((*text & 0xc0) == 0x80)
		text++;
	return text;
}

/*
 * After a mismatch the latest "*" takes one byte more, and what follows it is compared again. Earlier ones
 * need not be tried, because what they could take in addition the latest one can take as well.
 */
bool pattern_matches(const char *pattern, const char *text)
{
	const char *star = NULL, *star_text = NULL;

	for (;;) {
		if (*pattern == '*') {
			star = ++pattern;
			star_text = text;
			continue;
		}
		if (!*text && !*pattern)
			return true;
		if (*text && *pattern == '?') {
			pattern++;
			text = skip_character(text);
			continue;
		}
		const char *literal = pattern[0] == '\\' && pattern[1] ? pattern + 1 : pattern;
		if (*text && *literal == *text) {
			pattern = literal + 1;
			text++;
			continue;
		}
		if (!star || !*star_text)
			return false;
		pattern = star;
		text = ++star_text;
	}
}

#define NAME_MAX_COMPARED 24

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

static bool same_letter(char a, char b)
{
	return strncasecmp(&a, &b, 1) == 0;
}

/* Returns how many letters are to be changed, added, removed or exchanged with the next. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned rows[3][NAME_MAX_COMPARED + 1];
	size_t a_length = strlen(a), b_length = strlen(b);

	if (a_length > NAME_MAX_COMPARED || b_length > NAME_MAX_COMPARED)
		return UINT32_MAX;
	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			row[j] = smallest(above[j] + 1, row[j - 1] + 1,
					  above[j - 1] + !same_letter(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
			    same_letter(a[i - 2], b[j - 1]) && second[j - 2] + 1 < row[j])
				row[j] = second[j - 2] + 1;
		}
	}
	return rows[a_length % 3][b_length];
}

size_t closest_name(const char *text, const char *(*name_at)(size_t index, void *data), void *data)
{
	/* A third of the letters may be wrong, and of a short word one. */
	size_t length = strlen(text), found = SIZE_MAX;
	unsigned best = length < 6 ? 2 : (unsigned)length / 3 + 1;
	const char *name;

	for (size_t i = 0; (name = name_at(i, data)); i++) {
		unsigned distance = edit_distance(text, name);

		if (distance < best && distance < length) {
			best = distance;
			found = i;
		}
	}
	return found;
}
