/* SPDX-License-Identifier: MIT */
/*
 * A fleet with very much in it: what waits for other hosts, mirrors and questions. Each message costs a
 * bounded amount of work, what reaches many is done in pieces, and nothing is lost if a bridge or a client
 * takes nothing for a while, or is gone.
 */
#include <string.h>
#include <unistd.h>

#include "support/flood.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

static struct client bridge;

static void be_bridge(void)
{
	ck_assert_ok(dial(&bridge, getuid(), -1));
	say(&bridge, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
	ck_assert_int_eq(bridge.last.result.error, 0);
}

static void fleet_begin(void)
{
	flood_begin();
	strcpy(config.fleet.engine, "redis://nowhere");
	strcpy(config.fleet.host, "here");
	broker_configure(broker, &config);
	be_bridge();
}

static void wait_for(struct client *client, uint64_t number)
{
	struct wire_global far = {.id = {77, number}, .secret = 5, .host = "far"};

	say(client, (struct wire_message){.type = WIRE_JOIN_GLOBAL, .join_global = {.global = far}});
}

static void say_mirror(const struct wire_message *fetch, int32_t error)
{
	struct wire_message mirror = {.type = WIRE_MIRROR,
				      .mirror = {.fetch = fetch->serial,
						 .global = fetch->fetch.global,
						 .uid = fetch->fetch.uid,
						 .error = error,
						 .deadline_ns = CTX_FOREVER}};

	ck_assert_ok(say_with(&bridge, mirror, error ? -1 : pipe_end(getuid())));
}

static void leave(struct client *client, struct ctxd_id id)
{
	say(client, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = id}});
}

/* How many contexts of other hosts each user may have. */
static unsigned waits_max(void)
{
	return shares_max() / 2;
}

START_TEST(what_many_wait_for_is_answered_in_pieces_and_for_all)
{
	fleet_begin();
	struct client *clients = dial_many(PEERS, HOSTILE);
	unsigned each = waits_max() / PEERS, asked = 0;

	worst = 0;
	for (unsigned i = 0; i < PEERS; i++)
		for (unsigned k = 0; k < each; k++)
			wait_for(&clients[i], 1);
	tick_until_done();
	ck_assert_uint_eq(bridge.fetches, 1);
	for (unsigned i = 0; i < PEERS; i++) {
		asked += clients[i].answers;
		clients[i].full = i % 2;
	}
	say_mirror(&bridge.fetch, 0);
	ck_assert_int_eq(bridge.last.result.error, 0);
	struct ctxd_id id = bridge.last.result.id;
	ck_assert_uint_gt(tick_until_done(), 1);
	/* Who took nothing is answered when it does. */
	for (unsigned i = 0; i < PEERS; i++) {
		ck_assert_int_eq(clients[i].last.type, i % 2 ? WIRE_WELCOME : WIRE_JOINED);
		clients[i].full = false;
		peer_writable(clients[i].peer);
	}
	tick_until_done();
	unsigned answers = 0;
	for (unsigned i = 0; i < PEERS; i++)
		answers += clients[i].answers;
	ck_assert_uint_eq(answers - asked, PEERS * each);
	/* It has a deadline for all of them, and an end. */
	say(&bridge, (struct wire_message){.type = WIRE_MOVE, .move = {.id = id, .deadline_ns = 5}});
	tick_until_done();
	for (unsigned i = 0; i < PEERS; i++)
		ck_assert_uint_eq(clients[i].moves, each);
	for (unsigned k = 0; k < each; k++)
		leave(&clients[0], id);
	hang_up_all(clients, PEERS);
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 1);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&bridge);
	flood_end();
}
END_TEST

/* Each costs as much however many there are, and the bridge is told of all, also if it was slow. */
START_TEST(joins_are_withdrawn_and_the_bridge_is_told)
{
	fleet_begin();
	struct client client;
	unsigned count = waits_max();

	ck_assert_ok(dial(&client, HOSTILE, -1));
	worst = 0;
	for (unsigned round = 0; round < 3; round++) {
		uint64_t first = serial + 1;
		for (unsigned i = 1; i <= count; i++)
			wait_for(&client, i);
		tick_until_done();
		bridge.full = round == 1;
		for (unsigned i = 0; i < count; i++) {
			say(&client, (struct wire_message){.type = WIRE_WITHDRAW, .serial = first + i});
			say(&client, (struct wire_message){.type = WIRE_WITHDRAW, .serial = first + i});
		}
		tick_until_done();
		bridge.full = false;
		peer_writable(bridge.peer);
		tick_until_done();
		ck_assert_uint_eq(bridge.fetches, (round + 1) * count);
		ck_assert_uint_eq(bridge.unwanted, (round + 1) * count);
	}
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	hang_up(&client);
	hang_up(&bridge);
	flood_end();
}
END_TEST

/* From here on the bridge remembers what it is asked for. */
static void keep_fetches(unsigned room)
{
	bridge.all_fetches = calloc(room, sizeof(*bridge.all_fetches));
	bridge.fetch_serials = calloc(room, sizeof(*bridge.fetch_serials));
	ck_assert(bridge.all_fetches && bridge.fetch_serials);
}

START_TEST(a_message_costs_as_much_however_many_mirrors_there_are)
{
	fleet_begin();
	struct client client, other;
	unsigned count = waits_max(), live = 0;

	ck_assert_ok(dial(&client, HOSTILE, -1));
	ck_assert_ok(dial(&other, HONEST, -1));
	worst = 0;
	bridge.full = true;
	for (unsigned i = 1; i <= count; i++)
		wait_for(&client, i);
	wait_for(&other, 1);
	tick_until_done();
	bridge.full = false;
	keep_fetches(count + 1);
	peer_writable(bridge.peer);
	broker_tick(broker, clock_ns);
	/* What another user wants does not wait for all of them. */
	ck_assert(bridge.fetches == count + 1 || test_mode() != TEST_NORMAL || broker_next_ns(broker) == 0);
	ck_assert(bridge.all_fetches[0].uid == HONEST || bridge.all_fetches[1].uid == HONEST);
	tick_until_done();
	ck_assert_uint_eq(bridge.fetches, count + 1);
	free(bridge.all_fetches);
	free(bridge.fetch_serials);
	hang_up(&bridge);
	tick_until_done();
	/* The next one is asked for all of them again. */
	be_bridge();
	keep_fetches(count + 1);
	tick_until_done();
	ck_assert_uint_eq(bridge.fetches, count + 1);
	for (unsigned i = 0; i < count + 1; i++) {
		struct wire_message fetch = {.serial = bridge.fetch_serials[i],
					     .fetch = bridge.all_fetches[i]};
		bool is_live = i % 2 || fetch.fetch.uid == HONEST;
		say_mirror(&fetch, is_live ? 0 : -ENOENT);
		ck_assert_int_eq(bridge.last.result.error, 0);
		live += is_live && fetch.fetch.uid == HOSTILE;
	}
	tick_until_done();
	ck_assert_uint_eq(count_listed(&client, CTXD_SHARED), live);
	ck_assert_int_eq(other.last.type, WIRE_JOINED);
	leave(&other, other.last.joined.id);
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 1);
	hang_up(&client);
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 1 + live);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	free(bridge.all_fetches);
	free(bridge.fetch_serials);
	hang_up(&other);
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(the_mirrors_of_a_bridge_that_is_gone_go_in_pieces)
{
	fleet_begin();
	struct client client;
	unsigned count = waits_max();

	ck_assert_ok(dial(&client, HOSTILE, -1));
	for (unsigned i = 1; i <= count; i++) {
		wait_for(&client, i);
		broker_tick(broker, clock_ns);
		say_mirror(&bridge.fetch, 0);
	}
	tick_until_done();
	worst = 0;
	hang_up(&bridge);
	/* At once, though most of them are still there. */
	be_bridge();
	wait_for(&client, count);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	tick_until_done();
	ck_assert_uint_eq(bridge.fetches, 1);
	ck_assert_uint_eq(count_listed(&client, CTXD_SHARED | CTXD_JOINED), 0);
	hang_up(&client);
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(a_mirror_is_kept_if_it_is_joined_again_before_the_bridge_is_told)
{
	fleet_begin();
	struct client client;

	ck_assert_ok(dial(&client, HOSTILE, -1));
	wait_for(&client, 1);
	tick_until_done();
	say_mirror(&bridge.fetch, 0);
	struct ctxd_id id = bridge.last.result.id;
	tick_until_done();
	bridge.full = true;
	leave(&client, id);
	tick_until_done();
	wait_for(&client, 1);
	tick_until_done();
	ck_assert_int_eq(client.last.type, WIRE_JOINED);
	ck_assert(wire_id_equal(client.last.joined.id, id));
	bridge.full = false;
	peer_writable(bridge.peer);
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 0);
	leave(&client, id);
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 1);
	hang_up(&client);
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(who_was_not_told_of_a_mirror_before_its_bridge_was_gone_gets_another_one)
{
	fleet_begin();
	struct client client;

	ck_assert_ok(dial(&client, HOSTILE, -1));
	unsigned answers = client.answers;
	client.full = true;
	wait_for(&client, 1);
	tick_until_done();
	say_mirror(&bridge.fetch, 0);
	tick_until_done();
	hang_up(&bridge);
	tick_until_done();
	be_bridge();
	tick_until_done();
	client.full = false;
	peer_writable(client.peer);
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers);
	ck_assert_uint_eq(bridge.fetches, 1);
	say_mirror(&bridge.fetch, 0);
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers + 1);
	ck_assert_int_eq(client.last.type, WIRE_JOINED);
	ck_assert(wire_id_equal(client.last.joined.id, bridge.last.result.id));
	hang_up(&client);
	hang_up(&bridge);
	flood_end();
}
END_TEST

/* The bridge knows it from before the service was started, and who had joined it does not come back. */
START_TEST(a_mirror_that_is_registered_again_and_not_joined_is_not_wanted_for_ever)
{
	fleet_begin();
	struct client client;
	struct wire_message again = {
		.fetch = {.global = {.id = {77, 1}, .secret = 5, .host = "far"}, .uid = HOSTILE}};

	ck_assert_ok(dial(&client, HOSTILE, -1));
	say_mirror(&again, 0);
	ck_assert_int_eq(bridge.last.result.error, 0);
	again.fetch.global.id.number = 2;
	say_mirror(&again, 0);
	tick_until_done();
	wait_for(&client, 2);
	tick_until_done();
	ck_assert_int_eq(client.last.type, WIRE_JOINED);
	ck_assert_uint_eq(bridge.unwanted, 0);
	ck_assert_uint_lt(broker_next_ns(broker), clock_ns + 60 * NS_PER_SECOND);
	clock_ns += 60 * NS_PER_SECOND;
	tick_until_done();
	ck_assert_uint_eq(bridge.unwanted, 1);
	ck_assert_uint_eq(bridge.fetches, 0);
	/* Who waits for one gets the one that is registered. */
	wait_for(&client, 3);
	tick_until_done();
	ck_assert_uint_eq(bridge.fetches, 1);
	struct wire_message fetch = bridge.fetch;
	again.fetch.global.id.number = 3;
	say_mirror(&again, 0);
	struct ctxd_id id = bridge.last.result.id;
	tick_until_done();
	ck_assert(wire_id_equal(client.last.joined.id, id));
	say_mirror(&fetch, 0);
	ck_assert_int_eq(bridge.last.result.error, -ENOENT);
	hang_up(&client);
	hang_up(&bridge);
	flood_end();
}
END_TEST

/* The bridge has joined a pipe before a restart; then its owner comes back. */
static struct ctxd_id rejoin(int pipe)
{
	struct wire_message rejoin = {.type = WIRE_REJOIN, .rejoin = {.deadline_ns = CTX_FOREVER}};

	rejoin.rejoin.old_id = (struct ctxd_id){6, 1};
	ck_assert_ok(say_with(&bridge, rejoin, dup(pipe)));
	ck_assert_int_eq(bridge.last.result.error, 0);
	return bridge.last.result.id;
}

static void claim(struct client *owner, uint64_t ctx_id, int pipe, struct ctxd_id id)
{
	struct wire_message share = {.type = WIRE_SHARE,
				     .share = {.ctx_id = ctx_id,
					       .deadline_ns = CTX_FOREVER,
					       .mode = 0600,
					       .flags = WIRE_MOVABLE | WIRE_FLEET}};

	ck_assert_ok(say_with(owner, share, dup(pipe)));
	ck_assert_int_eq(owner->last.type, WIRE_SHARED);
	ck_assert(wire_id_equal(owner->last.shared.id, id));
	tick_until_done();
}

static void withdraw(struct client *owner, struct ctxd_id id)
{
	say(owner, (struct wire_message){.type = WIRE_UNSHARE, .id = id});
	ck_assert_int_eq(owner->last.result.error, 0);
	tick_until_done();
}

START_TEST(what_no_owner_shares_again_after_a_restart_is_withdrawn)
{
	fleet_begin();
	struct client owner;
	int pipes[] = {pipe_end(getuid()), pipe_end(getuid())};
	struct ctxd_id ids[2];

	ck_assert_ok(dial(&owner, getuid(), -1));
	for (int i = 0; i < 2; i++)
		ids[i] = rejoin(pipes[i]);
	claim(&owner, 2, pipes[1], ids[1]);
	ck_assert_uint_lt(broker_next_ns(broker), clock_ns + 60 * NS_PER_SECOND);
	ck_assert_uint_gt(broker_next_ns(broker), clock_ns + NS_PER_SECOND);
	clock_ns += 60 * NS_PER_SECOND;
	tick_until_done();
	ck_assert_uint_eq(bridge.questions, 1);
	ck_assert_int_eq(bridge.question.type, WIRE_UNSHARED);
	ck_assert(wire_id_equal(bridge.question.id, ids[0]));
	ck_assert_uint_eq(broker_next_ns(broker), UINT64_MAX);
	/* Who joins it by its pipe still does, and the owner can still come. */
	ck_assert(wire_id_equal(rejoin(pipes[0]), ids[0]));
	tick_until_done();
	ck_assert_uint_eq(bridge.questions, 2);
	claim(&owner, 1, pipes[0], ids[0]);
	say(&owner, (struct wire_message){.type = WIRE_MOVE, .move = {ids[0], 9}});
	tick_until_done();
	ck_assert_uint_eq(bridge.moves, 2);
	withdraw(&owner, ids[0]);
	ck_assert_uint_eq(bridge.questions, 2);
	withdraw(&owner, ids[1]);
	ck_assert_uint_eq(bridge.questions, 3);
	ck_assert(wire_id_equal(bridge.question.id, ids[1]));
	for (int i = 0; i < 2; i++)
		close(pipes[i]);
	hang_up(&owner);
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(what_is_withdrawn_is_kept_for_a_bridge_that_takes_nothing)
{
	fleet_begin();
	struct client owner;
	int pipes[] = {pipe_end(getuid()), pipe_end(getuid())};
	struct ctxd_id ids[2];

	ck_assert_ok(dial(&owner, getuid(), -1));
	for (int i = 0; i < 2; i++) {
		ids[i] = rejoin(pipes[i]);
		rejoin(pipes[i]);
		claim(&owner, 1 + (uint64_t)i, pipes[i], ids[i]);
		bridge.full = true;
		withdraw(&owner, ids[i]);
		ck_assert_uint_eq(bridge.questions, 0);
		if (i == 0) {
			/* It leaves one join, and is told of the other. */
			leave(&bridge, ids[0]);
			bridge.full = false;
			peer_writable(bridge.peer);
			tick_until_done();
			ck_assert_uint_eq(bridge.questions, 1);
			ck_assert(wire_id_equal(bridge.question.id, ids[0]));
			bridge.questions = 0;
		}
	}
	hang_up(&bridge);
	tick_until_done();
	be_bridge();
	tick_until_done();
	ck_assert_uint_eq(bridge.questions, 0);
	for (int i = 0; i < 2; i++)
		close(pipes[i]);
	hang_up(&owner);
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(questions_cost_as_much_however_many_there_are)
{
	fleet_begin();
	struct client client;
	struct wire_message ask = {
		.type = WIRE_ASK,
		.ask = {.question = WIRE_ASK_CANCEL, .id = {77, 1}, .wait_ns = UINT64_MAX, .host = "far"}};
	unsigned count = test_scaled(CANCELS);

	ck_assert_ok(dial(&client, HOSTILE, -1));
	unsigned answers = client.answers;
	worst = 0;
	for (unsigned i = 0; i < count; i++)
		say(&client, ask);
	tick_until_done();
	ck_assert_uint_eq(bridge.questions, count);
	struct wire_message told = {
		.type = WIRE_TELL, .serial = bridge.question.serial, .told = {.error = -ENOENT}};
	say(&bridge, told);
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers + 1);
	/* Half of them are over when the bridge is gone, and half before. */
	for (unsigned i = 1; i < count / 2; i++) {
		told.serial = bridge.question.serial - i;
		say(&bridge, told);
	}
	client.full = true;
	hang_up(&bridge);
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers + 1);
	client.full = false;
	peer_writable(client.peer);
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers + count);
	/* And when their time is over. */
	be_bridge();
	bridge.full = true;
	for (unsigned i = 0; i < count; i++)
		say(&client, ask);
	clock_ns += 7200 * NS_PER_SECOND;
	tick_until_done();
	ck_assert_uint_eq(client.answers, answers + 2 * count);
	ck_assert_int_eq(client.last.result.error, -ETIMEDOUT);
	/* And when who asked is gone. */
	bridge.full = false;
	peer_writable(bridge.peer);
	for (unsigned i = 0; i < count; i++)
		say(&client, ask);
	tick_until_done();
	hang_up(&client);
	ck_assert_uint_le(worst, AT_ONCE_MAX);
	ck_assert_uint_ne(broker_next_ns(broker), UINT64_MAX);
	clock_ns += 60 * NS_PER_SECOND;
	tick_until_done();
	hang_up(&bridge);
	flood_end();
}
END_TEST

START_TEST(all_clients_are_told_other_terms_in_pieces)
{
	fleet_begin();
	struct client *clients = dial_many(PEERS, HOSTILE), slow;

	ck_assert_ok(dial(&slow, HONEST, -1));
	slow.full = true;
	config.fleet.grace_ns++;
	broker_configure(broker, &config);
	tick_until_done();
	config.fleet.lease_ns++;
	broker_configure(broker, &config);
	tick_until_done();
	for (unsigned i = 0; i < PEERS; i++)
		ck_assert_uint_eq(clients[i].terms, 2);
	ck_assert_uint_eq(slow.terms, 1);
	slow.full = false;
	peer_writable(slow.peer);
	tick_until_done();
	ck_assert_uint_eq(slow.terms, 2);
	config.fleet.engine[0] = '\0';
	broker_configure(broker, &config);
	/* While they are told, some go. */
	hang_up_all(clients, PEERS);
	tick_until_done();
	ck_assert_uint_eq(slow.terms, 3);
	hang_up(&slow);
	hang_up(&bridge);
	flood_end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_flood_fleet");
	TCase *waits = test_case(suite, "waits"), *mirrors = test_case(suite, "mirrors"),
	      *withdrawals = test_case(suite, "withdrawals"), *questions = test_case(suite, "questions"),
	      *terms = test_case(suite, "terms");

	tcase_add_test(waits, what_many_wait_for_is_answered_in_pieces_and_for_all);
	tcase_add_test(waits, who_was_not_told_of_a_mirror_before_its_bridge_was_gone_gets_another_one);
	tcase_add_test(waits, joins_are_withdrawn_and_the_bridge_is_told);
	tcase_add_test(mirrors, a_message_costs_as_much_however_many_mirrors_there_are);
	tcase_add_test(mirrors, the_mirrors_of_a_bridge_that_is_gone_go_in_pieces);
	tcase_add_test(mirrors, a_mirror_is_kept_if_it_is_joined_again_before_the_bridge_is_told);
	tcase_add_test(mirrors, a_mirror_that_is_registered_again_and_not_joined_is_not_wanted_for_ever);
	tcase_add_test(withdrawals, what_no_owner_shares_again_after_a_restart_is_withdrawn);
	tcase_add_test(withdrawals, what_is_withdrawn_is_kept_for_a_bridge_that_takes_nothing);
	tcase_add_test(questions, questions_cost_as_much_however_many_there_are);
	tcase_add_test(terms, all_clients_are_told_other_terms_in_pieces);
	return suite;
}
