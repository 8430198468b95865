/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PORT_REDIS 6379
#define PORT_SENTINEL 26379

bool address_parse_port(const char *text, size_t length, uint16_t *ret_port)
{
	unsigned port = 0;

	if (length == 0 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

/* Whether all bytes are such as names, numeric addresses, and the names of masters are made of. */
static bool is_plain(const char *text, size_t length, const char *also)
{
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		bool is_alphanumeric =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!is_alphanumeric && !strchr(also, c))
			return false;
	}
	return length > 0;
}

/* One HOST[:PORT] of length bytes. */
static bool parse_host(const char *text, size_t length, uint16_t port, struct address *ret_address)
{
	const char *host = text, *rest;
	size_t host_length;

	if (length && text[0] == '[') {
		const char *end = memchr(text, ']', length);
		host++;
		if (!end || !is_plain(host, (size_t)(end - host), ".:%-_"))
			return false;
		host_length = (size_t)(end - host);
		rest = end + 1;
	} else {
		const char *colon = memchr(text, ':', length);
		host_length = colon ? (size_t)(colon - text) : length;
		rest = text + host_length;
		if (!is_plain(host, host_length, ".-_"))
			return false;
	}
	if (host_length > ADDRESS_HOST_MAX)
		return false;
	ret_address->port = port;
	if (rest < text + length &&
	    (*rest != ':' ||
	     !address_parse_port(rest + 1, (size_t)(text + length - rest - 1), &ret_address->port)))
		return false;
	memcpy(ret_address->host, host, host_length);
	ret_address->host[host_length] = '\0';
	return true;
}

static int parse_hosts(const char *text, uint16_t port, struct address_list *list, char *reason,
		       size_t reason_size)
{
	for (;;) {
		size_t length = strcspn(text, ",");
		if (list->count == ADDRESSES_MAX) {
			snprintf(reason, reason_size, "there are more than %d addresses", ADDRESSES_MAX);
			return -EINVAL;
		}
		if (memchr(text, '@',
			   length)) { /* The reason gets into logs, and must not have the password. */
			snprintf(reason, reason_size,
				 "a user and a password do not belong there: set fleet_user and "
				 "fleet_password_file");
			return -EINVAL;
		}
		if (!parse_host(text, length, port, &list->addresses[list->count++])) {
			snprintf(reason, reason_size, "\"%.*s\" is not HOST or HOST:PORT%s",
				 length < 60 ? (int)length : 60, text,
				 memchr(text, ':', length) ? ", or [IPV6]:PORT" : "");
			return -EINVAL;
		}
		if (text[length] == '\0')
			return 0;
		text += length + 1;
	}
}

static int parse_path(const char *path, struct address_list *list, char *reason, size_t reason_size)
{
	if (path[0] != '/' || strlen(path) > ADDRESS_PATH_MAX) {
		snprintf(reason, reason_size, "unix: is followed by an absolute path of up to %d bytes",
			 ADDRESS_PATH_MAX);
		return -EINVAL;
	}
	strcpy(list->path, path);
	return 0;
}

static int parse_sentinel(const char *text, struct address_list *list, char *reason, size_t reason_size)
{
	size_t length = strcspn(text, "@");

	list->is_sentinel = true;
	if (text[length] == '\0' || length >= sizeof(list->master) || !is_plain(text, length, ".-_")) {
		snprintf(reason, reason_size,
			 "sentinel:// is followed by the master's name, \"@\" and Sentinel's addresses");
		return -EINVAL;
	}
	memcpy(list->master, text, length);
	return parse_hosts(text + length + 1, PORT_SENTINEL, list, reason, reason_size);
}

/* What follows the prefix, or NULL. */
static const char *skip_prefix(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

int address_parse(const char *text, struct address_list *ret_list, char *reason, size_t reason_size)
{
	const char *rest;

	*ret_list = (struct address_list){0};
	if ((rest = skip_prefix(text, "unix:")))
		return parse_path(rest, ret_list, reason, reason_size);
	if ((rest = skip_prefix(text, "sentinel://")))
		return parse_sentinel(rest, ret_list, reason, reason_size);
	if ((rest = skip_prefix(text, "redis://")))
		return parse_hosts(rest, PORT_REDIS, ret_list, reason, reason_size);
	if ((rest = skip_prefix(text, "rediss://"))) {
		ret_list->is_tls = true;
		return parse_hosts(rest, PORT_REDIS, ret_list, reason, reason_size);
	}
	snprintf(reason, reason_size, "it begins with none of redis://, rediss://, sentinel:// and unix:");
	return -EINVAL;
}
