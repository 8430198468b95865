/* SPDX-License-Identifier: MIT */
/* Leases, and the list of hosts, which are those that have one. */
#include "engine_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys that SCAN looks at in one step, and how many steps it may take. */
#define SCAN_COUNT 512
#define SCANS_MAX 8192

/* ---- the own one */

static unsigned long long lease_ms(const struct engine_redis *redis)
{
	return redis->lease_ns / 1000000;
}

/* SET with NX and GET in one command is understood from version 7 on only. */
void lease_take(struct engine_redis *redis, uint64_t incarnation)
{
	char text[INCARNATION_TEXT];

	if (redis->link != LINK_UP)
		return;
	incarnation_format(incarnation, text);
	server_ask(&redis->command, QUESTION_LEASE_TAKE, NULL, "SET %s %s NX PX %llu", redis->lease_key, text,
		   lease_ms(redis));
	server_ask(&redis->command, QUESTION_LEASE_OWN, NULL, "MGET %s", redis->lease_key);
}

void lease_renew(struct engine_redis *redis, uint64_t incarnation)
{
	char text[INCARNATION_TEXT];

	if (redis->link != LINK_UP)
		return;
	incarnation_format(incarnation, text);
	server_ask(&redis->command, QUESTION_LEASE_RENEW, NULL, "SET %s %s XX GET PX %llu", redis->lease_key,
		   text, lease_ms(redis));
}

static void answer_own_lease(struct engine_redis *redis, const redisReply *reply)
{
	uint64_t incarnation;

	/* What is no incarnation was not written by a bridge. */
	if (reply_read_incarnation(reply, &incarnation))
		redis->events.own_lease(redis->events.link, incarnation);
	else if (reply_is_text(reply))
		trouble_note(redis, "the lease of this host holds something else");
	else
		trouble_malformed(redis, &redis->command, QUESTION_LEASE_RENEW, reply);
}

/* ---- others' */

/* So many are read by one command. */
#define READ_MAX 64

struct lease_names {
	unsigned count;
	char names[][HOST_NAME_MAX_BYTES + 1];
};

static void read_some(struct engine_redis *redis, const char *const *hosts, unsigned count)
{
	struct lease_names *names = malloc(sizeof(*names) + count * sizeof(names->names[0]));
	char keys[READ_MAX][KEY_MAX];
	const char *words[READ_MAX + 1] = {"MGET"};

	if (!names)
		return;
	names->count = count;
	for (unsigned i = 0; i < count; i++) {
		snprintf(names->names[i], sizeof(names->names[i]), "%s", hosts[i]);
		snprintf(keys[i], KEY_MAX, "ctx:%s:lease:%s", redis->fleet, names->names[i]);
		words[i + 1] = keys[i];
	}
	server_ask_words(&redis->command, QUESTION_LEASES, names, count + 1, words);
}

void lease_read(struct engine_redis *redis, const char *const *hosts, unsigned count)
{
	if (redis->link != LINK_UP)
		return;
	for (unsigned at = 0; at < count; at += READ_MAX)
		read_some(redis, hosts + at, count - at < READ_MAX ? count - at : READ_MAX);
}

static void answer_leases(struct engine_redis *redis, const struct lease_names *names,
			  const redisReply *reply)
{
	uint64_t incarnation;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != names->count) {
		trouble_malformed(redis, &redis->command, QUESTION_LEASES, reply);
		return;
	}
	for (unsigned i = 0; i < names->count; i++) {
		if (reply_read_incarnation(reply->element[i], &incarnation))
			redis->events.lease(redis->events.link, names->names[i], incarnation);
		else
			trouble_note(redis, "the lease of %s holds something else", names->names[i]);
	}
}

void lease_answer(struct engine_redis *redis, enum question question, const void *data,
		  const redisReply *reply)
{
	if (!trouble_check(redis, &redis->command, question, reply))
		return;
	if (question == QUESTION_LEASE_RENEW)
		answer_own_lease(redis, reply);
	else if (question == QUESTION_LEASES)
		answer_leases(redis, data, reply);
	else if (question == QUESTION_LEASE_OWN && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1)
		answer_own_lease(redis, reply->element[0]);
	else if (question != QUESTION_LEASE_TAKE)
		trouble_malformed(redis, &redis->command, question, reply);
	else if (reply->type != REDIS_REPLY_NIL && !reply_is_status(reply, "OK"))
		trouble_malformed(redis, &redis->command, question, reply);
}

/* ---- the list of hosts */

static void end_list(struct engine_redis *redis, int error)
{
	redis->is_listing = redis->is_list_due = false;
	if (redis->events.host)
		redis->events.host(redis->events.link, NULL, error);
}

/* The fleet's name has no character that means something in a pattern. */
static void scan(struct engine_redis *redis, const char *cursor)
{
	redis->scans++;
	server_ask(&redis->command, QUESTION_SCAN, NULL, "SCAN %s MATCH ctx:%s:lease:* COUNT %d", cursor,
		   redis->fleet, SCAN_COUNT);
}

void hosts_list(struct engine_redis *redis)
{
	if (redis->is_listing)
		return;
	redis->is_listing = true;
	redis->scans = 0;
	redis->is_list_due = redis->link != LINK_UP;
	if (!redis->is_list_due)
		scan(redis, "0");
}

void hosts_down(struct engine_redis *redis)
{
	if (redis->is_listing)
		end_list(redis, -EHOSTUNREACH);
}

/* Tells the host of a key. Keys of other forms are none of ours. */
static void tell_host(struct engine_redis *redis, const redisReply *key)
{
	char name[HOST_NAME_MAX_BYTES + 1];
	size_t front = strlen(redis->lease_key) - strlen(redis->host);

	if (!reply_is_text(key) || key->len <= front || key->len - front > HOST_NAME_MAX_BYTES ||
	    memcmp(key->str, redis->lease_key, front) != 0 ||
	    !fleet_host_is_valid(key->str + front, key->len - front))
		return;
	memcpy(name, key->str + front, key->len - front);
	name[key->len - front] = '\0';
	if (redis->events.host)
		redis->events.host(redis->events.link, name, 0);
}

void hosts_answer(struct engine_redis *redis, const redisReply *reply)
{
	char cursor[24];

	if (!trouble_check(redis, &redis->command, QUESTION_SCAN, reply)) {
		end_list(redis, -EACCES);
		return;
	}
	if (!reply_is_array(reply, 2) || !reply_is_text(reply->element[0]) ||
	    reply->element[0]->len >= sizeof(cursor) || !reply_is_array(reply->element[1], 0)) {
		trouble_malformed(redis, &redis->command, QUESTION_SCAN, reply);
		return;
	}
	for (size_t i = 0; i < reply->element[1]->elements; i++)
		tell_host(redis, reply->element[1]->element[i]);
	reply_copy(reply->element[0], cursor, sizeof(cursor));
	if (strcmp(cursor, "0") == 0)
		end_list(redis, 0);
	else if (redis->scans >= SCANS_MAX)
		end_list(redis, -E2BIG);
	else
		scan(redis, cursor);
}
