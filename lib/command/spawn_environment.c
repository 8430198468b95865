/* SPDX-License-Identifier: MIT */
#include "spawn_environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "memory.h"

#define VARIABLE "CTXRING_CONTEXT="
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

/* ---- the environment */

/* Receives from ctx_inject the one pair that it gives. */
static int copy_variable(const char *name, const char *value, void *data)
{
	size_t size = strlen(name) + strlen(value) + 2;
	char **ret_variable = data, *variable = memory_allocate(size);

	if (!variable)
		return -ENOMEM;
	snprintf(variable, size, "%s=%s", name, value);
	*ret_variable = variable;
	return 0;
}

static bool is_variable(const char *pair)
{
	return strncmp(pair, VARIABLE, strlen(VARIABLE)) == 0;
}

/* Makes the variable. NULL: the environment that the program gives has one already, perhaps with values. */
static int make_variable(const struct ctx_context *ctx, char *const *environment, char **ret_variable)
{
	*ret_variable = NULL;
	for (; environment && *environment; environment++)
		if (is_variable(*environment))
			return 0;
	return ctx_inject(ctx, CTX_CARRIER_ENVIRONMENT, NULL, 0, copy_variable, ret_variable);
}

int spawn_environment(const struct ctx_context *ctx, char *const *environment, char ***ret_environment)
{
	char *const *from = environment ? environment : environ;
	size_t count = 0, kept = 0;
	char *variable;

	int result = make_variable(ctx, environment, &variable);
	if (result)
		return result;
	while (from && from[count])
		count++;
	size_t size = variable ? strlen(variable) + 1 : 0;
	char **all = memory_allocate((count + 2) * sizeof(*all) + size);
	if (!all) {
		memory_release(variable);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++)
		if (!variable || !is_variable(from[i]))
			all[kept++] = from[i];
	if (variable)
		all[kept++] = memcpy(all + count + 2, variable, size);
	all[kept] = NULL;
	memory_release(variable);
	*ret_environment = all;
	return 0;
}

/* ---- the files */

/* Writes the paths. An empty part of $PATH stands for the current directory. */
static size_t write_paths(const char *search, const char *program, char **paths, char *text)
{
	size_t count = 0;

	for (const char *part = search;; part++) {
		size_t length = strcspn(part, ":");
		paths[count++] = text;
		text += sprintf(text, "%.*s%s%s", (int)length, part, length ? "/" : "", program) + 1;
		part += length;
		if (!*part)
			break;
	}
	return count;
}

int spawn_paths(const char *program, char ***ret_paths)
{
	const char *search = getenv("PATH");
	size_t parts = 1;

	if (!search)
		search = PATH_DEFAULT;
	if (!*program || strchr(program, '/'))
		search = "";
	for (const char *c = search; *c; c++)
		parts += *c == ':';
	size_t text = strlen(search) + parts * (strlen(program) + 2);
	char **paths = memory_allocate((parts + 1) * sizeof(*paths) + text);
	if (!paths)
		return -ENOMEM;
	paths[write_paths(search, program, paths, (char *)(paths + parts + 1))] = NULL;
	*ret_paths = paths;
	return 0;
}

int spawn_script(char *const *argv, char ***ret_script)
{
	static char shell[] = "/bin/sh";
	size_t count = 0;

	while (argv[count])
		count++;
	char **script = memory_allocate((count + 2) * sizeof(*script));
	if (!script)
		return -ENOMEM;
	script[0] = shell;
	/* The arguments after the name, and the NULL. */
	memcpy(script + 2, argv + 1, count * sizeof(*script));
	*ret_script = script;
	return 0;
}
