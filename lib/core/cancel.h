/* SPDX-License-Identifier: MIT */
/* Ending a context from another part of the library. */
#ifndef CTX_CANCEL_H
#define CTX_CANCEL_H

#include "context.h"

/* ctx_cancel, of a context that can end, for another part of the library: site is the program's call. */
int context_cancel(struct ctx_context *ctx, const void *site);

/*
 * ctx_cancel_cause for another part of the library, with a text that is there already: site is the program's
 * call. 0, -EALREADY, or -ENOMEM: ended all the same, without text.
 */
int context_cancel_text(struct ctx_context *ctx, int error, const char *text, const void *site);

/*
 * Ends ctx as another process says: error (positive, ECANCELED or ETIME) is what ctx_err becomes, cause is
 * told as it is. Callbacks run on this thread. 0, or -EALREADY.
 */
int context_end_foreign(struct ctx_context *ctx, int error, const struct ctx_cause *cause);

/*
 * Ends ctx for something that happened: what is kind and code of the cause, with this text. Callbacks run on
 * the worker thread, or on this one. 0, or -EALREADY.
 */
int context_end_event(struct ctx_context *ctx, enum ctx_cause_kind kind, int code, bool on_worker,
		      const char *text);

#endif
