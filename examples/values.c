/* SPDX-License-Identifier: MIT */
/*
 * Values: what belongs to a request and not to the parameters of each function on
 * its way: who asks, and the id under which it is logged. They travel in the
 * context, and the nearest one wins.
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
 * A key is known by its address, so no other part of the program can take its
 * value by accident. The user's name is on the heap: it is freed with the context.
 */
static const struct ctx_key user_key = {.name = "user", .release = free, .format = format_string};
static const struct ctx_key trace_key = {.name = "trace", .format = format_string};

/* Keep keys private and offer functions like this one: they give the type back. */
static const char *value_or(const struct ctx_context *ctx, const struct ctx_key *key, const char *otherwise)
{
	void *value;

	return ctx_value(ctx, key, &value) || !value ? otherwise : value;
}

static void log_line(const struct ctx_context *ctx, const char *text)
{
	printf("[%s] %s: %s\n", value_or(ctx, &trace_key, "-"), value_or(ctx, &user_key, "nobody"), text);
}

/* Far from where the request came in, and it knows whose it is. */
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
	/* Covers the outer user for its callees. The context owns the name from here on. */
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
	/* Values outlast the end: who logs that it ended still knows the request. */
	ctx_cancel(request);
	log_line(ctx, "is cancelled");
	return EXIT_SUCCESS;
}
