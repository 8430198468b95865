/* SPDX-License-Identifier: MIT */
/*
 * A round tries each address of the setting once: all that its name stands for, in turn. Of Sentinel's
 * addresses each is asked where the master is, and all that this stands for is tried.
 */
#include "engine_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* How long an answer about a name is waited for. Then what the name was before is tried. */
#define RESOLVE_NS NS_PER_SECOND
/*
 * A cable that is plugged in again is noticed with the first packet. The kernel sends that of a connection
 * once more after a second; so a new connection is begun much sooner. Some rounds have more patience, for
 * servers that are far away.
 */
#define PATIENCE_NS 300000000ull
#define LONG_PATIENCE_NS 2000000000ull
#define LONG_ROUND 8
/* Sentinel's answers are small. */
#define SENTINEL_ANSWER_MAX 65536

static struct engine_redis *redis_of(const struct finder *finder)
{
	return container_of(finder, struct engine_redis, finder);
}

static const struct address *current_address(const struct finder *finder)
{
	return finder->is_at_master ? &finder->master : &finder->list.addresses[finder->at];
}

uint64_t finder_patience_ns(const struct engine_redis *redis)
{
	return redis->rounds % LONG_ROUND == LONG_ROUND - 1 ? LONG_PATIENCE_NS : PATIENCE_NS;
}

/* ---- names */

static void forget_question(struct finder *finder)
{
	if (!finder->question)
		return;
	epoll_ctl(redis_of(finder)->epoll_fd, EPOLL_CTL_DEL, resolver_fd(finder->question), NULL);
	resolver_free(finder->question);
	finder->question = NULL;
}

static bool ask_for_name(struct finder *finder, const char *host, uint64_t now_ns)
{
	struct epoll_event event = {.events = EPOLLIN};
	int error = resolver_ask(host, &finder->question);

	if (!error) {
		event.data.ptr = finder->question;
		if (epoll_ctl(redis_of(finder)->epoll_fd, EPOLL_CTL_ADD, resolver_fd(finder->question),
			      &event))
			error = -errno;
	}
	if (error) {
		trouble_note(redis_of(finder), "%s cannot be resolved: %s", host, strerror(-error));
		resolver_free(finder->question);
		finder->question = NULL;
		return false;
	}
	finder->state = FINDER_RESOLVING;
	finder->deadline_ns = now_ns + RESOLVE_NS;
	return true;
}

/* The places are known. */
static void use_places(struct finder *finder)
{
	finder->place = 0;
	finder->state = FINDER_FOUND;
}

/* Finds out what the current address stands for. False: it cannot be had. */
static bool resolve_address(struct finder *finder, uint64_t now_ns)
{
	const struct address *address = current_address(finder);

	forget_question(finder);
	if (finder->list.count == 0) { /* It is a socket. */
		finder->places.count = 1;
		use_places(finder);
		return true;
	}
	if (!resolver_is_numeric(address->host))
		return ask_for_name(finder, address->host, now_ns);
	finder->places.count = 1;
	snprintf(finder->places.texts[0], RESOLVED_TEXT, "%.*s", RESOLVED_TEXT - 1, address->host);
	use_places(finder);
	return true;
}

/* Goes on when the answer about a name has come, or its time is over. False: the name cannot be resolved. */
static bool resolve_tick(struct finder *finder, uint64_t now_ns)
{
	struct resolved *known = &finder->known[finder->at];
	const char *reason = "there is no answer";

	finder->places.count = 0;
	if (!resolver_read(finder->question, &finder->places, &reason) && now_ns < finder->deadline_ns)
		return true;
	forget_question(finder);
	use_places(finder);
	if (finder->places.count == 0)
		trouble_note(redis_of(finder), "%s cannot be resolved: %s", current_address(finder)->host,
			     reason);
	if (finder->is_at_master)
		return finder->places.count;
	if (finder->places.count)
		*known = finder->places;
	else
		finder->places = *known;
	return finder->places.count;
}

/* ---- Sentinel */

/* Says how long Sentinel waits before it takes the master for dead. */
static void note_failover(struct engine_redis *redis, const redisReply *reply)
{
	const redisReply *value = reply_find(reply, "down-after-milliseconds");
	char text[16];

	if (!value)
		return;
	reply_copy(value, text, sizeof(text));
	redis->status.failover_ns = strtoull(text, NULL, 10) % UINT32_MAX * 1000000;
}

static void ask_sentinel(struct finder *finder)
{
	struct server *sentinel = &finder->sentinel;
	const char *master = finder->list.master;

	server_ask(sentinel, QUESTION_MASTER, NULL, "SENTINEL MASTER %s", master);
	server_ask(sentinel, QUESTION_ADDRESS, NULL, "SENTINEL GET-MASTER-ADDR-BY-NAME %s", master);
}

/* Sentinel has said where the master is. */
static void take_master(struct finder *finder, const redisReply *reply)
{
	struct address *master = &finder->master;

	if (reply->type == REDIS_REPLY_ERROR) {
		server_fail_answer(&finder->sentinel, QUESTION_ADDRESS, reply);
		return;
	}
	if (reply->type == REDIS_REPLY_NIL) {
		server_fail(&finder->sentinel, "it does not know the master \"%s\"", finder->list.master);
		return;
	}
	if (!reply_is_array(reply, 2) || reply->elements != 2 || !reply_is_text(reply->element[0]) ||
	    !reply_is_text(reply->element[1]) || reply->element[0]->len == 0 ||
	    reply->element[0]->len > ADDRESS_HOST_MAX ||
	    !address_parse_port(reply->element[1]->str, reply->element[1]->len, &master->port)) {
		trouble_malformed(redis_of(finder), &finder->sentinel, QUESTION_ADDRESS, reply);
		return;
	}
	reply_copy(reply->element[0], master->host, sizeof(master->host));
	finder->is_at_master = true;
}

static void sentinel_answer(struct server *sentinel, enum question question, const void *data,
			    const redisReply *reply)
{
	struct engine_redis *redis = sentinel->options->engine;
	struct finder *finder = &redis->finder;
	bool wants_password =
		reply->type == REDIS_REPLY_ERROR && reply->len >= 6 && memcmp(reply->str, "NOAUTH", 6) == 0;

	(void)data;
	if (question == QUESTION_MASTER)
		note_failover(redis, reply);
	if (question != QUESTION_ADDRESS)
		return;
	if (wants_password && !finder->has_authenticated) {
		finder->has_authenticated = true;
		server_authenticate(sentinel);
		ask_sentinel(finder);
	} else {
		take_master(finder, reply);
	}
}

static void open_sentinel(struct finder *finder, uint64_t now_ns)
{
	struct engine_redis *redis = redis_of(finder);
	struct server_place place = finder_place(finder);

	finder->state = FINDER_ASKING;
	finder->has_authenticated = false;
	server_open(&finder->sentinel, &place, false, finder_patience_ns(redis), now_ns);
	ask_sentinel(finder);
}

/* ---- the round */

void finder_init(struct finder *finder, struct engine_redis *redis)
{
	finder->sentinel.options = &redis->options;
	finder->sentinel.answer = sentinel_answer;
	finder->sentinel.answer_max = SENTINEL_ANSWER_MAX;
	finder->sentinel.answer_max_ns = SERVER_SILENCE_NS;
}

static void stop_finding(struct finder *finder)
{
	forget_question(finder);
	server_close(&finder->sentinel);
	finder->state = FINDER_IDLE;
}

void finder_free(struct finder *finder)
{
	stop_finding(finder);
}

/* Goes on to the next address that can be had. False: all have been tried. */
static bool next_address(struct finder *finder, uint64_t now_ns)
{
	unsigned count = finder->list.count ? finder->list.count : 1;

	finder->is_at_master = false;
	while (++finder->tried < count) {
		finder->at = (finder->at + 1) % count;
		if (resolve_address(finder, now_ns))
			return true;
	}
	finder->at = (finder->at + 1) % count;
	stop_finding(finder);
	return false;
}

void finder_begin(struct finder *finder, uint64_t now_ns)
{
	stop_finding(finder);
	finder->tried = 0;
	finder->is_at_master = false;
	if (!resolve_address(finder, now_ns))
		finder->state = FINDER_IDLE;
}

bool finder_next(struct finder *finder, uint64_t now_ns)
{
	server_close(&finder->sentinel);
	if (++finder->place < finder->places.count) {
		finder->state = FINDER_FOUND;
		return true;
	}
	return next_address(finder, now_ns);
}

/* Sentinel has answered or failed. */
static bool sentinel_tick(struct finder *finder, uint64_t now_ns)
{
	struct server *sentinel = &finder->sentinel;
	struct engine_redis *redis = redis_of(finder);

	server_tick(sentinel, now_ns);
	if (server_has_failed(sentinel)) {
		trouble_note(redis, "Sentinel at %s: %s", redis->status.address, sentinel->failure);
		return finder_next(finder, now_ns);
	}
	if (!finder->is_at_master)
		return true;
	server_close(sentinel);
	return resolve_address(finder, now_ns) || next_address(finder, now_ns);
}

bool finder_tick(struct finder *finder, uint64_t now_ns)
{
	bool goes_on = finder->state != FINDER_IDLE;

	if (finder->state == FINDER_RESOLVING)
		goes_on = resolve_tick(finder, now_ns);
	else if (finder->state == FINDER_ASKING)
		return sentinel_tick(finder, now_ns);
	else if (finder->state == FINDER_FOUND && !finder_has_found(finder))
		open_sentinel(finder, now_ns);
	return goes_on || next_address(finder, now_ns);
}

bool finder_has_found(const struct finder *finder)
{
	return finder->state == FINDER_FOUND && finder->is_at_master == finder->list.is_sentinel;
}

uint64_t finder_next_ns(const struct finder *finder)
{
	if (finder->state == FINDER_RESOLVING)
		return finder->deadline_ns;
	return finder->state == FINDER_ASKING ? server_next_ns(&finder->sentinel) : 0;
}

struct server_place finder_place(struct finder *finder)
{
	const struct address *address = current_address(finder);
	char *text = redis_of(finder)->status.address;
	size_t size = sizeof(redis_of(finder)->status.address);
	struct server_place place = {
		.numeric = finder->places.texts[finder->place], .name = address->host, .port = address->port};

	if (finder->list.count == 0) {
		snprintf(text, size, "%s", finder->list.path);
		place.path = finder->list.path;
	} else if (strcmp(place.numeric, place.name) == 0) {
		snprintf(text, size, "%.100s port %u", place.name, place.port);
	} else {
		snprintf(text, size, "%.64s (%.40s) port %u", place.name, place.numeric, place.port);
	}
	return place;
}
