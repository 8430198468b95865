/* SPDX-License-Identifier: MIT */
#ifndef CTX_CAUSE_H
#define CTX_CAUSE_H

#include <stdarg.h>

#include "context.h"

/* The text of a cause. */
struct cause_text {
	int error;     /* negative errno that was given for it, 0: none */
	uint32_t slot; /* in the table, 0: not there */
	char text[CTX_CAUSE_TEXT_MAX];
};

/* NULL: no memory. format may be NULL. */
struct cause_text *cause_text_new(int error, const char *format, va_list arguments);

/* The node that ended by itself, from which a done ctx has its end. */
const struct ctx_context *cause_origin(const struct ctx_context *ctx);

#endif
