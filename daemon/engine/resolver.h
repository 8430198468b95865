/* SPDX-License-Identifier: MIT */
/*
 * Addresses of a host by its name. getaddrinfo(3) blocks, so it is called by a thread of its own, one for
 * each question. A question that takes too long is left to its thread, which frees it.
 */
#ifndef CTXD_ENGINE_RESOLVER_H
#define CTXD_ENGINE_RESOLVER_H

#include <stdbool.h>

#include "address.h"

/* A numeric address fits, with a scope. */
#define RESOLVED_TEXT 80
#define RESOLVED_MAX 4

struct resolved {
	unsigned count;
	char texts[RESOLVED_MAX][RESOLVED_TEXT];
};

struct resolver_question;

/* Whether the text is a numeric address, so that nobody need be asked. */
bool resolver_is_numeric(const char *host);

/* Starts a thread that asks. 0, -ENOMEM, -EAGAIN, or an error of eventfd(2). */
int resolver_ask(const char *host, struct resolver_question **ret_question);
/* Is readable when there is an answer. */
int resolver_fd(const struct resolver_question *question);
/* The answer. count is 0 when there is no address, and *ret_reason then says why. False: it has not come. */
bool resolver_read(const struct resolver_question *question, struct resolved *ret_resolved,
		   const char **ret_reason);
/* Frees it, answered or not. Its descriptor must have been taken out of all sets, since the thread may hold
 * it open. NULL is allowed. */
void resolver_free(struct resolver_question *question);

#endif
