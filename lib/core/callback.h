/* SPDX-License-Identifier: MIT */
/* Callbacks: functions of the program that run when a context has ended. */
#ifndef CTX_CALLBACK_H
#define CTX_CALLBACK_H

#include "node.h"

struct mailbox;

/*
 * ctx_callback_add() and, where mailbox is not NULL, ctx_callback_add_on_ring(): the function then runs on
 * the thread that reads the mailbox. The callback holds the mailbox until it has run or was stopped.
 */
int callback_add(const struct ctx_context *ctx, struct mailbox *mailbox, struct ctx_callback *callback,
		 ctx_callback_fn function, void *data, uint64_t *ret_id);

/* Hands the ring-bound callbacks of a done node to their rings. No lock held. */
void callback_post_all(struct ctx_context *ctx, struct deferred_list *later);

/* True when ctx has callbacks that are bound to no ring. No lock held. */
bool callback_pending(struct ctx_context *ctx);

/* Runs the callbacks of ctx that are bound to no ring, on this thread. No lock held; the caller has a
 * reference on ctx. */
void callback_run_all(struct ctx_context *ctx);

/* ---- the parts of callback_add */

/* Takes a place for callback. Returns 0; -EINVAL: it is registered already; or -ENOMEM. */
int callback_begin(struct ctx_callback *callback, uint64_t *ret_id);

/* Undoes callback_begin(). */
void callback_undo_begin(struct ctx_callback *callback);

/* Says which function callback is to call, and where. Takes a reference on ctx, and on mailbox. */
void callback_fill(struct ctx_callback *callback, const struct ctx_context *ctx, struct mailbox *mailbox,
		   ctx_callback_fn function, void *data);

/* Puts callback in the list of its context, whose extension is given. NULL: the context never ends, and there
 * is no list. False: the context is done, and the caller calls callback_deliver(), without a lock held. */
bool callback_list(struct ctx_callback *callback, struct extension *extension);

/* Runs callback on this thread or, when it is bound to a ring, posts it there. */
void callback_deliver(struct ctx_callback *callback);

/* Starts the worker thread if it does not run. Returns 0 or -EAGAIN. */
int worker_start(void);

/* Has the worker thread run the callbacks of ctx. Takes over a reference on ctx. False: the thread cannot be
 * started, and the reference is still the caller's. */
bool worker_post(struct ctx_context *ctx);

#endif
