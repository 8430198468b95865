/* SPDX-License-Identifier: MIT */
#include "cause.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "node.h"
#include "wire.h"

struct cause_text *cause_text_new(int error, const char *format, va_list arguments)
{
	struct cause_text *text = memory_allocate(sizeof(*text));

	if (!text)
		return NULL;
	memset(text, 0, sizeof(*text));
	text->error = error;
	if (format)
		vsnprintf(text->text, sizeof(text->text), format, arguments);
	return text;
}

/* The parent through which the end of ctx came to it. */
static const struct ctx_context *ending_parent(const struct ctx_context *ctx, uint32_t state)
{
	if (!(state & STATE_MERGED))
		return ctx->parent;
	return atomic_load_explicit(&node_merge(ctx)->from, memory_order_acquire)->node.parent;
}

const struct ctx_context *cause_origin(const struct ctx_context *ctx)
{
	for (;;) {
		uint32_t state = atomic_load_explicit(&ctx->state, memory_order_acquire);
		if (state & STATE_OWN)
			return ctx;
		ctx = ending_parent(ctx, state);
	}
}

#define NEAR 64

enum ctx_cause_kind cause_kind_near(const struct ctx_context *ctx)
{
	for (unsigned i = 0; i < NEAR; i++) {
		uint32_t state = atomic_load_explicit(&ctx->state, memory_order_acquire);
		if (state & STATE_OWN)
			return (enum ctx_cause_kind)ctx->cause_kind;
		ctx = ending_parent(ctx, state);
	}
	return CTX_CAUSE_NONE;
}

/* A forked child inherits contexts that its parent ended: a cause from before the fork names the parent's
 * pid. */
static pid_t pid_before_fork;
static uint64_t forked_ns;

pid_t cause_pid_before_fork(void)
{
	return pid_before_fork;
}

static pid_t pid_forking; /* of the process that is just forking */

static void before_fork(void)
{
	pid_forking = getpid();
}

static void enter_child(void)
{
	pid_before_fork = pid_forking;
	forked_ns = clock_coarse_ns();
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(before_fork, NULL, enter_child);
}

/* Fills in what another process, in which the end began, has said of it. */
static void fill_foreign(const struct cause_text *text, struct ctx_cause *ret_cause)
{
	ret_cause->inherited = true;
	ret_cause->error = text->error;
	ret_cause->pid = text->pid;
	ret_cause->tid = text->tid;
	ret_cause->uid = text->uid;
	ret_cause->ctx_id = text->ctx_id;
	ret_cause->time_ns = text->time_ns;
	ret_cause->site = NULL;
	memcpy(ret_cause->host, text->host, sizeof(ret_cause->host));
}

bool ctx_ended_by(const struct ctx_context *ctx, const struct ctx_context *scope)
{
	return ctx && context_error(ctx) && cause_origin(ctx) == scope;
}

int ctx_get_cause(const struct ctx_context *ctx, struct ctx_cause *ret_cause)
{
	if (!ctx || !ret_cause)
		return debug_invalid(NULL, ctx, ret_cause);
	memset(ret_cause, 0, sizeof(*ret_cause));
	int error = context_error(ctx);
	if (!error)
		return 0;
	const struct ctx_context *origin = cause_origin(ctx);
	pid_t pid = getpid();
	bool from_parent = pid_before_fork > 0 && origin->cause_time_ns < forked_ns;
	*ret_cause = (struct ctx_cause){
		.error = -error,
		.kind = origin->cause_kind,
		.inherited = origin != ctx,
		.ctx_id = ctx_id(origin),
		.time_ns = origin->cause_time_ns,
		.pid = from_parent ? pid_before_fork
		       : pid > 0   ? pid
				   : 0, /* a filter forbids getpid(2) */
		.tid = (pid_t)origin->cause_tid,
		.uid = getuid(),
		.site = origin->cause_site,
	};
	const struct cause_text *text = origin->cause_text;
	if (origin->cause_kind >= CTX_CAUSE_SIGNAL)
		ret_cause->code = origin->cause_code;
	else if (origin->cause_code)
		ret_cause->error = origin->cause_code;
	if (text)
		memcpy(ret_cause->text, text->text, sizeof(ret_cause->text));
	if (text && text->foreign)
		fill_foreign(text, ret_cause);
	return 0;
}

int cause_tell_done(const void *site, const char *function, int error, const struct ctx_context *ctx)
{
	struct ctx_cause cause;
	char text[320];

	ctx_get_cause(ctx, &cause);
	ctx_format_cause(&cause, text, sizeof(text));
	return debug_tell(site, function, error, "the context is done: %s", text);
}

size_t cause_last_words(const struct ctx_context *ctx, uint8_t *bytes)
{
	struct ctx_cause cause;
	struct wire_cause words;

	if (ctx_get_cause(ctx, &cause))
		return 0;
	wire_cause_from(&cause, ctx_err(ctx), &words);
	return wire_pack_last_words(&words, bytes);
}
