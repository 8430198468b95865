/* SPDX-License-Identifier: MIT */
#include "reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors */

/* Whether an error begins with the word. */
static bool has_code(const redisReply *reply, const char *code)
{
	size_t length = strlen(code);

	return reply->len >= length && memcmp(reply->str, code, length) == 0 &&
	       (reply->len == length || reply->str[length] == ' ');
}

enum reply_error reply_error_of(const redisReply *reply)
{
	static const char *const lost[] = {"READONLY", "LOADING",     "MASTERDOWN", "NOAUTH",	"WRONGPASS",
					   "MOVED",    "CLUSTERDOWN", "CROSSSLOT",  "UNBLOCKED"};

	if (reply->type != REDIS_REPLY_ERROR)
		return REPLY_NO_ERROR;
	if (has_code(reply, "NOPERM"))
		return REPLY_DENIED;
	for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
		if (has_code(reply, lost[i]))
			return REPLY_LOST;
	return REPLY_REFUSED;
}

/* ---- forms */

bool reply_is_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

bool reply_is_status(const redisReply *reply, const char *text)
{
	return reply->type == REDIS_REPLY_STATUS && reply->len == strlen(text) &&
	       memcmp(reply->str, text, reply->len) == 0;
}

bool reply_is_array(const redisReply *reply, size_t count)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements >= count;
}

void reply_copy(const redisReply *reply, char *text, size_t size)
{
	size_t length = 0;

	if (reply_is_text(reply) || reply->type == REDIS_REPLY_ERROR)
		length = reply->len < size - 1 ? reply->len : size - 1;
	for (size_t i = 0; i < length; i++)
		text[i] = '?';
	for (size_t i = 0; i < length; i++)
		if (reply->str[i] >= ' ' && reply->str[i] <= '~')
			text[i] = reply->str[i];
	text[length] = '\0';
}

/* ---- what is in them */

void incarnation_format(uint64_t incarnation, char text[INCARNATION_TEXT])
{
	snprintf(text, INCARNATION_TEXT, "%016llx", (unsigned long long)incarnation);
}

bool reply_read_incarnation(const redisReply *reply, uint64_t *ret_incarnation)
{
	uint64_t incarnation = 0;

	*ret_incarnation = 0;
	if (reply->type == REDIS_REPLY_NIL)
		return true;
	if (reply->type != REDIS_REPLY_STRING || reply->len != INCARNATION_TEXT - 1)
		return false;
	for (size_t i = 0; i < reply->len; i++) {
		char c = reply->str[i];
		if (c >= '0' && c <= '9')
			incarnation = incarnation << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			incarnation = incarnation << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret_incarnation = incarnation;
	return incarnation != 0;
}

/* Reads a decimal number, and moves *at behind it. False: there is none, or it is too large. */
static bool read_number(const char **at, const char *end, uint64_t *ret_number)
{
	const char *begin = *at;
	uint64_t number = 0;

	for (; *at < end && **at >= '0' && **at <= '9'; ++*at)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(**at - '0'), &number))
			return false;
	*ret_number = number;
	return *at > begin;
}

bool reply_read_stream_id(const redisReply *reply, struct stream_id *ret_id)
{
	const char *at = reply->str, *end;

	if (reply->type != REDIS_REPLY_STRING)
		return false;
	end = at + reply->len;
	return read_number(&at, end, &ret_id->ms) && at < end && *at++ == '-' &&
	       read_number(&at, end, &ret_id->number) && at == end;
}

const redisReply *reply_find(const redisReply *reply, const char *name)
{
	if (reply->type != REDIS_REPLY_ARRAY)
		return NULL;
	for (size_t i = 0; i + 1 < reply->elements; i += 2) {
		const redisReply *key = reply->element[i];
		if (reply_is_text(key) && key->len == strlen(name) && memcmp(key->str, name, key->len) == 0)
			return reply->element[i + 1];
	}
	return NULL;
}
