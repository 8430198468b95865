/* SPDX-License-Identifier: MIT */
/*
 * The log: one line for each event, "event=NAME key=value ...", to standard error; with the level in front
 * as the journal wants it ("<6>") where that is the journal, with time and level in words elsewhere.
 */
#ifndef CTXD_LOG_H
#define CTXD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_AUDIT = 5, /* who ended what: always written */
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

void log_set_level(enum log_level level);

/* "error", "warning", "info" or "debug". False: none of these. */
bool log_parse_level(const char *text, uint32_t *ret_level);

/* Fields after the event, as printf. Text that came from outside goes through log_quote. */
void log_event(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* "text" in double quotes with control bytes, quotes and backslashes as \xNN; cut to fit. Returns buffer. */
const char *log_quote(const char *text, char *buffer, size_t size);

#endif
