/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "terminal.h"

void complain_of_usage(const char *program, const char *what, const char *value)
{
	char shown[4 * ESCAPED_SIZE];

	fprintf(stderr, "%s: %s%s%s\nTry '%s --help'.\n", program, what, value ? ": " : "",
		value ? escape(value, shown, sizeof(shown)) : "", program);
}

/* Whether a word, up to its "=", is the beginning of the option's name, but not all of it. */
static bool begins(const struct option *option, const char *word)
{
	size_t length = strcspn(word, "=");

	return strncmp(option->name, word, length) == 0 && option->name[length];
}

static unsigned count_beginning(const struct option *known, const char *word)
{
	unsigned count = 0;

	for (; known->name; known++)
		count += begins(known, word);
	return count;
}

static void print_beginning(const struct option *known, const char *word)
{
	for (; known->name; known++)
		if (begins(known, word))
			fprintf(stderr, " --%s", known->name);
	fputc('\n', stderr);
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
	bool is_long = strncmp(word, "--", 2) == 0;
	if (is_long && count_beginning(known, word + 2) > 1) {
		fprintf(stderr, "%s: several options begin with %s:", program,
			escape(word, shown, sizeof(shown)));
		print_beginning(known, word + 2);
	} else {
		fprintf(stderr, "%s: there is no such option, or its value is missing: %s\n", program,
			escape(word, shown, sizeof(shown)));
	}
	return letter;
}
