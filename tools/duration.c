/* SPDX-License-Identifier: MIT */
#include "duration.h"

#include <errno.h>
#include <stdbool.h>
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

/* The unit at *text, which is moved behind it. 0: none of ours. */
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

/* Of a locale's decimal point nothing is known here: always a dot. */
static bool take_number(const char **text, long double *ret_number)
{
	long double number = 0, digit = 1;
	unsigned digits = 0;

	for (; **text >= '0' && **text <= '9'; ++*text, digits++)
		number = number * 10 + (**text - '0');
	if (**text == '.')
		for (++*text; **text >= '0' && **text <= '9'; ++*text, digits++)
			number += (digit /= 10) * (**text - '0');
	*ret_number = number;
	return digits > 0;
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	long double sum = 0, number;
	uint64_t last = UINT64_MAX;

	if (!*text)
		return -EINVAL;
	while (*text) {
		if (!take_number(&text, &number))
			return -EINVAL;
		/* Seconds without a unit, but not amid others. */
		uint64_t unit = !*text && last == UINT64_MAX ? 1000000000 : take_unit(&text);
		if (!unit || unit >= last)
			return -EINVAL;
		last = unit;
		sum += number * (long double)unit;
		if (sum > (long double)DURATION_MAX_NS)
			return -ERANGE;
	}
	*ret_ns = sum > 0 && sum < 1 ? 1 : (uint64_t)sum;
	return 0;
}
