/* SPDX-License-Identifier: MIT */
/*
 * What one user may make the service do. The broker is driven by hand, with a clock of the test's own, and
 * what it does is counted, not timed: however much clients hold, a message, an end and a tick do a bounded
 * amount of work, what is left is done in later ticks, and all of it is done.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "connection.h"
#include "log.h"
#include "support/contexts.h"
#include "support/harness.h"
#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

/* What is begun within a turn may end beyond it: a page of a list, or a process with an order of each cancel.
 */
#define AT_ONCE_MAX (4 * WORK_TURN)
#define HOSTILE 1000
#define HONEST 1001
#define CLOCK_STEP_NS (NS_PER_SECOND / 1000)

/* ---- a service without sockets, and its clients */

struct client {
	struct peer *peer;
	uid_t uid;
	unsigned answers, orders, moves, events;
	uint64_t lost;
	struct wire_message last; /* answer */
	uint64_t order;		  /* the serial of the last one */
	bool full;		  /* takes no orders, moves or events */
};

static struct broker *broker;
static struct config config;
static uint64_t clock_ns, serial, worst;
static unsigned pids;

static int take(void *link, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	struct client *client = link;

	(void)fds;
	(void)fd_count;
	if (message->type == WIRE_ORDER || message->type == WIRE_MOVED || message->type == WIRE_EVENT) {
		if (client->full)
			return -EAGAIN;
		client->orders += message->type == WIRE_ORDER;
		client->moves += message->type == WIRE_MOVED;
		client->events += message->type == WIRE_EVENT && message->event.kind != CTXD_EVENT_LOST;
		if (message->type == WIRE_ORDER)
			client->order = message->serial;
		if (message->type == WIRE_EVENT && message->event.kind == CTXD_EVENT_LOST)
			client->lost += message->event.lost;
		return 0;
	}
	client->answers++;
	client->last = *message;
	return 0;
}

static void note(uint64_t before)
{
	uint64_t work = broker_work(broker) - before;

	worst = work > worst ? work : worst;
}

/* What a message may cost. */
static int say_with(struct client *client, struct wire_message message, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	uint64_t before = broker_work(broker);

	message.serial = ++serial;
	size_t size = wire_pack(&message, bytes);
	int error = peer_receive(client->peer, bytes, size, &fd, fd >= 0, clock_ns);
	note(before);
	return error;
}

static void say(struct client *client, struct wire_message message)
{
	ck_assert_ok(say_with(client, message, -1));
}

static void obey(struct client *client)
{
	struct wire_message message = {.type = WIRE_OBEYED, .serial = client->order, .obeyed = {.reaped = 1}};
	uint8_t bytes[WIRE_SIZE_MAX];
	uint64_t before = broker_work(broker);

	ck_assert_ok(peer_receive(client->peer, bytes, wire_pack(&message, bytes), NULL, 0, clock_ns));
	note(before);
}

static int dial(struct client *client, uid_t uid, int table)
{
	struct peer_output output = {.send = take, .link = client};
	struct identity identity = {.pid = (pid_t)++pids, .uid = uid, .gid = uid};
	struct wire_message hello = {.type = WIRE_HELLO,
				     .hello = {.version_min = 1, .version_max = 1, .process = "flood"}};

	*client = (struct client){.uid = uid};
	identity.pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* never looked at: never readable */
	ck_assert_int_ge(identity.pidfd, 0);
	ck_assert_ok(peer_new(broker, &identity, &output, clock_ns, &client->peer));
	hello.hello.flags = table >= 0 ? WIRE_PUBLISH : 0;
	return say_with(client, hello, table);
}

static struct client *dial_many(unsigned count, uid_t uid)
{
	struct client *clients = calloc(count, sizeof(*clients));

	ck_assert_ptr_nonnull(clients);
	for (unsigned i = 0; i < count; i++)
		ck_assert_ok(dial(&clients[i], uid, -1));
	return clients;
}

static void hang_up(struct client *client)
{
	uint64_t before = broker_work(broker);

	peer_free(client->peer, false, clock_ns);
	client->peer = NULL;
	note(before);
}

static void hang_up_all(struct client *clients, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (clients[i].peer)
			hang_up(&clients[i]);
	free(clients);
}

/* Until nothing is put off any more. A tick is a round, and what that began last. Returns how many it took.
 */
static unsigned settle(void)
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

static void begin(void)
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

/* Aborts when something is charged still. */
static void end(void)
{
	settle();
	broker_free(broker);
}

/* ---- what they say */

/* One that uid made, as far as can be seen. */
static int pipe_end(uid_t uid)
{
	int ends[2];

	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	close(ends[1]);
	if (uid != getuid() && fchown(ends[0], uid, (gid_t)-1))
		test_skip("needs root, to have several users");
	return ends[0];
}

static struct ctxd_id share_at(struct client *client, struct ctxd_id parent, uint64_t ctx_id, uint32_t mode,
			       int fd)
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

static struct ctxd_id share(struct client *client, uint64_t ctx_id, uint32_t mode)
{
	return share_at(client, (struct ctxd_id){0}, ctx_id, mode, pipe_end(client->uid));
}

static void join(struct client *client, struct ctxd_id id, unsigned count)
{
	struct wire_message message = {.type = WIRE_JOIN, .join = {.id = id, .uid = UINT32_MAX}};

	for (unsigned i = 0; i < count; i++) {
		say(client, message);
		ck_assert_int_eq(client->last.type, WIRE_JOINED);
	}
}

static struct wire_message attach_or_leave(enum wire_type type, struct ctxd_id id, uint64_t ctx_id)
{
	return (struct wire_message){.type = type, .attach = {.id = id, .ctx_id = ctx_id}};
}

static struct wire_message cancel_of(struct ctxd_id id, uint64_t table, uint64_t ctx_id)
{
	return (struct wire_message){.type = WIRE_CANCEL,
				     .cancel = {.id = id, .table = table, .ctx_id = ctx_id}};
}

/* Of everything, or of nothing that is there. */
static struct wire_message list_after(uint64_t cursor, uint32_t kinds)
{
	return (struct wire_message){.type = WIRE_LIST, .list = {.cursor = cursor, .kinds = kinds}};
}

static unsigned count_listed(struct client *client, uint32_t kinds)
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
static unsigned shares_max(void)
{
	struct rlimit limit;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	unsigned room = limit.rlim_cur > SHARES + 1000 ? SHARES : (unsigned)limit.rlim_cur / 2;
	return test_scaled(SHARES) < room ? test_scaled(SHARES) : room;
}

static unsigned joins_max(void)
{
	return test_scaled(JOINS);
}

/* ---- a message */

START_TEST(a_message_costs_as_much_however_much_is_joined)
{
	begin();
	struct client *clients = dial_many(PEERS, HOSTILE), owner, other;
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	ck_assert_ok(dial(&other, HONEST, -1));
	struct ctxd_id id = share(&owner, 1, 0666);
	for (unsigned i = 0; i < PEERS; i++)
		join(&clients[i], id, joins_max());
	struct ctxd_id none = {7, id.number + 1000000};
	worst = 0;
	say(&owner, attach_or_leave(WIRE_LEAVE, id, 77));
	say(&clients[0], attach_or_leave(WIRE_LEAVE, id, 0));
	say(&clients[0], attach_or_leave(WIRE_ATTACH, id, 5));
	say(&clients[0], attach_or_leave(WIRE_LEAVE, id, 77));
	say(&clients[PEERS - 1], attach_or_leave(WIRE_ATTACH, id, 6));
	say(&clients[PEERS - 1], attach_or_leave(WIRE_LEAVE, id, 6));
	say(&owner, attach_or_leave(WIRE_ATTACH, id, 5));
	say(&owner, attach_or_leave(WIRE_ATTACH, none, 5));
	ck_assert_uint_ne(share_at(&clients[0], id, 2, 0600, pipe_end(HOSTILE)).number, 0);
	ck_assert_uint_ne(share_at(&other, id, 2, 0600, pipe_end(HONEST)).number, 0);
	join(&other, id, 1);
	say(&other, attach_or_leave(WIRE_LEAVE, id, 0));
	for (uint64_t cursor = 0; cursor < 1000; cursor += 333) {
		say(&other, list_after(UINT64_MAX - cursor, 15));
		say(&other, list_after(cursor * 100, CTXD_PROCESS));
		say(&owner, list_after(cursor * 100 + 1, CTXD_DEAD));
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	hang_up(&other);
	hang_up_all(clients, PEERS);
	end();
}
END_TEST

/* After so many joins and leaves no place in the list is where a cursor says that it was. */
START_TEST(a_page_begins_as_soon_where_its_cursor_is_gone)
{
	begin();
	struct client owner, joiner, asker;
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	ck_assert_ok(dial(&joiner, HOSTILE, -1));
	ck_assert_ok(dial(&asker, HONEST, -1));
	struct ctxd_id id = share(&owner, 1, 0600);
	join(&joiner, id, 200);
	say(&asker, list_after(0, 15));
	unsigned joins = PEERS * joins_max();
	join(&joiner, id, joins);
	worst = 0;
	for (uint64_t cursor = joins; cursor > 100; cursor /= 2) {
		say(&joiner, attach_or_leave(WIRE_LEAVE, id, 0));
		say(&asker, list_after(cursor + 2, 15));
		ck_assert_int_eq(asker.last.type, WIRE_ENTRIES);
	}
	say(&asker, list_after(broker_work(broker) + 1000000000, 15));
	ck_assert_uint_eq(asker.last.entries.next, 0);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	hang_up(&joiner);
	hang_up(&asker);
	end();
}
END_TEST

static int new_table(uint64_t *ret_inode)
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

START_TEST(a_message_costs_as_much_however_much_is_shared)
{
	begin();
	uint64_t table;
	struct client owner, asker, other;
	struct wire_message wanted = {.type = WIRE_TABLE, .table = {.kind = CTXD_PROCESS}};
	int fd = new_table(&table);
	ck_assert_ok(dial(&owner, getuid(), fd));
	ck_assert_ok(dial(&asker, getuid(), -1));
	ck_assert_ok(dial(&other, HONEST, -1));
	struct ctxd_id first = {0}, last = {0};
	for (unsigned i = 0; i < shares_max(); i++) {
		last = share(&owner, i % 3 ? i : 1, 0600);
		first = i ? first : last;
	}
	worst = 0;
	say(&asker, cancel_of((struct ctxd_id){0}, table, 1ull << 40));
	say(&asker, cancel_of((struct ctxd_id){0}, table, 1));
	say(&asker, cancel_of(first, 0, 0));
	say(&asker, cancel_of(last, 0, 0));
	say(&owner, (struct wire_message){.type = WIRE_MOVE, .move = {.id = last, .deadline_ns = 9}});
	say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = last});
	wanted.table.pid = 1;
	say(&asker, wanted);
	ck_assert_int_eq(asker.last.type, WIRE_FOUND);
	wanted.table.pid = 2;
	say(&asker, wanted);
	ck_assert_int_eq(asker.last.type, WIRE_RESULT);
	ck_assert_uint_ne(share(&other, 1, 0600).number, 0);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	settle();
	ck_assert_uint_le(count_listed(&asker, CTXD_SHARED), 1024 + 1);
	hang_up(&asker);
	hang_up(&other);
	end();
}
END_TEST

/* ---- what has many effects */

/* 0: all obey when all have been asked. 1: each at once, while its other joins are still to be gone through.
 */
START_TEST(a_cancel_of_what_many_joined_asks_each_process_once)
{
	begin();
	struct client *clients = dial_many(PEERS, HOSTILE), owner, asker;
	ck_assert_ok(dial(&owner, HONEST, -1));
	ck_assert_ok(dial(&asker, HONEST, -1));
	struct ctxd_id id = share(&owner, 1, 0666);
	for (unsigned i = 0; i < PEERS; i++)
		join(&clients[i], id, joins_max());
	worst = 0;
	say(&asker, cancel_of(id, 0, 0));
	unsigned answers = asker.answers;
	say(&asker, cancel_of(id, 0, 0)); /* it is under way */
	ck_assert_int_eq(asker.last.report.error, -EALREADY);
	unsigned ticks = 0, obeyed = 0;
	do {
		broker_tick(broker, clock_ns);
		for (; _i && obeyed < PEERS && clients[obeyed].orders; obeyed++)
			obey(&clients[obeyed]);
		ticks++;
	} while (broker_next_ns(broker) <= clock_ns);
	ck_assert_uint_gt(ticks, 1);
	/* Its owner comes last. */
	ck_assert_uint_eq(owner.orders, obeyed == PEERS);
	for (; obeyed < PEERS; obeyed++)
		obey(&clients[obeyed]);
	for (unsigned i = 0; i < PEERS; i++)
		ck_assert_uint_eq(clients[i].orders, 1);
	settle();
	ck_assert_uint_eq(owner.orders, 1);
	ck_assert_uint_eq(asker.answers, answers + 1);
	obey(&owner);
	ck_assert_uint_eq(asker.answers, answers + 2);
	ck_assert_int_eq(asker.last.type, WIRE_REPORT);
	ck_assert_uint_eq(asker.last.report.report.asked, PEERS + 1);
	ck_assert_uint_eq(asker.last.report.report.ended, PEERS + 1);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	hang_up(&asker);
	hang_up_all(clients, PEERS);
	end();
}
END_TEST

START_TEST(a_deadline_moves_for_all_who_joined)
{
	begin();
	struct client *clients = dial_many(PEERS, HOSTILE), owner;
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	struct ctxd_id id = share(&owner, 1, 0666);
	for (unsigned i = 0; i < PEERS; i++) {
		join(&clients[i], id, joins_max());
		clients[i].full = i % 2;
	}
	worst = 0;
	/* Before all have heard of it, the next one: nobody is left out, and who is slow hears the last
	 * alone. */
	for (uint64_t i = 0; i < 20; i++) {
		say(&owner, (struct wire_message){.type = WIRE_MOVE,
						  .move = {.id = id, .deadline_ns = clock_ns + i}});
		broker_tick(broker, clock_ns);
	}
	settle();
	for (unsigned i = 0; i < PEERS; i++)
		if (clients[i].full) {
			ck_assert_uint_eq(clients[i].moves, 0);
			clients[i].full = false;
			peer_writable(clients[i].peer);
		}
	settle();
	for (unsigned i = 0; i < PEERS; i++) {
		ck_assert_uint_ge(clients[i].moves, joins_max());
		ck_assert(i % 2 == 0 || clients[i].moves == joins_max());
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	hang_up_all(clients, PEERS);
	end();
}
END_TEST

/* 0: withdrawn. 1: its owner goes. 2: it ends, and its time is over. 3: who joined goes. */
START_TEST(what_many_joined_goes_in_pieces)
{
	begin();
	struct client *clients = dial_many(PEERS, HOSTILE), owner, asker;
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	ck_assert_ok(dial(&asker, 0, -1));
	struct ctxd_id id = share(&owner, 1, 0666);
	unsigned peers = _i == 3 ? 1 : PEERS;
	for (unsigned i = 0; i < peers; i++)
		join(&clients[i], id, joins_max() * PEERS / peers);
	worst = 0;
	if (_i == 0) {
		say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = id});
	} else if (_i == 3) {
		hang_up(&clients[0]);
	} else {
		hang_up(&owner);
		ck_assert_uint_eq(count_listed(&asker, CTXD_JOINED), PEERS * joins_max());
		clock_ns += 61 * NS_PER_SECOND;
	}
	/* Nobody finds it any more, whatever is left of it. */
	if (_i == 0) {
		say(&asker, (struct wire_message){.type = WIRE_JOIN, .join = {.id = id, .uid = UINT32_MAX}});
		ck_assert_int_eq(asker.last.result.error, -ENOENT);
	}
	ck_assert_uint_gt(settle(), 1);
	ck_assert_uint_eq(count_listed(&asker, CTXD_JOINED), 0);
	ck_assert_uint_eq(count_listed(&asker, CTXD_SHARED), _i == 3);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	if (owner.peer)
		hang_up(&owner);
	hang_up(&asker);
	hang_up_all(clients, PEERS);
	end();
}
END_TEST

/* Everything at its quota: what was shared, joined, asked for and never answered. */
START_TEST(a_client_that_goes_with_everything_goes_in_pieces)
{
	begin();
	uint64_t table;
	struct client owner, joiner, deaf, asker;
	int fd = new_table(&table);
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	ck_assert_ok(dial(&joiner, HOSTILE, -1));
	ck_assert_ok(dial(&deaf, getuid(), fd));
	ck_assert_ok(dial(&asker, getuid(), -1));
	struct ctxd_id id = share(&owner, 1, 0666);
	for (unsigned i = 2; i < shares_max(); i++)
		share(&owner, i, 0666);
	join(&owner, id, PEERS / 2 * joins_max());
	join(&joiner, id, PEERS / 2 * joins_max());
	for (unsigned i = 1; i <= CANCELS; i++)
		say(&asker, cancel_of((struct ctxd_id){0}, table, i));
	settle();
	ck_assert_uint_eq(deaf.orders, CANCELS);
	worst = 0;
	hang_up(&owner);
	hang_up(&deaf);
	hang_up(&joiner);
	hang_up(&asker);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	ck_assert_uint_gt(settle(), 1);
	end();
}
END_TEST

/* 0: nobody obeys, and all answers are due at one time. 1: each is due at another time. */
START_TEST(requests_that_nobody_obeys_expire_in_pieces)
{
	begin();
	uint64_t table;
	struct client deaf, asker;
	ck_assert_ok(dial(&deaf, getuid(), new_table(&table)));
	ck_assert_ok(dial(&asker, getuid(), -1));
	for (unsigned i = 1; i <= CANCELS; i++) {
		struct wire_message message = cancel_of((struct ctxd_id){0}, table, i);
		message.cancel.wait_ns = _i ? 3 * NS_PER_SECOND + i * CLOCK_STEP_NS : 0;
		say(&asker, message);
	}
	settle();
	unsigned answers = asker.answers;
	uint64_t before = broker_work(broker);
	clock_ns += 3 * NS_PER_SECOND;
	for (unsigned i = 0; i < CANCELS; i++, clock_ns += CLOCK_STEP_NS)
		settle();
	settle();
	ck_assert_uint_eq(asker.answers, answers + CANCELS);
	/* For each a few looks, and not a look at all of them for each. */
	ck_assert_uint_le(broker_work(broker) - before, CANCELS * 200);
	hang_up(&asker);
	hang_up(&deaf);
	end();
}
END_TEST

/* ---- who watches */

enum {
	USERS = 40,
	WATCHES = 32, /* of each */
};

START_TEST(a_change_costs_as_much_however_many_watch)
{
	begin();
	unsigned users = test_scaled(USERS), changes = 600;
	struct client *watching = calloc(users * WATCHES, sizeof(*watching)), owner;
	ck_assert_ptr_nonnull(watching);
	ck_assert_ok(dial(&owner, HONEST, -1));
	for (unsigned i = 0; i < users * WATCHES; i++) {
		ck_assert_ok(dial(&watching[i], 2000 + i / WATCHES, -1));
		say(&watching[i], (struct wire_message){.type = WIRE_WATCH, .watch = {.kinds = CTXD_SHARED}});
		watching[i].full = i % 2;
	}
	worst = 0;
	for (unsigned i = 0; i < changes; i++) {
		struct ctxd_id id = share(&owner, i + 1, i % 2 ? 0600 : 0644);
		say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = id});
		if (i % 100 == 0)
			settle();
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	settle();
	for (unsigned i = 0; i < users * WATCHES; i++)
		if (watching[i].full) {
			ck_assert_uint_eq(watching[i].events, 0);
			watching[i].full = false;
			peer_writable(watching[i].peer);
		}
	settle();
	/* What each may see, and nothing else, has been told or counted. */
	for (unsigned i = 0; i < users * WATCHES; i++) {
		ck_assert_uint_eq(watching[i].events + watching[i].lost, changes);
		ck_assert(i % 2 ? watching[i].events == 0 : watching[i].lost == 0);
	}
	hang_up(&owner);
	hang_up_all(watching, users * WATCHES);
	end();
}
END_TEST

/* ---- after a restart */

/* What was known from those who joined it, with thousands below, is claimed under something: 0: all fits, 1:
 * it is too deep. */
START_TEST(what_is_claimed_with_many_below_is_counted_in_pieces)
{
	begin();
	struct client owner, joiner;
	config.depth_max = _i ? 1 : 2;
	broker_configure(broker, &config);
	ck_assert_ok(dial(&owner, HOSTILE, -1));
	ck_assert_ok(dial(&joiner, HOSTILE, -1));
	int fd = pipe_end(HOSTILE);
	struct wire_message again = {.type = WIRE_REJOIN,
				     .rejoin = {.old_id = {1, 1}, .deadline_ns = CTX_FOREVER}};
	unsigned below = shares_max() / 2;
	ck_assert_ok(say_with(&joiner, again, dup(fd)));
	struct ctxd_id middle = joiner.last.result.id;
	for (unsigned i = 0; i < joins_max(); i++)
		ck_assert_ok(say_with(&joiner, again, dup(fd)));
	for (unsigned i = 0; i < below; i++)
		ck_assert_uint_ne(share_at(&joiner, middle, i + 1, 0600, pipe_end(HOSTILE)).number, 0);
	struct ctxd_id top = share(&owner, 1, 0666);
	join(&owner, top, 1);
	worst = 0;
	ck_assert_uint_eq(share_at(&owner, top, 2, 0600, dup(fd)).number, middle.number);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	settle();
	ck_assert_uint_eq(count_listed(&owner, CTXD_SHARED), _i ? 2 : 2 + below);
	close(fd);
	hang_up(&owner);
	hang_up(&joiner);
	end();
}
END_TEST

/* ---- between users */

START_TEST(what_one_user_has_put_off_is_not_in_anothers_way)
{
	begin();
	struct client *clients = dial_many(PEERS, HOSTILE), owner, joiner;
	ck_assert_ok(dial(&owner, HONEST, -1));
	ck_assert_ok(dial(&joiner, HONEST, -1));
	struct ctxd_id id = share(&owner, 1, 0600), big[PEERS];
	join(&joiner, id, 1);
	for (unsigned i = 0; i < PEERS; i++) {
		big[i] = share(&clients[i], 1, 0666);
		join(&clients[i], big[i], joins_max());
	}
	for (unsigned i = 0; i < PEERS; i++)
		say(&clients[i],
		    (struct wire_message){.type = WIRE_MOVE, .move = {.id = big[i], .deadline_ns = 5}});
	say(&owner, (struct wire_message){.type = WIRE_MOVE, .move = {.id = id, .deadline_ns = 6}});
	uint64_t before = broker_work(broker);
	broker_tick(broker, clock_ns);
	/* At once, though more is put off than a tick does. */
	ck_assert_uint_eq(joiner.moves, 1);
	ck_assert(test_mode() != TEST_NORMAL || broker_next_ns(broker) == 0);
	ck_assert_uint_le(broker_work(broker) - before, WORK_ROUND + AT_ONCE_MAX);
	settle();
	hang_up(&owner);
	hang_up(&joiner);
	hang_up_all(clients, PEERS);
	end();
}
END_TEST

/* ---- turns of real sockets */

enum {
	FLOODING = 100,
	AHEAD = 300, /* messages that each has sent, as far as its socket takes them */
};

static void closed(struct connections *connections)
{
	(void)connections;
}

static int dial_socket(struct connections *connections)
{
	int pair[2];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	connection_open(connections, pair[1]);
	return pair[0];
}

static bool send_one(int fd, struct wire_message message)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	return send(fd, bytes, wire_pack(&message, bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

static void turn(struct connections *connections)
{
	ck_assert_ok(loop_run(connections->loop, 0));
	connections_tick(connections, clock_now_ns());
	broker_tick(broker, clock_now_ns());
}

/* A first word is answered while a hundred others, of the same user, have said more than can be heard. */
START_TEST(who_says_something_first_does_not_wait_for_who_never_stops)
{
	struct wire_message hello = {.type = WIRE_HELLO,
				     .hello = {.version_min = 1, .version_max = 1, .process = "flood"}};
	struct connections connections = {.config = &config, .closed = closed};
	char reason[400], answer[WIRE_SIZE_MAX];
	int fds[FLOODING];

	begin();
	ck_assert_ok(loop_open(_i ? LOOP_POLL : LOOP_RING, &connections.loop, reason, sizeof(reason)));
	connections.broker = broker;
	connections_init(&connections);
	struct closers closers;
	closers_open(&closers, connections.loop, -1, false);
	const struct disposal disposal = closers_disposal(&closers);
	broker_set_disposal(broker, &disposal);
	connections.closers = &closers;
	for (unsigned i = 0; i < FLOODING; i++) {
		fds[i] = dial_socket(&connections);
		ck_assert(send_one(fds[i], hello));
		for (unsigned k = 0; k < AHEAD; k++)
			if (!send_one(fds[i], attach_or_leave(WIRE_LEAVE, (struct ctxd_id){7, 1}, 1)))
				break;
	}
	/* Until each of them has begun. */
	for (int i = 0; i < 20; i++)
		turn(&connections);
	int fd = dial_socket(&connections);
	ck_assert(send_one(fd, hello));
	uint64_t before = broker_work(broker);
	/* A ring's turn may see it a turn later. */
	for (int i = 0; i < 3 && recv(fd, answer, sizeof(answer), MSG_PEEK | MSG_DONTWAIT) < 0; i++)
		turn(&connections);
	ck_assert_int_gt((int)recv(fd, answer, sizeof(answer), MSG_DONTWAIT), 0);
	ck_assert_uint_le(broker_work(broker) - before, 3 * (2 * WORK_ROUND + AT_ONCE_MAX));
	/* There was more to hear than that. */
	ck_assert_uint_eq(connections_next_ns(&connections), 0);
	close(fd);
	for (unsigned i = 0; i < FLOODING; i++)
		close(fds[i]);
	while (connections.count)
		turn(&connections);
	for (closers_end(&closers); closers.count; closers_tick(&closers, clock_now_ns()))
		turn(&connections);
	broker_free(broker);
	loop_close(connections.loop);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service flood");
	TCase *messages = test_case(suite, "messages"), *effects = test_case(suite, "effects"),
	      *watches = test_case(suite, "watches"), *restart = test_case(suite, "restart"),
	      *users = test_case(suite, "users");

	tcase_add_test(messages, a_message_costs_as_much_however_much_is_joined);
	tcase_add_test(messages, a_page_begins_as_soon_where_its_cursor_is_gone);
	tcase_add_test(messages, a_message_costs_as_much_however_much_is_shared);
	tcase_add_loop_test(effects, a_cancel_of_what_many_joined_asks_each_process_once, 0, 2);
	tcase_add_test(effects, a_deadline_moves_for_all_who_joined);
	tcase_add_loop_test(effects, what_many_joined_goes_in_pieces, 0, 4);
	tcase_add_test(effects, a_client_that_goes_with_everything_goes_in_pieces);
	tcase_add_loop_test(effects, requests_that_nobody_obeys_expire_in_pieces, 0, 2);
	tcase_add_test(watches, a_change_costs_as_much_however_many_watch);
	tcase_add_loop_test(restart, what_is_claimed_with_many_below_is_counted_in_pieces, 0, 2);
	tcase_add_test(users, what_one_user_has_put_off_is_not_in_anothers_way);
	tcase_add_loop_test(users, who_says_something_first_does_not_wait_for_who_never_stops,
			    test_no_uring() ? 1 : 0, 2);
	return suite;
}
