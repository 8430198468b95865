/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "exit_code.h"
#include "usage.h"

int argument_pid(const char *program, const char *text, pid_t **pids, size_t *count)
{
	unsigned long pid;
	pid_t *larger;

	if (argument_count(text, INT32_MAX, &pid)) {
		complain_of_usage(program, "not the number of a process", text);
		return EXIT_USAGE;
	}
	if (*count && is_pid_wanted((pid_t)pid, *pids, *count))
		return -1;
	larger = reallocarray(*pids, *count + 1, sizeof(*larger));
	if (!larger) {
		fprintf(stderr, "%s: not enough memory\n", program);
		return EXIT_TROUBLE;
	}
	*pids = larger;
	larger[(*count)++] = (pid_t)pid;
	return -1;
}

bool is_pid_wanted(pid_t pid, const pid_t *pids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pids[i] == pid)
			return true;
	return count == 0;
}

int argument_count(const char *text, unsigned long most, unsigned long *ret_count)
{
	char *end;

	errno = 0;
	*ret_count = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || !*ret_count || *ret_count > most)
		return -EINVAL;
	return 0;
}

int argument_selection(const char *program, char *const *operands, int count, unsigned keys,
		       const char *of_what, struct selection **ret_selection, char **ret_text)
{
	struct selection_error error;
	int result;

	*ret_selection = NULL;
	*ret_text = NULL;
	if (!count)
		return -1;
	*ret_text = selection_join(operands, count);
	result = *ret_text ? selection_parse(*ret_text, ret_selection, &error) : -ENOMEM;
	if (!result)
		result = selection_check_keys(*ret_selection, keys, of_what, &error);
	if (!result)
		return -1;
	if (result == -ENOMEM) {
		fprintf(stderr, "%s: not enough memory\n", program);
		return EXIT_TROUBLE;
	}
	selection_complain(program, *ret_text, &error);
	fprintf(stderr, "Try '%s --help'; SELECTION in ctxtool(1) describes the language.\n", program);
	return EXIT_USAGE;
}
