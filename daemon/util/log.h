/* SPDX-License-Identifier: MIT */
/*
 * The log: one line for each event, "event=NAME key=value ...", to standard error. Each line begins with the
 * level in the form of the journal ("<6>") if standard error is the journal, else with the time and the level
 * in words.
 *
 * This folder, util/, has what knows nothing of clients: the log, the configuration, and tables of objects.
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
	LOG_LEVEL_AUDIT = 5, /* Records of cancels. They are always written. */
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

void log_set_level(enum log_level level);
bool log_is_written(enum log_level level);

/* "error", "warning", "info" or "debug". False: it is none of these. */
bool log_parse_level(const char *text, uint32_t *ret_level);

/*
 * format is as of printf, and gives the fields after the event. Text from outside must go through
 * log_quote().
 */
void log_event(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The kinds of lines that a user can cause. Each is counted by itself, so that lines of one kind cannot keep
 * others out.
 */
enum log_kind {
	LOG_CANCEL_OF_OTHERS, /* The user cancels what other users own. */
	LOG_CANCEL,	      /* The user cancels what is its own, or is refused. */
	LOG_TROUBLE,	      /* Everything else. */
	LOG_KINDS,
};

/*
 * Whether one more line of that level and kind may be written for a user. Each user but root may cause a
 * number of lines of each kind in some seconds. Further ones are counted, and one line tells later how many
 * were left out.
 */
bool log_admits(enum log_level level, uid_t uid, enum log_kind kind);
/* When log_tick() has something to write. UINT64_MAX: no time is known. */
uint64_t log_next_ns(void);
void log_tick(uint64_t now_ns);
/* Writes all counts of lines that were left out. */
void log_finish(void);

/*
 * Writes text into buffer in double quotes, with control bytes, quotes and backslashes as \xNN, and cut if it
 * does not fit. Returns buffer.
 */
const char *log_quote(const char *text, char *buffer, size_t size);

#endif
