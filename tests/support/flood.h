/* SPDX-License-Identifier: MIT */
/*
 * A service without sockets, and its clients. The broker is driven by hand, with a clock of the test's own,
 * and what it does is counted, not timed.
 */
#ifndef TEST_FLOOD_H
#define TEST_FLOOD_H

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "broker.h"
#include "log.h"
#include "support/rings.h"

/* What is begun within a turn may end beyond it: a page of a list, or a process with an order of each cancel.
 */
#define AT_ONCE_MAX (4 * WORK_TURN)
#define HOSTILE 1000
#define HONEST 1001
#define CLOCK_STEP_NS (NS_PER_SECOND / 1000)

struct client {
	struct peer *peer;
	uid_t uid;
	unsigned answers, orders, moves, events;
	unsigned terms, fetches, unwanted, questions; /* of a fleet */
	uint64_t lost;
	struct wire_message last; /* answer */
	struct wire_message fetch, question;
	struct wire_fetch *all_fetches; /* with room for all that come; NULL: they are not kept */
	uint64_t *fetch_serials;
	uint64_t order; /* the serial of the last one */
	bool full;	/* takes nothing that can be sent later */
};

/* worst is the most work that one message has taken. */
static struct broker *broker;
static struct config config;
static uint64_t clock_ns, serial, worst;
static unsigned pids;

static inline int client_take(void *link, const struct wire_message *message, const int *fds,
			      unsigned fd_count)
{
	struct client *client = link;

	(void)fds;
	(void)fd_count;
	client->answers++;
	client->last = *message;
	return 0;
}

/* What the broker keeps if it is not taken. */
static inline int client_offered(void *link, const struct wire_message *message, const int *fds,
				 unsigned fd_count)
{
	struct client *client = link;

	if (client->full)
		return -EAGAIN;
	switch (message->type) {
	case WIRE_ORDER:
		client->orders++;
		client->order = message->serial;
		return 0;
	case WIRE_MOVED:
		client->moves++;
		return 0;
	case WIRE_EVENT:
		client->events += message->event.kind != CTXD_EVENT_LOST;
		client->lost += message->event.lost;
		return 0;
	case WIRE_TERMS:
		client->terms++;
		return 0;
	case WIRE_FETCH:
		if (client->all_fetches) {
			client->all_fetches[client->fetches] = message->fetch;
			client->fetch_serials[client->fetches] = message->serial;
		}
		client->fetches++;
		client->fetch = *message;
		return 0;
	case WIRE_UNWANTED:
		client->unwanted++;
		return 0;
	case WIRE_ASKED:
	case WIRE_UNSHARED:
		client->questions++;
		client->question = *message;
		return 0;
	default:
		return client_take(link, message, fds, fd_count);
	}
}

static inline void note_work(uint64_t before)
{
	uint64_t work = broker_work(broker) - before;

	worst = work > worst ? work : worst;
}

/* What a message may cost. */
static inline int say_with(struct client *client, struct wire_message message, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	uint64_t before = broker_work(broker);

	if (message.type != WIRE_TELL && message.type != WIRE_WITHDRAW)
		message.serial = ++serial;
	size_t size = wire_pack(&message, bytes);
	int error = peer_receive(client->peer, bytes, size, &fd, fd >= 0, clock_ns);
	note_work(before);
	return error;
}

static inline void say(struct client *client, struct wire_message message)
{
	ck_assert_ok(say_with(client, message, -1));
}

static inline int dial(struct client *client, uid_t uid, int table)
{
	struct peer_output output = {.send = client_take, .offer = client_offered, .link = client};
	struct identity identity = {.pid = (pid_t)++pids, .uid = uid, .gid = uid};
	struct wire_message hello = {
		.type = WIRE_HELLO,
		.hello = {.version_min = WIRE_VERSION, .version_max = WIRE_VERSION, .process = "flood"}};

	*client = (struct client){.uid = uid};
	identity.pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* never looked at: never readable */
	ck_assert_int_ge(identity.pidfd, 0);
	ck_assert_ok(peer_new(broker, &identity, &output, clock_ns, &client->peer));
	hello.hello.flags = table >= 0 ? WIRE_PUBLISH : 0;
	return say_with(client, hello, table);
}

static inline struct client *dial_many(unsigned count, uid_t uid)
{
	struct client *clients = calloc(count, sizeof(*clients));

	ck_assert_ptr_nonnull(clients);
	for (unsigned i = 0; i < count; i++)
		ck_assert_ok(dial(&clients[i], uid, -1));
	return clients;
}

static inline void hang_up(struct client *client)
{
	uint64_t before = broker_work(broker);

	peer_free(client->peer, false, clock_ns);
	client->peer = NULL;
	note_work(before);
}

static inline void hang_up_all(struct client *clients, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (clients[i].peer)
			hang_up(&clients[i]);
	free(clients);
}

/* Lets time pass until nothing is put off any more. A tick is a round, and what that began last. Returns how
 * many ticks it took. */
static inline unsigned tick_until_done(void)
{
	unsigned ticks = 0;

	do {
		uint64_t before = broker_work(broker);
		broker_tick(broker, clock_ns);
		uint64_t work = broker_work(broker) - before;
		ck_assert_uint_le(work, WORK_ROUND + 4 * AT_ONCE_MAX);
		ck_assert_uint_lt(++ticks, 100000);
	} while (broker_next_ns(broker) <= clock_ns);
	return ticks;
}

static inline void flood_begin(void)
{
	struct rlimit limit;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	/* The records of thousands of cancels are of no use here. */
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(dup2(null, STDERR_FILENO), 0);
	close(null);
	log_set_level(LOG_LEVEL_ERROR);
	config = config_default;
	clock_ns = NS_PER_SECOND;
	pids = 0;
	broker = broker_new(&config, 7);
	ck_assert_ptr_nonnull(broker);
}

/* Aborts when something is still charged to a user. */
static inline void flood_end(void)
{
	tick_until_done();
	broker_free(broker);
}

/* A pipe that uid made, as far as can be seen. */
static inline int pipe_end(uid_t uid)
{
	int ends[2];

	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	close(ends[1]);
	if (uid != getuid() && fchown(ends[0], uid, (gid_t)-1))
		test_skip("needs root, to have several users");
	return ends[0];
}

static inline struct ctxd_id share_at(struct client *client, struct ctxd_id parent, uint64_t ctx_id,
				      uint32_t mode, int fd)
{
	struct wire_message message = {.type = WIRE_SHARE,
				       .share = {.parent = parent,
						 .ctx_id = ctx_id,
						 .deadline_ns = CTX_FOREVER,
						 .mode = mode,
						 .flags = WIRE_MOVABLE}};

	ck_assert_ok(say_with(client, message, fd));
	return client->last.result.error ? (struct ctxd_id){0} : client->last.result.id;
}

static inline struct ctxd_id share(struct client *client, uint64_t ctx_id, uint32_t mode)
{
	return share_at(client, (struct ctxd_id){0}, ctx_id, mode, pipe_end(client->uid));
}

static inline void join(struct client *client, struct ctxd_id id, unsigned count)
{
	struct wire_message message = {.type = WIRE_JOIN, .join = {.id = id, .uid = UINT32_MAX}};

	for (unsigned i = 0; i < count; i++) {
		say(client, message);
		ck_assert_int_eq(client->last.type, WIRE_JOINED);
	}
}

static inline struct wire_message cancel_of(struct ctxd_id id, uint64_t table, uint64_t ctx_id)
{
	return (struct wire_message){.type = WIRE_CANCEL,
				     .cancel = {.id = id, .table = table, .ctx_id = ctx_id}};
}

/* A page of the list behind cursor. */
static inline struct wire_message list_after(uint64_t cursor, uint32_t kinds)
{
	return (struct wire_message){.type = WIRE_LIST, .list = {.cursor = cursor, .kinds = kinds}};
}

static inline unsigned count_listed(struct client *client, uint32_t kinds)
{
	uint64_t cursor = 0;
	unsigned count = 0;

	do {
		say(client, list_after(cursor, kinds));
		count += client->last.entries.count;
		cursor = client->last.entries.next;
	} while (cursor);
	return count;
}

enum {
	PEERS = 250,
	JOINS = 260, /* of each: 65,000 */
	SHARES = 16000,
	CANCELS = 4000,
};

/* As many as the descriptors of this process allow, and a tenth of that where it is slow. */
static inline unsigned shares_max(void)
{
	struct rlimit limit;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	unsigned room = limit.rlim_cur > SHARES + 1000 ? SHARES : (unsigned)limit.rlim_cur / 2;
	return test_scaled(SHARES) < room ? test_scaled(SHARES) : room;
}

static inline unsigned joins_max(void)
{
	return test_scaled(JOINS);
}

static inline int new_table(uint64_t *ret_inode)
{
	struct stat status;
	int fd = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(ftruncate(fd, 65536));
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	ck_assert_ok(fstat(fd, &status));
	*ret_inode = status.st_ino;
	return fd;
}

#endif
