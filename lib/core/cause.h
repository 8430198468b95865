/* SPDX-License-Identifier: MIT */
#ifndef CTX_CAUSE_H
#define CTX_CAUSE_H

#include <stdarg.h>

#include "context.h"

/* The text of a cause. */
struct cause_text {
	int error;     /* negative errno that was given for it, 0: none */
	uint32_t slot; /* in the table, 0: not there */
	bool foreign;  /* it began in another process: who, where and when */
	pid_t pid, tid;
	uid_t uid;
	uint64_t ctx_id;
	uint64_t time_ns;
	char text[CTX_CAUSE_TEXT_MAX];
};

/* NULL: no memory. format may be NULL. */
struct cause_text *cause_text_new(int error, const char *format, va_list arguments);

/* The node that ended by itself, from which a done ctx has its end. */
const struct ctx_context *cause_origin(const struct ctx_context *ctx);

/*
 * What the pipe of a context gives to read when it has ended: its cause. Needs WIRE_LAST_WORDS_MAX bytes, and
 * returns how many of them are used.
 */
size_t cause_last_words(const struct ctx_context *ctx, uint8_t *bytes);

#endif
