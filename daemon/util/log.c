/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum log_level level_max = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	level_max = level;
}

bool log_is_written(enum log_level level)
{
	return level <= level_max || level == LOG_LEVEL_AUDIT;
}

/*
 * Whether standard error is the journal. $JOURNAL_STREAM has the device and inode of its socket, see
 * sd-daemon(3).
 */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       !fstat(STDERR_FILENO, &status) && status.st_dev == device && status.st_ino == inode;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_AUDIT:
		return "audit";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "?";
}

static int print_front(char *line, size_t size, enum log_level level)
{
	static int journal = -1;
	struct timespec now;
	struct tm local;
	char date[32];

	if (journal < 0)
		journal = is_journal();
	if (journal)
		return snprintf(line, size, "<%d>level=%s ", (int)level, level_name(level));
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &local);
	return snprintf(line, size, "%s.%03ld level=%s ", date, now.tv_nsec / 1000000, level_name(level));
}

bool log_parse_level(const char *text, uint32_t *ret_level)
{
	static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO,
						LOG_LEVEL_DEBUG};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(text, level_name(levels[i])) == 0) {
			*ret_level = levels[i];
			return true;
		}
	return false;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	char line[2048];
	va_list arguments;

	if (!log_is_written(level))
		return;
	size_t length = (size_t)print_front(line, sizeof(line), level);
	length += (size_t)snprintf(line + length, sizeof(line) - length, "event=%s ", event);
	va_start(arguments, format);
	int more = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
	va_end(arguments);
	length += more < 0 ? 0 : (size_t)more;
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	/* The line is written by one call, so that lines of several threads or processes do not mix. */
	(void)!write(STDERR_FILENO, line, length);
}

const char *log_quote(const char *text, char *buffer, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	buffer[at++] = '"';
	for (; *text && at + 6 < size; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte >= ' ' && byte != 0x7f && byte != '"' && byte != '\\' && byte < 0x80) {
			buffer[at++] = *text;
			continue;
		}
		buffer[at++] = '\\';
		buffer[at++] = 'x';
		buffer[at++] = digits[byte >> 4];
		buffer[at++] = digits[byte & 15];
	}
	buffer[at++] = '"';
	buffer[at] = '\0';
	return buffer;
}
