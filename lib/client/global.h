/* SPDX-License-Identifier: MIT */
/* What lib/propagate needs of lib/client: the global ids of contexts, and joins by them. */
#ifndef CTX_GLOBAL_H
#define CTX_GLOBAL_H

#include "ctxring.h"

/*
 * Writes the global id of the nearest context, from ctx upwards, that is shared with the fleet or joined from
 * it. It looks no further than the end of such a context would reach ctx; of a merged context only at the
 * first parent. False: there is none.
 */
bool client_global_id(const struct ctx_context *ctx, char text[CTXD_GLOBAL_ID_TEXT]);

/*
 * Joins a context by a global id that another process has sent, below parent, if this process has a client
 * whose service belongs to a fleet. Does not wait. NULL: it was not joined, for whatever reason.
 */
struct ctx_context *client_join_sent(const struct ctx_context *parent, const char *id, const void *site);

#endif
