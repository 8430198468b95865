/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "log.h"
#include "wire.h"

#define FILE_MAX (64 * 1024)
#define LINE_MAX_SIZE 256
#define SECOND_NS 1000000000ull
#define LEASE_MIN_NS (SECOND_NS / 10)

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
	.fleet = {.name = "default",
		  .bridge_uid = UINT32_MAX,
		  .lease_ns = 6 * SECOND_NS,
		  .grace_ns = 30 * SECOND_NS,
		  .cancel = "nobody",
		  .remote_contexts_max = 16384,
		  .remote_joins_max = 16384,
		  .queued_bytes_max = 1024 * 1024},
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

/* ---- of the fleet */

static bool parse_text(const char *text, char *place, size_t size)
{
	size_t length = strlen(text);

	if (!length || length >= size)
		return false;
	memset(place, 0, size);
	memcpy(place, text, length);
	return true;
}

static bool parse_long_text(const char *text, void *place)
{
	return parse_text(text, place, CONFIG_TEXT_MAX);
}

static bool parse_path(const char *text, void *place)
{
	return text[0] == '/' && parse_long_text(text, place);
}

/* Names of users, separated by spaces. A list with commas would silently name nobody. */
static bool parse_users(const char *text, void *place)
{
	return !strchr(text, ',') && parse_long_text(text, place);
}

static bool parse_word(const char *text, void *place)
{
	return !strpbrk(text, " \t") && parse_text(text, place, sizeof(config_default.fleet.user));
}

static bool parse_host(const char *text, void *place)
{
	return wire_host_is_valid(text, strlen(text)) &&
	       parse_text(text, place, sizeof(config_default.fleet.host));
}

static bool parse_lease(const char *text, void *place)
{
	uint64_t lease_ns;

	if (!parse_duration(text, &lease_ns) || lease_ns < LEASE_MIN_NS)
		return false;
	*(uint64_t *)place = lease_ns;
	return true;
}

static bool parse_grace(const char *text, void *place)
{
	uint64_t *grace_ns = place;

	if (strcmp(text, "0") == 0)
		*grace_ns = 0;
	else if (strcmp(text, "forever") == 0)
		*grace_ns = UINT64_MAX;
	else
		return parse_duration(text, place);
	return true;
}

static bool parse_owner_gone(const char *text, void *place)
{
	enum config_owner_gone *owner_gone = place;

	if (strcmp(text, "end") == 0)
		*owner_gone = CONFIG_OWNER_GONE_END;
	else if (strcmp(text, "continue") == 0)
		*owner_gone = CONFIG_OWNER_GONE_CONTINUE;
	else
		return false;
	return true;
}

static bool parse_list(const char *text, void *place)
{
	bool *list_all = place;

	if (strcmp(text, "nobody") != 0 && strcmp(text, "all") != 0)
		return false;
	*list_all = strcmp(text, "all") == 0;
	return true;
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
	SETTING("fleet_engine", fleet.engine, parse_long_text,
		"expected an address such as redis://engine:6379, not"),
	SETTING("fleet_name", fleet.name, parse_host, "expected 1 to 63 of a-z, 0-9, '.' and '-', not"),
	SETTING("fleet_host", fleet.host, parse_host, "expected 1 to 63 of a-z, 0-9, '.' and '-', not"),
	SETTING("fleet_user", fleet.user, parse_word, "expected one name, not"),
	SETTING("fleet_password_file", fleet.password_file, parse_path, "expected an absolute path, not"),
	SETTING("fleet_key_file", fleet.key_file, parse_path, "expected an absolute path, not"),
	SETTING("fleet_bridge_user", fleet.bridge_user, parse_word, "expected one name of a user, not"),
	SETTING("fleet_lease", fleet.lease_ns, parse_lease,
		"expected a duration of at least 100ms, such as 6s, not"),
	SETTING("fleet_grace", fleet.grace_ns, parse_grace,
		"expected a duration such as 30s, 0 or forever, not"),
	SETTING("fleet_owner_gone", fleet.owner_gone, parse_owner_gone, "expected end or continue, not"),
	SETTING("fleet_cancel", fleet.cancel, parse_users,
		"expected nobody, or names of users with spaces between them, not"),
	SETTING("fleet_list", fleet.list_all, parse_list, "expected nobody or all, not"),
	SETTING("fleet_queued_bytes", fleet.queued_bytes_max, parse_bytes, "expected a size such as 1M, not"),
	SETTING("remote_contexts", fleet.remote_contexts_max, parse_count,
		"expected a number from 1 to 16777216, not"),
	SETTING("remote_joins", fleet.remote_joins_max, parse_count,
		"expected a number from 1 to 16777216, not"),
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

/* The kernel's name of this host in small letters. False: no host of a fleet can have it. */
static bool take_kernel_name(char host[CTX_HOST_MAX])
{
	struct utsname kernel;

	if (uname(&kernel))
		return false;
	for (char *letter = kernel.nodename; *letter; letter++)
		if (*letter >= 'A' && *letter <= 'Z')
			*letter = (char)(*letter - 'A' + 'a');
	if (!wire_host_is_valid(kernel.nodename, strlen(kernel.nodename)))
		return false;
	return parse_text(kernel.nodename, host, CTX_HOST_MAX);
}

int config_complete_fleet(struct config_fleet *fleet, char *reason, size_t reason_size)
{
	if (!fleet->engine[0])
		return 0;
	if (!fleet->host[0] && !take_kernel_name(fleet->host)) {
		fleet->engine[0] = '\0';
		snprintf(reason, reason_size,
			 "the name of this host cannot be one in a fleet: set fleet_host, or there is no "
			 "fleet");
		return -EINVAL;
	}
	if (!fleet->bridge_user[0])
		return 0;
	const struct passwd *user = getpwnam(fleet->bridge_user);
	if (!user) {
		snprintf(reason, reason_size, "the user of fleet_bridge_user is not known");
		return -EINVAL;
	}
	fleet->bridge_uid = user->pw_uid;
	return 0;
}

const char *config_default_path(char *buffer, size_t size)
{
	const char *home = secure_getenv("HOME"), *config = secure_getenv("XDG_CONFIG_HOME");

	if (geteuid() == 0)
		snprintf(buffer, size, "/etc/ctxd.conf");
	else if (config && config[0] == '/')
		snprintf(buffer, size, "%s/ctxd.conf", config);
	else if (home && home[0] == '/')
		snprintf(buffer, size, "%s/.config/ctxd.conf", home);
	else
		return NULL;
	return access(buffer, F_OK) == 0 ? buffer : NULL;
}
