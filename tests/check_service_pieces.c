/* SPDX-License-Identifier: MIT */
/*
 * What has many effects in the service: an end, a deadline or a claim that reaches thousands does a bounded
 * amount of work at once, what is left is done in later ticks, and all of it is done.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "support/flood.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

/* ---- a service without sockets, and its clients */

static void obey(struct client *client)
{
	struct wire_message message = {.type = WIRE_OBEYED, .serial = client->order, .obeyed = {.reaped = 1}};
	uint8_t bytes[WIRE_SIZE_MAX];
	uint64_t before = broker_work(broker);

	ck_assert_ok(peer_receive(client->peer, bytes, wire_pack(&message, bytes), NULL, 0, clock_ns));
	note_work(before);
}

/* ---- what has many effects */

/* 0: all obey when all have been asked. 1: each at once, while its other joins are still to be gone through.
 */
START_TEST(a_cancel_of_what_many_joined_asks_each_process_once)
{
	flood_begin();
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
	tick_until_done();
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
	flood_end();
}
END_TEST

START_TEST(a_deadline_moves_for_all_who_joined)
{
	flood_begin();
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
	tick_until_done();
	for (unsigned i = 0; i < PEERS; i++)
		if (clients[i].full) {
			ck_assert_uint_eq(clients[i].moves, 0);
			clients[i].full = false;
			peer_writable(clients[i].peer);
		}
	tick_until_done();
	for (unsigned i = 0; i < PEERS; i++) {
		ck_assert_uint_ge(clients[i].moves, joins_max());
		ck_assert(i % 2 == 0 || clients[i].moves == joins_max());
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&owner);
	hang_up_all(clients, PEERS);
	flood_end();
}
END_TEST

/* 0: withdrawn. 1: its owner goes. 2: it ends, and its time is over. 3: who joined goes. */
START_TEST(what_many_joined_goes_in_pieces)
{
	flood_begin();
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
	ck_assert_uint_gt(tick_until_done(), 1);
	ck_assert_uint_eq(count_listed(&asker, CTXD_JOINED), 0);
	ck_assert_uint_eq(count_listed(&asker, CTXD_SHARED), _i == 3);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	if (owner.peer)
		hang_up(&owner);
	hang_up(&asker);
	hang_up_all(clients, PEERS);
	flood_end();
}
END_TEST

/* Everything at its quota: what was shared, joined, asked for and never answered. */
START_TEST(a_client_that_goes_with_everything_goes_in_pieces)
{
	flood_begin();
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
	tick_until_done();
	ck_assert_uint_eq(deaf.orders, CANCELS);
	worst = 0;
	hang_up(&owner);
	hang_up(&deaf);
	hang_up(&joiner);
	hang_up(&asker);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	ck_assert_uint_gt(tick_until_done(), 1);
	flood_end();
}
END_TEST

/* 0: nobody obeys, and all answers are due at one time. 1: each is due at another time. */
START_TEST(requests_that_nobody_obeys_expire_in_pieces)
{
	flood_begin();
	uint64_t table;
	struct client deaf, asker;
	ck_assert_ok(dial(&deaf, getuid(), new_table(&table)));
	ck_assert_ok(dial(&asker, getuid(), -1));
	for (unsigned i = 1; i <= CANCELS; i++) {
		struct wire_message message = cancel_of((struct ctxd_id){0}, table, i);
		message.cancel.wait_ns = _i ? 3 * NS_PER_SECOND + i * CLOCK_STEP_NS : 0;
		say(&asker, message);
	}
	tick_until_done();
	unsigned answers = asker.answers;
	uint64_t before = broker_work(broker);
	clock_ns += 3 * NS_PER_SECOND;
	for (unsigned i = 0; i < CANCELS; i++, clock_ns += CLOCK_STEP_NS)
		tick_until_done();
	tick_until_done();
	ck_assert_uint_eq(asker.answers, answers + CANCELS);
	/* For each a few looks, and not a look at all of them for each. */
	ck_assert_uint_le(broker_work(broker) - before, CANCELS * 200);
	hang_up(&asker);
	hang_up(&deaf);
	flood_end();
}
END_TEST

/* ---- after a restart */

/* What was known from those who joined it, with thousands below, is claimed under something: 0: all fits, 1:
 * it is too deep. */
START_TEST(what_is_claimed_with_many_below_is_counted_in_pieces)
{
	flood_begin();
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
	tick_until_done();
	ck_assert_uint_eq(count_listed(&owner, CTXD_SHARED), _i ? 2 : 2 + below);
	close(fd);
	hang_up(&owner);
	hang_up(&joiner);
	flood_end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_pieces");
	TCase *effects = test_case(suite, "effects"), *restart = test_case(suite, "restart");

	tcase_add_loop_test(effects, a_cancel_of_what_many_joined_asks_each_process_once, 0, 2);
	tcase_add_test(effects, a_deadline_moves_for_all_who_joined);
	tcase_add_loop_test(effects, what_many_joined_goes_in_pieces, 0, 4);
	tcase_add_test(effects, a_client_that_goes_with_everything_goes_in_pieces);
	tcase_add_loop_test(effects, requests_that_nobody_obeys_expire_in_pieces, 0, 2);
	tcase_add_loop_test(restart, what_is_claimed_with_many_below_is_counted_in_pieces, 0, 2);
	return suite;
}
