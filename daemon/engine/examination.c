/* SPDX-License-Identifier: MIT */
/*
 * Examining the server. It is asked what the engine does not ask all the time, and a message is sent to the
 * own inbox: that shows the way of all messages, and its id is made of the server's clock, which needs no
 * right.
 */
#include "engine_parts.h"

#include <stdio.h>
#include <string.h>

#define EXAMINATION_NS NS_PER_SECOND

void examination_begin(struct engine_redis *redis)
{
	struct server *server = &redis->command;
	char nonce[INCARNATION_TEXT];

	if (redis->is_examining)
		return;
	redis->is_examining = true;
	redis->examination_ns = 0;
	redis->examined = 0;
	redis->status.message_ns = 0;
	redis->status.is_clock_known = false;
	if (redis->link != LINK_UP)
		return;
	redis->probe = (struct probe){.nonce = random_draw(redis) | 1};
	incarnation_format(redis->probe.nonce, nonce);
	server_ask(server, QUESTION_PING_PROBE, NULL, "PING");
	server_ask(server, QUESTION_ROLE_PROBE, NULL, "ROLE");
	server_ask(server, QUESTION_LEASE_PROBE, NULL, "MGET %s", redis->lease_key);
	server_ask(server, QUESTION_SCAN_PROBE, NULL, "SCAN 0 COUNT 1");
	server_ask(server, QUESTION_ADD_PROBE, NULL, "XADD %s * p %s", redis->inbox_key, nonce);
	redis->examined = 5;
}

/* How far the server's clock is ahead, by the id that it has made just now. */
static void note_clock(struct engine_redis *redis, const redisReply *reply)
{
	struct stream_id id;

	if (!reply_read_stream_id(reply, &id) || id.ms > INT64_MAX / 1000000) {
		trouble_malformed(redis, &redis->command, QUESTION_ADD_PROBE, reply);
		return;
	}
	redis->status.clock_ahead_ns = (int64_t)(id.ms * 1000000) - (int64_t)clock_read_ns(CLOCK_REALTIME);
	redis->status.is_clock_known = true;
}

void examination_answer(struct engine_redis *redis, enum question question, const redisReply *reply)
{
	if (redis->examined)
		redis->examined--;
	if (!trouble_check(redis, &redis->command, question, reply)) {
		/* It will not come back. */
		if (question == QUESTION_ADD_PROBE)
			redis->probe.nonce = 0;
		return;
	}
	if (question == QUESTION_PING_PROBE)
		redis->status.round_trip_ns = redis->now_ns - redis->probe.sent_ns;
	if (question == QUESTION_ROLE_PROBE && reply_is_array(reply, 1))
		reply_copy(reply->element[0], redis->status.role, sizeof(redis->status.role));
	if (question == QUESTION_ADD_PROBE)
		note_clock(redis, reply);
}

void examination_probe(struct engine_redis *redis, const char *bytes, size_t size)
{
	char nonce[INCARNATION_TEXT];

	incarnation_format(redis->probe.nonce, nonce);
	if (!redis->probe.nonce || size != strlen(nonce) || memcmp(bytes, nonce, size) != 0)
		return;
	redis->status.message_ns = redis->now_ns - redis->probe.sent_ns;
	redis->probe.nonce = 0;
}

void examination_tick(struct engine_redis *redis)
{
	if (!redis->is_examining)
		return;
	/* examine() does not know the time. What it has asked is written at the end of this dispatch. */
	if (!redis->examination_ns) {
		redis->probe.sent_ns = redis->now_ns;
		redis->examination_ns = redis->now_ns + EXAMINATION_NS;
	}
	if (redis->link == LINK_UP && redis->now_ns < redis->examination_ns &&
	    (redis->examined || redis->probe.nonce))
		return;
	redis->is_examining = false;
	redis->probe.nonce = 0;
	if (redis->events.examined)
		redis->events.examined(redis->events.link, &redis->status);
}
