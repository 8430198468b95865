/* SPDX-License-Identifier: MIT */
#include "spawn_environment.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "context.h"
#include "memory.h"
#include "sys.h"

#define VARIABLE "CTXRING_CONTEXT="
/* "v=1;id=..;label=..;left=..;at=..;boot=..": five numbers, and a label of which each byte may take three. */
#define VARIABLE_MAX (sizeof(VARIABLE) + 160 + 3 * CTX_LABEL_MAX)
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

/* ---- the variable */

struct text {
	char *at, *end;
};

static __attribute__((format(printf, 2, 3))) void append(struct text *text, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text->at, (size_t)(text->end - text->at), format, arguments);
	va_end(arguments);
	if (length > 0)
		text->at += length < text->end - text->at ? length : text->end - text->at - 1;
}

static void append_label(struct text *text, const char *label)
{
	for (; *label; label++) {
		bool plain = (*label >= 'a' && *label <= 'z') || (*label >= 'A' && *label <= 'Z') ||
			     (*label >= '0' && *label <= '9') || strchr("-._~", *label);
		append(text, plain ? "%c" : "%%%02X", (unsigned char)*label);
	}
}

/* The first 16 digits of the boot id: the point in time means nothing after another boot. */
static void append_boot(struct text *text)
{
	char id[40];
	int fd = sys_openat(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	int size = fd < 0 ? fd : sys_read(fd, id, sizeof(id));
	int digits = 0;

	if (fd >= 0)
		close(fd);
	if (size <= 0)
		return;
	append(text, ";boot=");
	for (int i = 0; i < size && digits < 16; i++)
		if (id[i] != '-') {
			append(text, "%c", id[i]);
			digits++;
		}
}

/* What ctx_inject gives for the environment, without values. */
static void write_variable(const struct ctx_context *ctx, char variable[VARIABLE_MAX])
{
	struct text text = {variable, variable + VARIABLE_MAX};
	uint64_t now_ns = clock_now_ns(), deadline_ns = context_deadline(ctx);
	char label[CTX_LABEL_MAX + 1];

	append(&text, VARIABLE "v=1;id=%016" PRIx64, ctx_id(ctx));
	context_label(ctx, label);
	if (label[0]) {
		append(&text, ";label=");
		append_label(&text, label);
	}
	if (deadline_ns != CTX_FOREVER)
		append(&text, ";left=%" PRIu64, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
	append(&text, ";at=%" PRIu64, now_ns);
	append_boot(&text);
}

/* ---- the environment */

int spawn_environment(const struct ctx_context *ctx, char *const *environment, char ***ret_environment)
{
	char *const *from = environment ? environment : environ;
	size_t count = 0, kept = 0;

	while (from && from[count])
		count++;
	char **all = memory_allocate((count + 2) * sizeof(*all) + VARIABLE_MAX);
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (strncmp(from[i], VARIABLE, strlen(VARIABLE)) != 0)
			all[kept++] = from[i];
	all[kept] = (char *)(all + count + 2);
	write_variable(ctx, all[kept]);
	all[kept + 1] = NULL;
	*ret_environment = all;
	return 0;
}

/* ---- the files */

/* An empty part of $PATH is the current directory. */
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
