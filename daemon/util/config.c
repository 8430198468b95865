/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define FILE_MAX (64 * 1024)
#define LINE_MAX_SIZE 256
#define SECOND_NS 1000000000ull

const struct config config_default = {
	.connections_max = 256,
	.contexts_max = 16384,
	.joins_max = 65536,
	.watches_max = 32,
	.fds_max = 65536,
	.queued_bytes_max = 4 * 1024 * 1024,
	.cancels_max = 4096,
	.depth_max = 16,
	.cancel = CONFIG_CANCEL_OWNER,
	.slow_ns = 10 * SECOND_NS,
	.reply_ns = 2 * SECOND_NS,
	.drain_ns = 3 * SECOND_NS,
	.retain_ns = 600 * SECOND_NS,
	.retain_tables = 16,
	.retain_bytes = 64 * 1024 * 1024,
	.log_level = LOG_LEVEL_INFO,
};

struct reading {
	struct config config;
	unsigned line;
	char *reason;
	size_t reason_size;
};

static int refuse_line(struct reading *reading, const char *what, const char *text)
{
	char quoted[120];

	snprintf(reading->reason, reading->reason_size, "line %u: %s%s%s", reading->line, what,
		 text ? " " : "", text ? log_quote(text, quoted, sizeof(quoted)) : "");
	return -EINVAL;
}

/* Parses a whole number with one of the suffixes. The result is from 1 to max, in the unit of the setting. */
static bool parse_number(const char *text, const char *const *suffixes, const uint64_t *factors, uint64_t max,
			 uint64_t *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	uint64_t number = strtoull(text, &end, 10);
	if (errno)
		return false;
	for (unsigned i = 0; suffixes[i]; i++) {
		if (strcmp(end, suffixes[i]) != 0)
			continue;
		if (number == 0 || number > max / factors[i])
			return false;
		*ret_number = number * factors[i];
		return true;
	}
	return false;
}

static bool parse_count(const char *text, void *place)
{
	static const char *const suffixes[] = {"", NULL};
	static const uint64_t factors[] = {1};
	uint64_t number;

	if (!parse_number(text, suffixes, factors, 1u << 24, &number))
		return false;
	*(uint32_t *)place = (uint32_t)number;
	return true;
}

static bool parse_bytes(const char *text, void *place)
{
	static const char *const suffixes[] = {"", "K", "M", "G", NULL};
	static const uint64_t factors[] = {1, 1024, 1024 * 1024, 1024 * 1024 * 1024};

	return parse_number(text, suffixes, factors, 1ull << 40, place);
}

static bool parse_duration(const char *text, void *place)
{
	static const char *const suffixes[] = {"s", "ms", "min", "h", NULL};
	static const uint64_t factors[] = {SECOND_NS, SECOND_NS / 1000, 60 * SECOND_NS, 3600 * SECOND_NS};

	return parse_number(text, suffixes, factors, 365 * 24 * 3600 * SECOND_NS, place);
}

static bool parse_cancel(const char *text, void *place)
{
	enum config_cancel *cancel = place;

	if (strcmp(text, "owner") == 0)
		*cancel = CONFIG_CANCEL_OWNER;
	else if (strcmp(text, "root") == 0)
		*cancel = CONFIG_CANCEL_ROOT;
	else
		return false;
	return true;
}

static bool parse_level(const char *text, void *place)
{
	return log_parse_level(text, place);
}

static const struct setting {
	const char *name;
	size_t offset;
	bool (*parse)(const char *text, void *place);
	const char *wants;
} settings[] = {
#define SETTING(name, member, parse, wants)                         \
	{                                                           \
		name, offsetof(struct config, member), parse, wants \
	}
	SETTING("connections", connections_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("contexts", contexts_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("joins", joins_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("watches", watches_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("fds", fds_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("queued_bytes", queued_bytes_max, parse_bytes, "expected a size such as 4M, not"),
	SETTING("cancels", cancels_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("depth", depth_max, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("cancel", cancel, parse_cancel, "expected owner or root, not"),
	SETTING("slow", slow_ns, parse_duration, "expected a duration such as 10s or 500ms, not"),
	SETTING("reply", reply_ns, parse_duration, "expected a duration such as 2s or 500ms, not"),
	SETTING("drain", drain_ns, parse_duration, "expected a duration such as 3s or 500ms, not"),
	SETTING("retain", retain_ns, parse_duration, "expected a duration such as 10min, not"),
	SETTING("retain_tables", retain_tables, parse_count, "expected a number from 1 to 16777216, not"),
	SETTING("retain_bytes", retain_bytes, parse_bytes, "expected a size such as 64M, not"),
	SETTING("log_level", log_level, parse_level, "expected error, warning, info or debug, not"),
#undef SETTING
};

static char *trim_spaces(char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	size_t length = strlen(text);
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t' || text[length - 1] == '\r'))
		text[--length] = '\0';
	return text;
}

static int parse_line(struct reading *reading, char *line)
{
	char *name = trim_spaces(line);

	if (*name == '\0' || *name == '#')
		return 0;
	char *value = strchr(name, '=');
	if (!value)
		return refuse_line(reading, "expected \"name = value\", not", name);
	*value++ = '\0';
	name = trim_spaces(name);
	value = trim_spaces(value);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (strcmp(name, settings[i].name) != 0)
			continue;
		if (!settings[i].parse(value, (char *)&reading->config + settings[i].offset))
			return refuse_line(reading, settings[i].wants, value);
		return 0;
	}
	return refuse_line(reading, "there is no setting", name);
}

int config_parse(const char *text, size_t size, struct config *ret_config, char *reason, size_t reason_size)
{
	struct reading reading = {.config = config_default, .reason = reason, .reason_size = reason_size};

	for (size_t at = 0; at < size;) {
		char line[LINE_MAX_SIZE];
		const char *end = memchr(text + at, '\n', size - at);
		size_t length = end ? (size_t)(end - text) - at : size - at;

		reading.line++;
		if (length >= sizeof(line))
			return refuse_line(&reading, "the line is longer than 255 bytes", NULL);
		memcpy(line, text + at, length);
		line[length] = '\0';
		if (strlen(line) != length)
			return refuse_line(&reading, "there is a NUL byte after", line);
		int result = parse_line(&reading, line);
		if (result)
			return result;
		at += length + 1;
	}
	*ret_config = reading.config;
	return 0;
}

/*
 * Opens a regular file. A pipe or a device would be read as an empty file, or for ever. Opening does not
 * wait. The descriptor, or -errno with the reason in words.
 */
static int open_regular(const char *path, char *reason, size_t reason_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	int error = fd < 0 || fstat(fd, &status) ? -errno : 0;

	if (error)
		snprintf(reason, reason_size, "%s", strerror(-error));
	else if (S_ISREG(status.st_mode))
		return fd;
	else
		snprintf(reason, reason_size, "it is not a regular file");
	if (fd >= 0)
		close(fd);
	return error ? error : -EINVAL;
}

int config_load(const char *path, struct config *ret_config, char *reason, size_t reason_size)
{
	int fd = open_regular(path, reason, reason_size), result = 0;
	size_t size = 0;
	ssize_t got = 1;

	if (fd < 0)
		return fd;
	char *text = malloc(FILE_MAX + 1);
	if (!text)
		result = -ENOMEM;
	while (!result && got > 0 && size <= FILE_MAX) {
		got = read(fd, text + size, FILE_MAX + 1 - size);
		if (got > 0)
			size += (size_t)got;
		else if (got < 0)
			result = -errno;
	}
	if (!result && size > FILE_MAX)
		result = -EFBIG;
	if (result)
		snprintf(reason, reason_size, "%s", strerror(-result));
	else
		result = config_parse(text, size, ret_config, reason, reason_size);
	close(fd);
	free(text);
	return result;
}
