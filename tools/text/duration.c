/* SPDX-License-Identifier: MIT */
#include "duration.h"

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"ns", 1},
	{"us", 1000},
	{"ms", 1000000},
	{"s", 1000000000},
	{"m", 60 * 1000000000ull},
	{"h", 3600 * 1000000000ull},
	{"d", 86400 * 1000000000ull},
};

/* Returns the nanoseconds of the unit at *text, and moves *text behind it. 0: it is no unit. */
static uint64_t take_unit(const char **text)
{
	size_t length = strspn(*text, "nsumhd");

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i].name) == length && strncmp(units[i].name, *text, length) == 0) {
			*text += length;
			return units[i].ns;
		}
	return 0;
}

static const char *read_number(const char *text, locale_t locale, long double *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtold_l(text, &end, locale);
	/* A number too small for a long double becomes 0 with its sign: take the smallest one instead. */
	if (errno == ERANGE && *ret_number == 0)
		*ret_number = __builtin_copysignl(LDBL_MIN, *ret_number);
	return end;
}

/*
 * Reads a number in the user's locale or in that of C, whichever takes more of the text. Moves *text behind
 * it.
 */
static bool take_number(const char **text, long double *ret_number)
{
	locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	locale_t own = newlocale(LC_NUMERIC_MASK, "", (locale_t)0);
	const char *from = *text;
	long double number;

	*ret_number = 0;
	if (plain) {
		*text = read_number(from, plain, ret_number);
		freelocale(plain);
	}
	if (own) {
		const char *end = read_number(from, own, &number);
		freelocale(own);
		if (end > *text) {
			*text = end;
			*ret_number = number;
		}
	}
	return *text > from;
}

/* Whether a number without sign or blank begins here: only the first one may have these. */
static bool begins_number(const char *text)
{
	return (*text >= '0' && *text <= '9') || *text == '.' || *text == ',';
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	long double sum = 0, number;
	uint64_t last = UINT64_MAX;

	do {
		if ((last != UINT64_MAX && !begins_number(text)) || !take_number(&text, &number))
			return -EINVAL;
		/* A number without a unit is in seconds, when it is the only one. */
		uint64_t unit = !*text && last == UINT64_MAX ? 1000000000 : take_unit(&text);
		if (!unit || unit >= last || !(number >= 0))
			return -EINVAL;
		last = unit;
		sum += number * (long double)unit;
	} while (*text);
	*ret_ns = UINT64_MAX;
	if (sum > (long double)DURATION_MAX_NS)
		return 0;
	*ret_ns = (uint64_t)sum;
	*ret_ns += sum > (long double)*ret_ns;
	return 0;
}
