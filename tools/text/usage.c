/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <getopt.h>
#include <stdio.h>

#include "terminal.h"

void complain_of_usage(const char *program, const char *what, const char *value)
{
	char shown[4 * ESCAPED_SIZE];

	fprintf(stderr, "%s: %s%s%s\nTry '%s --help'.\n", program, what, value ? ": " : "",
		value ? escape(value, shown, sizeof(shown)) : "", program);
}

int next_option(const char *program, int argc, char **argv, const char *letters, const struct option *known)
{
	char one[] = {'-', 0, 0}, shown[4 * ESCAPED_SIZE];

	opterr = 0;
	int before = optind, letter = getopt_long(argc, argv, letters, known, NULL);
	if (letter != '?')
		return letter;
	/* For a letter in a group such as -xy, optind moves on only after the last letter. */
	one[1] = (char)optopt;
	const char *word = optopt && optind == before ? one : argv[optind - 1];
	fprintf(stderr, "%s: there is no such option, or its value is missing: %s\n", program,
		escape(word, shown, sizeof(shown)));
	return letter;
}
