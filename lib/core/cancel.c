/* SPDX-License-Identifier: MIT */
/* The calls that end a context. What they do to its subtree is in sweep.c. */
#include "cancel.h"

#include <stdio.h>
#include <string.h>

#include "cause.h"
#include "memory.h"
#include "sweep.h"
#include "thread.h"

int ctx_cancel(struct ctx_context *ctx)
{
	if (!ctx || !node_can_end(ctx))
		return debug_invalid(NEVER_ENDS, ctx);
	return context_cancel(ctx, __builtin_return_address(0));
}

int ctx_cancel_cause(struct ctx_context *ctx, int error, const char *format, ...)
{
	if (!ctx || !node_can_end(ctx) || error > 0)
		return debug_invalid(error > 0 ? "error is positive: give a negative errno" : NEVER_ENDS,
				     ctx);
	struct end end = {
		.error = ECANCELED,
		.kind = CTX_CAUSE_CALL,
		.code = error,
		.site = __builtin_return_address(0),
		.tid = thread_self()->tid,
	};
	if (context_error(ctx))
		return debug_done(-EALREADY, ctx);
	if (error || format) {
		va_list arguments;
		va_start(arguments, format);
		end.text = cause_text_new(error, format, arguments);
		va_end(arguments);
	}
	int result = context_end(ctx, &end);
	if (result)
		memory_release(end.text);
	return result;
}

int context_cancel_text(struct ctx_context *ctx, int error, const char *text, const void *site)
{
	struct end end = {
		.error = ECANCELED,
		.kind = CTX_CAUSE_CALL,
		.code = error,
		.site = site,
		.tid = thread_self()->tid,
		.text = memory_allocate(sizeof(*end.text)),
	};
	bool no_memory = !end.text;

	if (end.text) {
		*end.text = (struct cause_text){.error = error};
		strncpy(end.text->text, text, sizeof(end.text->text) - 1);
	}
	int result = context_end(ctx, &end);
	if (result)
		memory_release(end.text);
	return result == 0 && no_memory ? -ENOMEM : result;
}

int context_end_foreign(struct ctx_context *ctx, int error, const struct ctx_cause *cause)
{
	struct end end = {
		.error = error,
		.kind = cause->kind,
		.code = cause->kind >= CTX_CAUSE_SIGNAL ? cause->code : cause->error,
		.tid = thread_self()->tid,
	};
	if (context_error(ctx))
		return -EALREADY;
	/* Without memory ctx ends all the same, and its cause says this process and has no text. */
	end.text = memory_allocate(sizeof(*end.text));
	if (end.text) {
		*end.text = (struct cause_text){
			.error = cause->error,
			.foreign = true,
			.pid = cause->pid,
			.tid = cause->tid,
			.uid = cause->uid,
			.ctx_id = cause->ctx_id,
			.time_ns = cause->time_ns,
		};
		memcpy(end.text->text, cause->text, sizeof(end.text->text));
		end.text->text[sizeof(end.text->text) - 1] = '\0';
		memcpy(end.text->host, cause->host, sizeof(end.text->host));
		end.text->host[sizeof(end.text->host) - 1] = '\0';
	}
	int result = context_end(ctx, &end);
	if (result)
		memory_release(end.text);
	return result;
}

int context_end_event(struct ctx_context *ctx, enum ctx_cause_kind kind, int code, bool on_worker,
		      const char *text)
{
	struct end end = {
		.error = ECANCELED,
		.kind = kind,
		.code = code,
		.tid = thread_self()->tid,
		.on_worker = on_worker,
	};
	if (context_error(ctx))
		return -EALREADY;
	/* Without memory ctx ends all the same, without a text. */
	end.text = memory_allocate(sizeof(*end.text));
	if (end.text) {
		memset(end.text, 0, sizeof(*end.text));
		snprintf(end.text->text, sizeof(end.text->text), "%s", text);
	}
	int result = context_end(ctx, &end);
	if (result)
		memory_release(end.text);
	return result;
}

static inline void finish_context(struct ctx_context *ctx, const void *site)
{
	if (!ctx)
		return;
	if (node_can_end(ctx))
		context_cancel(ctx, site);
	ctx_unref(ctx);
}

void ctx_finish(struct ctx_context *ctx)
{
	finish_context(ctx, __builtin_return_address(0));
}

void ctx_finishp(struct ctx_context **ctx)
{
	finish_context(*ctx, __builtin_return_address(0));
}
