/* SPDX-License-Identifier: MIT */
/*
 * What fleet_server.c and fleet_backend.c share: requests of HTTP with their headers, and lines of the log
 * that say when something was seen. examples/demo_fleet.sh runs them on three hosts.
 *
 * A real server reads HTTP with a parser, as httpd.c does. These two read one small request of a connection.
 */
#ifndef FLEET_H
#define FLEET_H

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>

#include "across.h"

#define HEAD_MAX 8192

/* The head of a request: "GET /work?n=20 HTTP/1.1" and its headers. */
struct head {
	char text[HEAD_MAX + 1];
	size_t size;
	char value[HEAD_MAX + 1]; /* of the header that was asked for last */
};

/* Takes received bytes, which stand in head->text + head->size. True: the head is complete. */
static inline bool head_add(struct head *head, size_t size)
{
	head->size += size;
	head->text[head->size] = '\0';
	return strstr(head->text, "\r\n\r\n");
}

/* A function for ctx_extract. Of several headers with one name it makes one, with commas. */
static inline const char *head_value(const char *name, void *data)
{
	struct head *head = data;
	size_t name_size = strlen(name), size = 0;

	for (const char *line = strstr(head->text, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, name_size) || line[name_size] != ':')
			continue;
		const char *value = line + name_size + 1;
		value += strspn(value, " \t");
		if (size)
			head->value[size++] = ',';
		size_t value_size = strcspn(value, "\r\n");
		memcpy(head->value + size, value, value_size);
		size += value_size;
	}
	head->value[size] = '\0';
	return size ? head->value : NULL;
}

/* Copies what stands between "GET " and the next blank: a path with its query. */
static inline bool head_path(const struct head *head, char *buffer, size_t size)
{
	size_t length = strcspn(head->text + 4, " \r\n");

	if (strncmp(head->text, "GET /", 5) || length >= size)
		return false;
	memcpy(buffer, head->text + 4, length);
	buffer[length] = '\0';
	return true;
}

/* The number that the query of a path has under a name, such as "n="; or a default. */
static inline uint64_t path_number(const char *path, const char *name, uint64_t fallback)
{
	const char *found = strchr(path, '?');

	while (found && strncmp(found + 1, name, strlen(name)))
		found = strchr(found + 1, '&');
	return found ? strtoull(found + 1 + strlen(name), NULL, 10) : fallback;
}

static inline int make_reply(char *buffer, size_t size, const char *status, const char *body)
{
	return snprintf(buffer, size,
			"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
			"Connection: close\r\n\r\n%s",
			status, strlen(body), body);
}

/* Opens a socket that listens on a port of the host's address that the kernel chooses. */
static inline int listen_on(const char *address_text, uint16_t *ret_port)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	char text[INET_ADDRSTRLEN + 2];
	int fd;

	snprintf(text, sizeof(text), "%s:0", address_text);
	if (!parse_address(text, &address))
		return -EINVAL;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1024) ||
	    getsockname(fd, (struct sockaddr *)&address, &length))
		return -errno;
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* Prints a line about a request. All hosts know it by its trace. at_us is the wall clock, which the scripts
 * have, too. */
__attribute__((format(printf, 3, 4))) static inline void
log_request(const char *event, const struct ctx_context *ctx, const char *format, ...)
{
	struct ctx_identity identity;
	char text[512];
	struct timespec now;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	ctx_get_identity(ctx, &identity);
	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(stderr, "event=%s trace=%s at_us=%" PRIu64 " %s\n", event, identity.trace,
		(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000, text);
}

/* Prints how a request ended; host="" is this host. */
static inline void log_request_end(const struct ctx_context *ctx, unsigned operations)
{
	struct ctx_cause cause = {.kind = CTX_CAUSE_NONE};

	ctx_get_cause(ctx, &cause);
	log_request("end", ctx, "operations=%u cause=%s host=\"%s\" text=\"%s\"", operations,
		    ctx_cause_kind_name(cause.kind), cause.host, cause.text);
}

#endif
