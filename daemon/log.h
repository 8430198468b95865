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
#include <sys/types.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_AUDIT = 5, /* who ended what: always written */
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

void log_set_level(enum log_level level);
bool log_is_written(enum log_level level);

/* "error", "warning", "info" or "debug". False: none of these. */
bool log_parse_level(const char *text, uint32_t *ret_level);

/* Fields after the event, as printf. Text that came from outside goes through log_quote. */
void log_event(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What a user can have written, each counted by itself: so that one kind cannot hide another. */
enum log_kind {
	LOG_CANCEL_OF_OTHERS, /* he ends what other users own */
	LOG_CANCEL,	      /* what is his; and requests that are refused */
	LOG_TROUBLE,	      /* all else */
	LOG_KINDS,
};

/*
 * Whether one more line of that level may be written of a user: of each kind so many in some seconds, for
 * everybody but root. What may not is counted, and told later by one line.
 */
bool log_admits(enum log_level level, uid_t uid, enum log_kind kind);
/* When log_tick() has something to tell; UINT64_MAX: not for a known reason. */
uint64_t log_next_ns(void);
void log_tick(uint64_t now_ns);
/* All that is still to be told. */
void log_finish(void);

/* "text" in double quotes with control bytes, quotes and backslashes as \xNN; cut to fit. Returns buffer. */
const char *log_quote(const char *text, char *buffer, size_t size);

#endif
