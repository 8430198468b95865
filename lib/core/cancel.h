/* SPDX-License-Identifier: MIT */
/* Ending a context, for the folders above. */
#ifndef CTX_CANCEL_H
#define CTX_CANCEL_H

#include "context.h"

/* ctx_cancel() of a context that can end. site is the address of the program's call. */
int context_cancel(struct ctx_context *ctx, const void *site);

/*
 * ctx_cancel_cause() with a finished text. site is the address of the program's call. Returns 0; -EALREADY;
 * or -ENOMEM: ctx is ended all the same, without the text.
 */
int context_cancel_text(struct ctx_context *ctx, int error, const char *text, const void *site);

/*
 * Ends ctx because its end in another process came here. ctx_err() becomes -error, which is ECANCELED or
 * ETIME, and ctx_get_cause() returns cause. Callbacks run on this thread. Returns 0 or -EALREADY.
 */
int context_end_foreign(struct ctx_context *ctx, int error, const struct ctx_cause *cause);

/*
 * Ends ctx because of an event, which kind, code and text describe. Callbacks run on the worker thread, or on
 * this thread if on_worker is false. Returns 0 or -EALREADY.
 */
int context_end_event(struct ctx_context *ctx, enum ctx_cause_kind kind, int code, bool on_worker,
		      const char *text);

#endif
