/* SPDX-License-Identifier: MIT */
/* The core's side of ctx_callback_add. */
#ifndef CTX_CALLBACK_H
#define CTX_CALLBACK_H

#include "node.h"

struct mailbox;

/*
 * ctx_callback_add, and ctx_callback_add_on_ring where mailbox is not NULL: the function then runs where that
 * mailbox is read. The callback holds the mailbox until it has run or was stopped.
 */
int callback_add(const struct ctx_context *ctx, struct mailbox *mailbox, struct ctx_callback *callback,
		 ctx_callback_fn function, void *data, uint64_t *ret_id);

/* Hands the ring-bound callbacks of a done node to their rings. No lock held. */
void callback_post_all(struct ctx_context *ctx, struct deferred_list *later);

/* Whether ctx has any that are bound to no ring. No lock held. */
bool callback_pending(struct ctx_context *ctx);

/* Runs the others, here. No lock held; ctx is pinned. */
void callback_run_all(struct ctx_context *ctx);

/* ---- the parts of callback_add */

/* Takes a place for it. 0, -EINVAL: it is registered, or -ENOMEM. */
int callback_begin(struct ctx_callback *callback, uint64_t *ret_id);

/* Gives the place back. */
void callback_give_up(struct ctx_callback *callback);

/* What it is to call, and where. Takes a reference on ctx, and on mailbox. */
void callback_fill(struct ctx_callback *callback, const struct ctx_context *ctx, struct mailbox *mailbox,
		   ctx_callback_fn function, void *data);

/* Puts it in the list of its context, whose extension is given; NULL: of one that never ends. False: the
 * context is done, and callback_deliver() is to be called, without a lock. */
bool callback_list(struct ctx_callback *callback, struct extension *extension);

/* Runs it here, or posts it where it is bound to a ring. */
void callback_deliver(struct ctx_callback *callback);

/* Starts the worker thread if it does not run. 0, or -EAGAIN. */
int worker_start(void);

/* Takes over the pin of ctx and runs its callbacks on the worker thread. False: there is no such thread. */
bool worker_post(struct ctx_context *ctx);

#endif
