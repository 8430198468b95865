/* SPDX-License-Identifier: MIT */
#include "id.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool fleet_host_is_valid(const char *name, size_t length)
{
	if (length < 1 || length > FLEET_HOST_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !is_digit(name[i]) && name[i] != '.' &&
		    name[i] != '-')
			return false;
	return true;
}

void fleet_id_format(const struct fleet_id *id, char text[FLEET_ID_TEXT])
{
	snprintf(text, FLEET_ID_TEXT, "%.*s/%" PRIx64 "-%" PRIx64 "-%" PRIx64, FLEET_HOST_MAX, id->host,
		 id->key.id.epoch, id->key.id.number, id->key.secret);
}

/* Reads a number without leading zeros. NULL: there is none, or it is 0 or has more than 16 digits. */
static const char *parse_hex(const char *text, uint64_t *ret_number)
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

int fleet_id_parse(const char *text, struct fleet_id *ret_id)
{
	size_t length = strcspn(text, "/");
	struct fleet_id id = {0};

	if (text[length] != '/' || !fleet_host_is_valid(text, length))
		return -EINVAL;
	memcpy(id.host, text, length);
	text = parse_hex(text + length + 1, &id.key.id.epoch);
	if (!text || *text != '-')
		return -EINVAL;
	text = parse_hex(text + 1, &id.key.id.number);
	if (!text || *text != '-')
		return -EINVAL;
	text = parse_hex(text + 1, &id.key.secret);
	if (!text || *text)
		return -EINVAL;
	*ret_id = id;
	return 0;
}
