/* SPDX-License-Identifier: MIT */
/*
 * Receiving. XREAD waits at the server until there is an entry, for READ_WAIT_MS at most, so that its answer
 * also says that the link works.
 *
 * The ids of entries are made of the server's clock. A server that took over may have a clock that is behind,
 * so each new connection reads from the beginning; what was read before is cut off by then but for some. It
 * is not cut off after each entry, since that costs a command; but when many have been read, or none came for
 * a while.
 */
#include "engine_parts.h"

#include <string.h>

#define READ_WAIT_MS 400
#define UNTRIMMED_MAX 128

static unsigned long long inbox_ms(const struct engine_redis *redis)
{
	return INBOX_LEASES * redis->lease_ns / 1000000;
}

void inbox_keep(struct engine_redis *redis)
{
	server_ask(&redis->command, QUESTION_EXPIRE, NULL, "PEXPIRE %s %llu", redis->inbox_key,
		   inbox_ms(redis));
}

static void read_next(struct engine_redis *redis)
{
	server_ask(&redis->reader, QUESTION_READ, NULL, "XREAD COUNT %d BLOCK %d STREAMS %s %llu-%llu",
		   INBOX_READ_COUNT, READ_WAIT_MS, redis->inbox_key, (unsigned long long)redis->cursor.ms,
		   (unsigned long long)redis->cursor.number);
}

/*
 * The first entry is read once to know whether XREAD is allowed, and the server has loaded its data: an XREAD
 * that waits would not be answered at once.
 */
void inbox_join(struct engine_redis *redis)
{
	redis->is_readable = false;
	if (redis->clears_inbox)
		server_ask(&redis->reader, QUESTION_TRIM, NULL, "XTRIM %s MAXLEN 0", redis->inbox_key);
	redis->clears_inbox = false;
	server_ask(&redis->reader, QUESTION_READ_PROBE, NULL, "XREAD COUNT 1 STREAMS %s 0", redis->inbox_key);
}

void inbox_begin(struct engine_redis *redis)
{
	redis->cursor = (struct stream_id){0};
	redis->untrimmed = 0;
	read_next(redis);
}

void inbox_down(struct engine_redis *redis)
{
	/* What is in the inbox would be unreadable again. */
	if (redis->reader.is_unreadable)
		redis->clears_inbox = true;
}

/* Cuts off what is older than the cursor, and the entry of the cursor. */
static void trim(struct engine_redis *redis)
{
	struct stream_id next = redis->cursor;

	if (++next.number == 0)
		next.ms++;
	server_ask(&redis->reader, QUESTION_TRIM, NULL, "XTRIM %s MINID %llu-%llu", redis->inbox_key,
		   (unsigned long long)next.ms, (unsigned long long)next.number);
	redis->untrimmed = 0;
}

static bool is_later(const struct stream_id *a, const struct stream_id *b)
{
	return a->ms > b->ms || (a->ms == b->ms && a->number > b->number);
}

/* Hands an entry on, by its field. False: the server lies about the stream. */
static bool take_entry(struct engine_redis *redis, const redisReply *entry)
{
	const redisReply *fields, *value;
	struct stream_id id;

	if (!reply_is_array(entry, 2) || !reply_read_stream_id(entry->element[0], &id) ||
	    !is_later(&id, &redis->cursor))
		return false;
	redis->cursor = id;
	redis->untrimmed++;
	fields = entry->element[1];
	if ((value = reply_find(fields, "b")) && value->type == REDIS_REPLY_STRING)
		redis->events.message(redis->events.link, (const uint8_t *)value->str, value->len);
	else if ((value = reply_find(fields, "p")) && value->type == REDIS_REPLY_STRING)
		examination_probe(redis, value->str, value->len);
	else
		redis->status.malformed++;
	return true;
}

/* [[KEY, [ENTRY...]]] */
static bool take_entries(struct engine_redis *redis, const redisReply *reply)
{
	const redisReply *stream, *entries;

	if (!reply_is_array(reply, 1) || reply->elements != 1)
		return false;
	stream = reply->element[0];
	if (!reply_is_array(stream, 2) || !reply_is_text(stream->element[0]))
		return false;
	entries = stream->element[1];
	if (!reply_is_array(entries, 1) || entries->elements > INBOX_READ_COUNT)
		return false;
	for (size_t i = 0; i < entries->elements; i++)
		if (!take_entry(redis, entries->element[i]))
			return false;
	return true;
}

static void answer_read(struct engine_redis *redis, const redisReply *reply)
{
	bool is_empty = reply->type == REDIS_REPLY_NIL;

	if (!is_empty && !take_entries(redis, reply)) {
		trouble_malformed(redis, &redis->reader, QUESTION_READ, reply);
		return;
	}
	if (redis->untrimmed >= UNTRIMMED_MAX || (is_empty && redis->untrimmed))
		trim(redis);
	read_next(redis);
}

void inbox_answer(struct engine_redis *redis, enum question question, const redisReply *reply)
{
	if (!trouble_check(redis, &redis->reader, question, reply))
		return;
	if (question == QUESTION_READ)
		answer_read(redis, reply);
	else if (question == QUESTION_READ_PROBE &&
		 (reply->type == REDIS_REPLY_NIL || reply->type == REDIS_REPLY_ARRAY))
		redis->is_readable = true;
	else if (reply->type != REDIS_REPLY_INTEGER)
		trouble_malformed(redis, &redis->reader, question, reply);
}
