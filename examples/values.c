/* SPDX-License-Identifier: MIT */
/*
 * Values: things that belong to a request and that functions should not have to pass on as parameters, such
 * as the user who asks and the id under which the request is logged. A context carries them. Where two
 * contexts have a value under the same key, the nearest one counts.
 */
#include <ctxring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int format_string(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "%s", (const char *)value);
}

/*
 * The address of a key is its identity, so no other part of the program has the same key by accident. The
 * name of the user is on the heap and is freed with the context.
 */
static const struct ctx_key user_key = {.name = "user", .release = free, .format = format_string};
static const struct ctx_key trace_key = {.name = "trace", .format = format_string};

/* Keys are best kept private, behind functions like this one, which know the type of the value. */
static const char *value_or(const struct ctx_context *ctx, const struct ctx_key *key, const char *otherwise)
{
	void *value;

	return ctx_value(ctx, key, &value) || !value ? otherwise : value;
}

static void log_line(const struct ctx_context *ctx, const char *text)
{
	printf("[%s] %s: %s\n", value_or(ctx, &trace_key, "-"), value_or(ctx, &user_key, "nobody"), text);
}

/* A function far below the one that took the request. It still can log the user and the id. */
static void read_block(const struct ctx_context *ctx)
{
	log_line(ctx, "reads a block");
}

static int read_as_system(const struct ctx_context *ctx)
{
	CTX_AUTO_UNREF const struct ctx_context *system = NULL;
	char *name = strdup("system");
	int error;

	if (!name)
		return -1;
	/* Below this context the user is "system". On success the context owns the name. */
	error = ctx_with_value(ctx, &user_key, name, NULL, &system);
	if (error) {
		free(name);
		return error;
	}
	read_block(system);
	return 0;
}

static int serve(const struct ctx_context *ctx)
{
	char line[512];

	read_block(ctx);
	if (read_as_system(ctx))
		return -1;
	log_line(ctx, "is done");
	ctx_format(ctx, line, sizeof(line));
	printf("%s\n", line);
	return 0;
}

int main(void)
{
	CTX_AUTO_UNREF const struct ctx_context *traced = NULL, *ctx = NULL;
	CTX_AUTO_FINISH struct ctx_context *request = NULL;
	static char trace[] = "7f3a";
	char *name = strdup("ada");

	log_line(ctx_background(), "starts");
	if (!name || ctx_with_cancel(ctx_background(), "request", &request) ||
	    ctx_with_value(request, &trace_key, trace, NULL, &traced) ||
	    ctx_with_value(traced, &user_key, name, NULL, &ctx)) {
		fprintf(stderr, "values: no memory\n");
		return EXIT_FAILURE;
	}
	if (serve(ctx))
		return EXIT_FAILURE;
	/* A context that has ended still has its values, so that its end can be logged. */
	ctx_cancel(request);
	log_line(ctx, "is cancelled");
	return EXIT_SUCCESS;
}
