/* SPDX-License-Identifier: MIT */
/* ctx_format(): a context and its ancestors as one line of text. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "node.h"
#include "table.h"
#include "thread.h"

/* Text in a buffer. length counts also what did not fit. */
struct text {
	char *buffer;
	size_t size, length;
};

static void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_add(struct text *text, const char *format, ...)
{
	size_t room = text->length < text->size ? text->size - text->length : 0;
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(room ? text->buffer + text->length : NULL, room, format, arguments);
	va_end(arguments);
	if (length > 0)
		text->length += (size_t)length;
}

static const char *name_of(const struct ctx_context *ctx)
{
	if (ctx->flags & NODE_STATIC)
		return ctx == ctx_todo() ? "todo" : "background";
	if (ctx->flags & NODE_VALUE)
		return "value";
	if (ctx->flags & NODE_DETACHED)
		return "detached";
	if (ctx->flags & NODE_MERGED)
		return "merged";
	if (ctx->flags & NODE_MAY_MOVE)
		return "movable";
	return ctx->flags & NODE_TIMER ? "deadline" : "cancel";
}

static void add_value(struct text *text, const struct value *value)
{
	text_add(text, " %s", value->key->name ? value->key->name : "?");
	if (!value->key->format)
		return;
	text_add(text, "=");
	size_t room = text->length < text->size ? text->size - text->length : 0;
	int state = thread_hold();
	int length = value->key->format(value->value, room ? text->buffer + text->length : NULL, room);
	thread_release(state);
	if (length > 0)
		text->length += (size_t)length;
}

static void add_time_left(struct text *text, uint64_t left_ns)
{
	uint64_t seconds = left_ns / NS_PER_SECOND, milliseconds = left_ns % NS_PER_SECOND / 1000000;

	text_add(text, " (%" PRIu64 ".%03" PRIu64 " s left)", seconds, milliseconds);
}

static void add_node(struct text *text, const struct ctx_context *ctx, uint64_t now_ns)
{
	int error = context_error(ctx);
	uint64_t own_ns = node_own_deadline(ctx);

	text_add(text, "%s", name_of(ctx));
	if (!(ctx->flags & NODE_UNLISTED) && ctx_id(ctx)) {
		const char *label = table_context(ctx->slot)->label;
		if (*label)
			text_add(text, " \"%.*s\"", CTX_LABEL_MAX, label);
	}
	if (ctx->flags & NODE_VALUE)
		add_value(text, node_value(ctx));
	if (error)
		text_add(text, " (%s)", error == ETIME ? "deadline passed" : "cancelled");
	else if (own_ns != CTX_FOREVER)
		add_time_left(text, own_ns > now_ns ? own_ns - now_ns : 0);
}

/* The text goes from ctx to the root, so that it takes one pass and no memory. */
int ctx_format(const struct ctx_context *ctx, char *buffer, size_t size)
{
	struct text text = {.buffer = buffer, .size = size};

	if (!ctx || (!buffer && size))
		return -EINVAL;
	if (size)
		buffer[0] = '\0';
	uint64_t now_ns = clock_now_ns();
	for (; ctx; ctx = ctx->parent) {
		add_node(&text, ctx, now_ns);
		if (ctx->parent)
			text_add(&text, " < ");
	}
	return text.length > INT32_MAX ? INT32_MAX : (int)text.length;
}
