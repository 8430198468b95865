/* SPDX-License-Identifier: MIT */
/* A context and its ancestors as one line of text; and a cause as one. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "debug.h"
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

static int text_result(const struct text *text)
{
	return text->length > INT32_MAX ? INT32_MAX : (int)text->length;
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
		return debug_invalid("buffer is NULL and size is not 0", ctx);
	if (size)
		buffer[0] = '\0';
	uint64_t now_ns = clock_now_ns();
	for (; ctx; ctx = ctx->parent) {
		add_node(&text, ctx, now_ns);
		if (ctx->parent)
			text_add(&text, " < ");
	}
	return text_result(&text);
}

/* ---- causes */

const char *ctx_cause_kind_name(enum ctx_cause_kind kind)
{
	switch (kind) {
	case CTX_CAUSE_NONE:
		return "none";
	case CTX_CAUSE_CALL:
		return "call";
	case CTX_CAUSE_DEADLINE:
		return "deadline";
	case CTX_CAUSE_SIGNAL:
		return "signal";
	case CTX_CAUSE_HANGUP:
		return "hangup";
	case CTX_CAUSE_PROCESS:
		return "process";
	case CTX_CAUSE_PRESSURE:
		return "pressure";
	case CTX_CAUSE_OWNER:
		return "owner";
	case CTX_CAUSE_SERVICE:
		return "service";
	case CTX_CAUSE_FD:
		return "fd";
	case CTX_CAUSE_HOST:
		return "host";
	case CTX_CAUSE_UNREACHABLE:
		return "unreachable";
	}
	return "unknown";
}

static void add_signal(struct text *text, int signo)
{
	const char *name = sigabbrev_np(signo);

	if (name)
		text_add(text, "SIG%s", name);
	else
		text_add(text, "%d", signo);
}

static void add_events(struct text *text, int events)
{
	static const struct {
		int event;
		const char *name;
	} names[] = {
		{POLLIN, "POLLIN"},	    {POLLPRI, "POLLPRI"},	{POLLOUT, "POLLOUT"},
		{POLLRDNORM, "POLLRDNORM"}, {POLLRDBAND, "POLLRDBAND"}, {POLLWRNORM, "POLLWRNORM"},
		{POLLWRBAND, "POLLWRBAND"}, {POLLERR, "POLLERR"},	{POLLHUP, "POLLHUP"},
		{POLLRDHUP, "POLLRDHUP"},   {POLLNVAL, "POLLNVAL"},
	};
	const char *separator = " (";

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (events & names[i].event) {
			text_add(text, "%s%s", separator, names[i].name);
			separator = "|";
			events &= ~names[i].event;
		}
	if (events)
		text_add(text, "%s%#x", separator, (unsigned)events);
	if (events || *separator == '|')
		text_add(text, ")");
}

/* A cause of another process names it. */
static void add_caller(struct text *text, const struct ctx_cause *cause)
{
	if (cause->tid > 0)
		text_add(text, " in thread %d", (int)cause->tid);
	if (cause->pid > 0 && (*cause->host || cause->pid != getpid()))
		text_add(text, " %s process %d", cause->tid > 0 ? "of" : "in", (int)cause->pid);
	if (cause->site)
		text_add(text, " at %p", cause->site);
}

static void add_exit(struct text *text, int status)
{
	if (status == -1)
		text_add(text, "the process ended");
	else if (WIFSIGNALED(status)) {
		text_add(text, "the process was killed by ");
		add_signal(text, WTERMSIG(status));
	} else
		text_add(text, "the process ended with exit code %d", WEXITSTATUS(status));
}

/* Adds "the owner process 12" or "somebody in process 12", as far as the process is known. */
static void add_who(struct text *text, const char *who, const char *process, pid_t pid)
{
	text_add(text, "%s", who);
	if (pid > 0)
		text_add(text, " %s %d", process, (int)pid);
}

static const char *resource_name(int resource)
{
	return resource == CTX_RESOURCE_MEMORY ? "memory"
	       : resource == CTX_RESOURCE_CPU  ? "CPU"
	       : resource == CTX_RESOURCE_IO   ? "I/O"
					       : "unknown";
}

/* Adds at most size bytes of words, up to their NUL; "?" stands for each control character. */
static void add_words(struct text *text, const char *words, size_t size)
{
	for (size_t i = 0; i < size && words[i]; i++)
		text_add(text, "%c", (unsigned char)words[i] < ' ' || words[i] == 0x7f ? '?' : words[i]);
}

static void add_host(struct text *text, const char *before, const char *host)
{
	text_add(text, *host ? "%s " : "%s", before);
	add_words(text, host, CTX_HOST_MAX);
}

static void add_kind(struct text *text, const struct ctx_cause *cause)
{
	switch (cause->kind) {
	case CTX_CAUSE_NONE:
		text_add(text, "it is not done");
		break;
	case CTX_CAUSE_CALL:
		text_add(text, "cancelled by a call");
		add_caller(text, cause);
		break;
	case CTX_CAUSE_DEADLINE:
		text_add(text, "its deadline passed");
		break;
	case CTX_CAUSE_SIGNAL:
		text_add(text, "signal ");
		add_signal(text, cause->code);
		break;
	case CTX_CAUSE_HANGUP:
		text_add(text, "the peer hung up");
		add_events(text, cause->code);
		break;
	case CTX_CAUSE_PROCESS:
		add_exit(text, cause->code);
		break;
	case CTX_CAUSE_PRESSURE:
		text_add(text, "%s pressure", resource_name(cause->code));
		break;
	case CTX_CAUSE_OWNER:
		add_who(text, "the owner", "process", cause->pid);
		text_add(text, " is gone, or released it");
		break;
	case CTX_CAUSE_SERVICE:
		text_add(text, "cancelled through the service");
		add_who(text, "", "by process", cause->pid);
		break;
	case CTX_CAUSE_FD:
		text_add(text, "the descriptor became ready");
		add_events(text, cause->code);
		break;
	case CTX_CAUSE_HOST:
		add_host(text, "its host", cause->host);
		text_add(text, " is gone, or has forgotten it");
		break;
	case CTX_CAUSE_UNREACHABLE:
		add_host(text, "its host", cause->host);
		text_add(text, " could not be asked");
		break;
	default:
		text_add(text, "a cause of the unknown kind %d", (int)cause->kind);
	}
}

/* Adds an error that says more than that the context has ended. */
static void add_error(struct text *text, int error)
{
	const char *name = error < 0 && error >= -4095 ? strerrorname_np(-error) : NULL;

	if (!error || error == -ECANCELED || error == -ETIME)
		return;
	if (name)
		text_add(text, ", %s", name);
	else
		text_add(text, ", error %d", error);
}

int ctx_format_cause(const struct ctx_cause *cause, char *buffer, size_t size)
{
	struct text text = {.buffer = buffer, .size = size};

	if (!cause || (!buffer && size))
		return debug_invalid("buffer is NULL and size is not 0", cause);
	if (size)
		buffer[0] = '\0';
	if (cause->inherited && cause->ctx_id)
		text_add(&text, "inherited from %u.%u: ", (unsigned)cause->ctx_id,
			 (unsigned)(cause->ctx_id >> 32));
	else if (cause->inherited)
		text_add(&text, "inherited: ");
	add_kind(&text, cause);
	if (*cause->host && cause->kind != CTX_CAUSE_HOST && cause->kind != CTX_CAUSE_UNREACHABLE)
		add_host(&text, " on host", cause->host);
	add_error(&text, cause->error);
	if (*cause->text) {
		text_add(&text, ": ");
		add_words(&text, cause->text, sizeof(cause->text));
	}
	return text_result(&text);
}
