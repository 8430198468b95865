/* SPDX-License-Identifier: MIT */
#include "engine_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The same is told again after this time. */
#define AGAIN_NS (60 * NS_PER_SECOND)

/* FNV-1a. */
uint32_t text_hash(const char *text)
{
	uint32_t hash = 2166136261u;

	while (*text)
		hash = (hash ^ (uint8_t)*text++) * 16777619u;
	return hash;
}

/* xorshift64. */
uint64_t random_draw(struct engine_redis *redis)
{
	redis->random ^= redis->random << 13;
	redis->random ^= redis->random >> 7;
	redis->random ^= redis->random << 17;
	return redis->random;
}

/* Whether the text is to be told now. Texts that come in turn are each told once a minute. */
static bool is_news(struct engine_redis *redis, const char *text)
{
	uint32_t hash = text_hash(text);
	struct told *told = NULL;

	for (unsigned i = 0; i < sizeof(redis->told) / sizeof(redis->told[0]) && !told; i++)
		if (redis->told[i].ns && redis->told[i].hash == hash)
			told = &redis->told[i];
	if (told && redis->now_ns - told->ns < AGAIN_NS)
		return false;
	if (!told)
		told = &redis->told[redis->next_told++ % (sizeof(redis->told) / sizeof(redis->told[0]))];
	*told = (struct told){.hash = hash, .ns = redis->now_ns};
	return true;
}

void trouble_note(struct engine_redis *redis, const char *format, ...)
{
	char *text = redis->status.trouble;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(redis->status.trouble), format, arguments);
	va_end(arguments);
	if (redis->events.trouble && is_news(redis, text))
		redis->events.trouble(redis->events.link, text);
}

/* A right is missing. */
static void note_denied(struct engine_redis *redis, enum question question)
{
	const char *name = question_name(question);
	char *denied = redis->status.denied;
	size_t length = strlen(denied), room = sizeof(redis->status.denied);

	for (unsigned i = 0; i < QUESTIONS; i++)
		if (redis->denied >> i & 1 && strcmp(question_name(i), name) == 0)
			return;
	redis->denied |= 1ull << question;
	if (length + 1 + strlen(name) + 1 <= room)
		snprintf(denied + length, room - length, "%s%s", length ? " " : "", name);
}

bool trouble_check(struct engine_redis *redis, struct server *server, enum question question,
		   const redisReply *reply)
{
	enum reply_error error = reply_error_of(reply);
	char text[128];

	if (error == REPLY_NO_ERROR)
		return true;
	if (error == REPLY_DENIED)
		note_denied(redis, question);
	if (error == REPLY_LOST || question == QUESTION_READ || question == QUESTION_READ_PROBE) {
		server_fail_answer(server, question, reply);
		return false;
	}
	reply_copy(reply, text, sizeof(text));
	trouble_note(redis, "%s: %s", question_name(question), text);
	return false;
}

void trouble_malformed(struct engine_redis *redis, struct server *server, enum question question,
		       const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR)
		redis->status.malformed++;
	server_fail_answer(server, question, reply);
}
