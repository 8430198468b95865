/* SPDX-License-Identifier: MIT */
/*
 * What one user may make the service do by messages, by watching and by never stopping: however much clients
 * hold, each message costs a bounded amount of work, and no user's work is in another's way.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "connection.h"
#include "support/flood.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

/* ---- what they say */

static struct wire_message attach_or_leave(enum wire_type type, struct ctxd_id id, uint64_t ctx_id)
{
	return (struct wire_message){.type = type, .attach = {.id = id, .ctx_id = ctx_id}};
}

/* ---- a message */

START_TEST(a_message_costs_as_much_however_much_is_joined)
{
	flood_begin();
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
	flood_end();
}
END_TEST

/* After so many joins and leaves no place in the list is where a cursor says that it was. */
START_TEST(a_page_begins_as_soon_where_its_cursor_is_gone)
{
	flood_begin();
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
	flood_end();
}
END_TEST

START_TEST(a_message_costs_as_much_however_much_is_shared)
{
	flood_begin();
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
	tick_until_done();
	ck_assert_uint_le(count_listed(&asker, CTXD_SHARED), 1024 + 1);
	hang_up(&asker);
	hang_up(&other);
	flood_end();
}
END_TEST

/* ---- who watches */

enum {
	USERS = 40,
	WATCHES = 32, /* of each */
};

START_TEST(a_change_costs_as_much_however_many_watch)
{
	flood_begin();
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
			tick_until_done();
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	tick_until_done();
	for (unsigned i = 0; i < users * WATCHES; i++)
		if (watching[i].full) {
			ck_assert_uint_eq(watching[i].events, 0);
			watching[i].full = false;
			peer_writable(watching[i].peer);
		}
	tick_until_done();
	/* What each may see, and nothing else, has been told or counted. */
	for (unsigned i = 0; i < users * WATCHES; i++) {
		ck_assert_uint_eq(watching[i].events + watching[i].lost, changes);
		ck_assert(i % 2 ? watching[i].events == 0 : watching[i].lost == 0);
	}
	hang_up(&owner);
	hang_up_all(watching, users * WATCHES);
	flood_end();
}
END_TEST

/* ---- between users */

START_TEST(what_one_user_has_put_off_is_not_in_anothers_way)
{
	flood_begin();
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
	tick_until_done();
	hang_up(&owner);
	hang_up(&joiner);
	hang_up_all(clients, PEERS);
	flood_end();
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
	struct wire_message hello = {
		.type = WIRE_HELLO,
		.hello = {.version_min = WIRE_VERSION, .version_max = WIRE_VERSION, .process = "flood"}};
	struct connections connections = {.config = &config, .closed = closed};
	char reason[400], answer[WIRE_SIZE_MAX];
	int fds[FLOODING];

	flood_begin();
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
	Suite *suite = suite_create("service_flood");
	TCase *messages = test_case(suite, "messages"), *watches = test_case(suite, "watches"),
	      *users = test_case(suite, "users");

	tcase_add_test(messages, a_message_costs_as_much_however_much_is_joined);
	tcase_add_test(messages, a_page_begins_as_soon_where_its_cursor_is_gone);
	tcase_add_test(messages, a_message_costs_as_much_however_much_is_shared);
	tcase_add_test(watches, a_change_costs_as_much_however_many_watch);
	tcase_add_test(users, what_one_user_has_put_off_is_not_in_anothers_way);
	tcase_add_loop_test(users, who_says_something_first_does_not_wait_for_who_never_stops,
			    test_no_uring() ? 1 : 0, 2);
	return suite;
}
