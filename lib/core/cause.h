/* SPDX-License-Identifier: MIT */
/* Causes: why a context ended. */
#ifndef CTX_CAUSE_H
#define CTX_CAUSE_H

#include <stdarg.h>

#include "context.h"
#include "debug.h"

/* The part of a cause that does not fit into a node: a text, or what another process says. */
struct cause_text {
	int error;     /* the negative errno that was given for it; 0: none */
	uint32_t slot; /* its record in the table; 0: it has none */
	bool foreign;  /* the end began in another process; the next fields say in which, where and when */
	pid_t pid, tid;
	uid_t uid;
	uint64_t ctx_id;
	uint64_t time_ns;
	char text[CTX_CAUSE_TEXT_MAX];
	char host[CTX_HOST_MAX]; /* of the fleet, where the end began; "": this host */
};

/* Makes the text of a cause. NULL: no memory. format may be NULL. */
struct cause_text *cause_text_new(int error, const char *format, va_list arguments);

/* What a call says of a context that it cannot end. */
#define NEVER_ENDS \
	"the context never ends by itself: it is a root, a value, or was made by ctx_without_cancel"

/* An error that a public function returns because ctx is done; see debug.h. */
#define debug_done(error, ctx) (debug_is_wanted() ? cause_tell_done(DEBUG_HERE, (error), (ctx)) : (error))
int cause_tell_done(const void *site, const char *function, int error,
		    const struct ctx_context *ctx) DEBUG_COLD;

/* In a forked child, the pid of the process that forked; 0 elsewhere. */
pid_t cause_pid_before_fork(void);

/* The node with which the end of ctx began: ctx, which is done, or one above it. */
const struct ctx_context *cause_origin(const struct ctx_context *ctx);

/* The kind of the cause of ctx, which is done. CTX_CAUSE_NONE where its end began far above it: not looked
 * for, so that making many contexts below each other does not take the square of their number. */
enum ctx_cause_kind cause_kind_near(const struct ctx_context *ctx);

/*
 * Packs the last words of a context that has ended: its cause, for a reader of its done pipe. bytes has room
 * for WIRE_LAST_WORDS_MAX. Returns how many are used.
 */
size_t cause_last_words(const struct ctx_context *ctx, uint8_t *bytes);

#endif
