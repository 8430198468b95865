/* SPDX-License-Identifier: MIT */
/* Global ids as text, and the names of hosts in them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wire.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool wire_host_is_valid(const char *name, size_t length)
{
	if (length < 1 || length >= CTX_HOST_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !is_digit(name[i]) && name[i] != '.' &&
		    name[i] != '-')
			return false;
	return true;
}

const char *wire_parse_hex(const char *text, uint64_t *ret_number)
{
	uint64_t number = 0;
	unsigned digits = 0;

	for (;; text++, digits++) {
		unsigned digit;
		if (is_digit(*text))
			digit = (unsigned)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			digit = (unsigned)(*text - 'a') + 10;
		else
			break;
		if (digits == 16 || (digits && !number))
			return NULL;
		number = number << 4 | digit;
	}
	*ret_number = number;
	return number ? text : NULL;
}

void wire_global_format(const struct wire_global *global, char text[WIRE_GLOBAL_TEXT])
{
	snprintf(text, WIRE_GLOBAL_TEXT, "%.*s/%" PRIx64 "-%" PRIx64 "-%" PRIx64, CTX_HOST_MAX - 1,
		 global->host, global->id.epoch, global->id.number, global->secret);
}

int wire_global_parse(const char *text, struct wire_global *ret_global)
{
	size_t length = strcspn(text, "/");
	struct wire_global global = {0};

	if (text[length] != '/' || !wire_host_is_valid(text, length))
		return -EINVAL;
	memcpy(global.host, text, length);
	text = wire_parse_hex(text + length + 1, &global.id.epoch);
	if (!text || *text != '-')
		return -EINVAL;
	text = wire_parse_hex(text + 1, &global.id.number);
	if (!text || *text != '-')
		return -EINVAL;
	text = wire_parse_hex(text + 1, &global.secret);
	if (!text || *text)
		return -EINVAL;
	*ret_global = global;
	return 0;
}
