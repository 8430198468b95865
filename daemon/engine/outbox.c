/* SPDX-License-Identifier: MIT */
/*
 * Sending. What is sent in one turn of the loop is written by one write(2), at the beginning of the next
 * dispatch, which is due at once.
 */
#include "engine_parts.h"

#include <stdio.h>
#include <string.h>

/* No more is taken while so many bytes are not written, or so many batches not answered. */
#define QUEUED_MAX (256u * 1024)
#define UNANSWERED_MAX 8192

/* Batches that an inbox holds, to about a hundred more. */
#define INBOX_ENTRIES 8192

/*
 * Gives an inbox its time to live when its host may not do so any more: once in half the time that it lives.
 * Two hosts with the same place in the table make that happen more often.
 */
static void keep_inbox(struct engine_redis *redis, const char *host, const char *key)
{
	uint32_t hash = text_hash(host);
	struct kept_inbox *kept = &redis->kept[hash % (sizeof(redis->kept) / sizeof(redis->kept[0]))];
	uint64_t time_ns = INBOX_LEASES * redis->lease_ns;

	if (kept->hash == hash && redis->now_ns < kept->until_ns)
		return;
	*kept = (struct kept_inbox){.hash = hash, .until_ns = redis->now_ns + time_ns / 2};
	server_ask(&redis->command, QUESTION_EXPIRE, NULL, "PEXPIRE %s %llu", key,
		   (unsigned long long)(time_ns / 1000000));
}

bool outbox_send(struct engine_redis *redis, const char *host, const uint8_t *bytes, size_t size)
{
	struct server *server = &redis->command;
	char key[KEY_MAX];

	if (redis->link != LINK_UP)
		return true;
	if ((server_queued(server) && server_queued(server) + size > QUEUED_MAX) ||
	    redis->unanswered >= UNANSWERED_MAX) {
		redis->is_refusing = true;
		return false;
	}
	if (snprintf(key, sizeof(key), "ctx:%s:in:%s", redis->fleet, host) >= (int)sizeof(key))
		return true;
	redis->unanswered++;
	server_ask(server, QUESTION_ADD, NULL, "XADD %s MAXLEN ~ %d * b %b", key, INBOX_ENTRIES, bytes, size);
	keep_inbox(redis, host, key);
	return true;
}

void outbox_tick(struct engine_redis *redis)
{
	if (!redis->is_refusing || redis->link != LINK_UP ||
	    server_queued(&redis->command) > QUEUED_MAX / 2 || redis->unanswered > UNANSWERED_MAX / 2)
		return;
	redis->is_refusing = false;
	redis->events.writable(redis->events.link);
}

void outbox_answer(struct engine_redis *redis, const redisReply *reply)
{
	struct stream_id id;

	redis->unanswered--;
	if (!trouble_check(redis, &redis->command, QUESTION_ADD, reply))
		redis->status.refused++;
	else if (!reply_read_stream_id(reply, &id))
		trouble_malformed(redis, &redis->command, QUESTION_ADD, reply);
}

void outbox_down(struct engine_redis *redis)
{
	redis->is_refusing = false;
	redis->unanswered = 0;
	/* Another server knows nothing of them. */
	memset(redis->kept, 0, sizeof(redis->kept));
}
