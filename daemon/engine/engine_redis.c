/* SPDX-License-Identifier: MIT */
#include "engine_redis.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine_parts.h"

/* From the beginning of one round over all addresses to the next: this, doubled with each, up to the longest.
 * At random some are shorter, by half at most. */
#define BACK_OFF_NS 20000000ull
#define BACK_OFF_MAX_NS 500000000ull
/* A link that worked for less does not count: the next rounds are not sooner for it. */
#define WORKED_NS NS_PER_SECOND

/* Answers to commands are small, the largest are those of SCAN. The inbox has batches of 64 KiB. */
#define COMMAND_ANSWER_MAX (256u * 1024)
#define INBOX_ANSWER_MAX (INBOX_READ_COUNT * (65536u + 256))
#define INBOX_ANSWER_NS (10 * NS_PER_SECOND)

static struct engine_redis *redis_of(const struct engine *engine)
{
	return container_of(engine, struct engine_redis, engine);
}

/* ---- answers */

static void command_answer(struct server *server, enum question question, const void *data,
			   const redisReply *reply)
{
	struct engine_redis *redis = server->options->engine;

	switch (question) {
	case QUESTION_ADD:
		outbox_answer(redis, reply);
		break;
	case QUESTION_EXPIRE:
		if (trouble_check(redis, server, question, reply) && reply->type != REDIS_REPLY_INTEGER)
			trouble_malformed(redis, server, question, reply);
		break;
	case QUESTION_SCAN:
		hosts_answer(redis, reply);
		break;
	case QUESTION_ADD_PROBE:
	case QUESTION_LEASE_PROBE:
	case QUESTION_SCAN_PROBE:
	case QUESTION_PING_PROBE:
	case QUESTION_ROLE_PROBE:
		examination_answer(redis, question, reply);
		break;
	default:
		lease_answer(redis, question, data, reply);
		break;
	}
}

static void reader_answer(struct server *server, enum question question, const void *data,
			  const redisReply *reply)
{
	(void)data;
	inbox_answer(server->options->engine, question, reply);
}

/* ---- the link */

/* When the round after this one begins. */
static uint64_t next_round_ns(struct engine_redis *redis)
{
	uint64_t longest_ns = BACK_OFF_NS;

	for (unsigned i = 1; i < redis->rounds && longest_ns < BACK_OFF_MAX_NS; i++)
		longest_ns *= 2;
	if (longest_ns > BACK_OFF_MAX_NS)
		longest_ns = BACK_OFF_MAX_NS;
	return redis->round_ns + longest_ns - random_draw(redis) % (longest_ns / 2);
}

static void wait_for_round(struct engine_redis *redis)
{
	redis->link = LINK_WAITING;
	redis->due_ns = next_round_ns(redis);
}

static void begin_round(struct engine_redis *redis)
{
	redis->link = LINK_SEARCHING;
	redis->round_ns = redis->now_ns;
	finder_begin(&redis->finder, redis->now_ns);
	redis->rounds++;
}

static void begin_joining(struct engine_redis *redis)
{
	struct server_place place = finder_place(&redis->finder);
	uint64_t patience_ns = finder_patience_ns(redis);

	redis->link = LINK_JOINING;
	server_open(&redis->command, &place, true, patience_ns, redis->now_ns);
	server_open(&redis->reader, &place, true, patience_ns, redis->now_ns);
	inbox_join(redis);
}

/* The first that has failed, or NULL. */
static struct server *failed_server(struct engine_redis *redis)
{
	if (redis->link < LINK_JOINING)
		return NULL;
	if (server_has_failed(&redis->command))
		return &redis->command;
	return server_has_failed(&redis->reader) ? &redis->reader : NULL;
}

static void warn_of_password(struct engine_redis *redis)
{
	if (!redis->command.is_password_open || *redis->status.warning)
		return;
	snprintf(redis->status.warning, sizeof(redis->status.warning), "other users can read %.120s",
		 redis->password_file);
	if (redis->events.trouble)
		redis->events.trouble(redis->events.link, redis->status.warning);
}

static void link_comes_up(struct engine_redis *redis)
{
	struct engine_status *status = &redis->status;

	redis->link = LINK_UP;
	redis->up_ns = redis->due_ns = redis->now_ns;
	redis->denied = 0;
	*status->denied = '\0';
	status->is_up = true;
	status->since_ns = redis->now_ns;
	status->connected++;
	status->round_trip_ns = redis->command.round_trip_ns;
	strcpy(status->role, redis->command.role);
	strcpy(status->software, redis->command.software);
	strcpy(status->version, redis->command.version);
	warn_of_password(redis);
	inbox_begin(redis);
	redis->events.up(redis->events.link, true);
}

static void close_servers(struct engine_redis *redis)
{
	server_close(&redis->command);
	server_close(&redis->reader);
}

/* A connection failed that was part of the link. */
static void link_goes_down(struct engine_redis *redis, const struct server *failed)
{
	trouble_note(redis, "the link to %s is lost: %.100s", redis->status.address, failed->failure);
	inbox_down(redis);
	outbox_down(redis);
	close_servers(redis);
	if (redis->now_ns - redis->up_ns >= WORKED_NS)
		redis->rounds = 0;
	redis->round_ns = redis->now_ns;
	wait_for_round(redis);
	redis->status.is_up = false;
	redis->status.since_ns = redis->now_ns;
	redis->status.round_trip_ns = 0;
	redis->events.down(redis->events.link);
	hosts_down(redis);
}

/* A connection failed before it could be used. */
static void joining_fails(struct engine_redis *redis, const struct server *failed)
{
	inbox_down(redis);
	if (*failed->role)
		strcpy(redis->status.role, failed->role);
	trouble_note(redis, "%s: %s", redis->status.address, failed->failure);
	close_servers(redis);
	redis->link = LINK_SEARCHING;
	if (!finder_next(&redis->finder, redis->now_ns))
		wait_for_round(redis);
}

static void beat(struct engine_redis *redis)
{
	redis->due_ns = redis->now_ns + redis->lease_ns / 3;
	inbox_keep(redis);
}

/* One step of the link. False: there is nothing to do now. */
static bool link_step(struct engine_redis *redis)
{
	const struct server *failed = failed_server(redis);
	enum link_state before = redis->link;

	if (failed && redis->link == LINK_UP)
		link_goes_down(redis, failed);
	else if (failed)
		joining_fails(redis, failed);
	else if (redis->link == LINK_WAITING && redis->now_ns >= redis->due_ns)
		begin_round(redis);
	else if (redis->link == LINK_SEARCHING && finder_has_found(&redis->finder))
		begin_joining(redis);
	else if (redis->link == LINK_SEARCHING && !finder_tick(&redis->finder, redis->now_ns))
		wait_for_round(redis);
	else if (redis->link == LINK_JOINING && redis->command.state == SERVER_READY &&
		 redis->reader.state == SERVER_READY && redis->is_readable)
		link_comes_up(redis);
	else if (redis->link == LINK_UP && redis->now_ns >= redis->due_ns)
		beat(redis);
	return redis->link != before;
}

/* ---- the seam */

static void redis_dispatch(struct engine *engine, uint64_t now_ns)
{
	struct engine_redis *redis = redis_of(engine);
	struct server *const servers[] = {&redis->command, &redis->reader, &redis->finder.sentinel};
	struct epoll_event events[8];
	int count = epoll_wait(redis->epoll_fd, events, 8, 0);

	redis->now_ns = now_ns;
	/* The descriptor of a question about a name is looked at by the finder itself. */
	for (int i = 0; i < count; i++)
		for (unsigned j = 0; j < 3; j++)
			if (events[i].data.ptr == servers[j])
				server_event(servers[j], events[i].events, now_ns);
	while (link_step(redis))
		;
	if (redis->is_list_due)
		hosts_down(redis);
	examination_tick(redis);
	server_tick(&redis->command, now_ns);
	server_tick(&redis->reader, now_ns);
	outbox_tick(redis);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t redis_next_ns(const struct engine *engine)
{
	const struct engine_redis *redis = redis_of(engine);
	uint64_t next_ns = earlier(server_next_ns(&redis->command), server_next_ns(&redis->reader));

	if (redis->link == LINK_SEARCHING)
		next_ns = earlier(next_ns, finder_next_ns(&redis->finder));
	else if (redis->link != LINK_JOINING)
		next_ns = earlier(next_ns, redis->due_ns);
	if (redis->is_examining)
		next_ns = earlier(next_ns, redis->examination_ns);
	return redis->is_list_due ? 0 : next_ns;
}

static int redis_fd(const struct engine *engine)
{
	return redis_of(engine)->epoll_fd;
}

static bool redis_send(struct engine *engine, const char *host, const uint8_t *bytes, size_t size)
{
	return outbox_send(redis_of(engine), host, bytes, size);
}

static void redis_lease_take(struct engine *engine, uint64_t incarnation)
{
	lease_take(redis_of(engine), incarnation);
}

static void redis_lease_renew(struct engine *engine, uint64_t incarnation)
{
	lease_renew(redis_of(engine), incarnation);
}

static void redis_lease_read(struct engine *engine, const char *const *hosts, unsigned count)
{
	lease_read(redis_of(engine), hosts, count);
}

static void redis_hosts(struct engine *engine)
{
	hosts_list(redis_of(engine));
}

static void redis_examine(struct engine *engine)
{
	examination_begin(redis_of(engine));
}

static void redis_status(const struct engine *engine, struct engine_status *ret_status)
{
	*ret_status = redis_of(engine)->status;
}

static void redis_close(struct engine *engine)
{
	struct engine_redis *redis = redis_of(engine);

	close_servers(redis);
	finder_free(&redis->finder);
	tls_close(redis->tls);
	if (redis->epoll_fd >= 0)
		close(redis->epoll_fd);
	free(redis->user);
	free(redis->password_file);
	free(redis);
}

static const struct engine_calls redis_calls = {
	.close = redis_close,
	.fd = redis_fd,
	.next_ns = redis_next_ns,
	.dispatch = redis_dispatch,
	.send = redis_send,
	.lease_take = redis_lease_take,
	.lease_renew = redis_lease_renew,
	.lease_read = redis_lease_read,
	.hosts = redis_hosts,
	.examine = redis_examine,
	.status = redis_status,
};

/* ---- opening */

int engine_redis_check(const char *address, char *reason, size_t reason_size)
{
	struct address_list list;
	struct tls *tls;
	int error = address_parse(address, &list, reason, reason_size);

	if (error || !list.is_tls || tls_is_supported())
		return error;
	return tls_open(NULL, &tls, reason, reason_size);
}

/* Names that stand in keys, and in the pattern of SCAN. */
static bool is_fleet_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= FLEET_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == length;
}

static int set_names(struct engine_redis *redis, const struct engine_redis_config *config, char *reason,
		     size_t reason_size)
{
	if (!is_fleet_name(config->fleet) || !fleet_host_is_valid(config->host, strlen(config->host))) {
		snprintf(reason, reason_size, "the name of the fleet or of the host is not valid");
		return -EINVAL;
	}
	strcpy(redis->fleet, config->fleet);
	strcpy(redis->host, config->host);
	snprintf(redis->inbox_key, KEY_MAX, "ctx:%s:in:%s", redis->fleet, redis->host);
	snprintf(redis->lease_key, KEY_MAX, "ctx:%s:lease:%s", redis->fleet, redis->host);
	redis->user = strdup(config->user ? config->user : "");
	redis->password_file = strdup(config->password_file ? config->password_file : "");
	return redis->user && redis->password_file ? 0 : -ENOMEM;
}

static int set_link(struct engine_redis *redis, const struct engine_redis_config *config, char *reason,
		    size_t reason_size)
{
	int error = address_parse(config->address, &redis->finder.list, reason, reason_size);

	if (!error && redis->finder.list.is_tls)
		error = tls_open(config->ca_file, &redis->tls, reason, reason_size);
	if (error)
		return error;
	redis->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (redis->epoll_fd < 0)
		return -errno;
	redis->options = (struct server_options){.epoll_fd = redis->epoll_fd,
						 .user = redis->user,
						 .password_file = redis->password_file,
						 .tls = redis->tls,
						 .engine = redis};
	redis->command.options = redis->reader.options = &redis->options;
	redis->command.answer = command_answer;
	redis->command.answer_max = COMMAND_ANSWER_MAX;
	redis->command.answer_max_ns = SERVER_SILENCE_NS;
	redis->reader.answer = reader_answer;
	redis->reader.answer_max = INBOX_ANSWER_MAX;
	redis->reader.answer_max_ns = INBOX_ANSWER_NS;
	finder_init(&redis->finder, redis);
	return 0;
}

int engine_redis_open(const struct engine_redis_config *config, const struct engine_events *events,
		      struct engine **ret_engine, char *reason, size_t reason_size)
{
	struct engine_redis *redis = calloc(1, sizeof(*redis));
	int error;

	if (!redis) {
		snprintf(reason, reason_size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	*reason = '\0';
	redis->engine.calls = &redis_calls;
	redis->events = *events;
	redis->lease_ns = config->lease_ns;
	redis->epoll_fd = -1;
	if (getrandom(&redis->random, sizeof(redis->random), GRND_NONBLOCK) < 0 || !redis->random)
		redis->random = clock_now_ns();
	signal(SIGPIPE, SIG_IGN);
	error = set_names(redis, config, reason, reason_size);
	if (!error)
		error = set_link(redis, config, reason, reason_size);
	if (error) {
		if (!*reason)
			snprintf(reason, reason_size, "%s", strerror(-error));
		redis_close(&redis->engine);
		return error;
	}
	*ret_engine = &redis->engine;
	return 0;
}
