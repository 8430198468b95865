/* SPDX-License-Identifier: MIT */
/* ctxd in a fleet, with a bridge of the test's own: contexts of other hosts that are joined here. */
#include "support/bridge.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

/* ---- who is the bridge */

START_TEST(there_is_one_bridge_and_it_names_its_host)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_client(&service), other = fleet_client(&service);

	fleet_say(&bridge, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "elsewhere"}});
	fleet_expect_error(&bridge, -EINVAL);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
	fleet_expect_error(&bridge, 0);
	fleet_say(&other, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
	fleet_expect_error(&other, -EBUSY);
	close(bridge.fd);
	fleet_be_bridge(&other);
	close(other.fd);
	service_end(&service);
}
END_TEST

/* Joins of the bridge are charged otherwise than those of clients, so none may become the other. */
START_TEST(who_has_joined_or_shared_something_does_not_become_the_bridge)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client waits = fleet_client(&service), shares = fleet_client(&service),
			  joins = fleet_client(&service);
	struct wire_message be = {.type = WIRE_BRIDGE, .bridge = {.host = "here"}};
	struct raw_client *clients[] = {&waits, &shares, &joins};
	struct wire_global global;

	fleet_join(&waits, fleet_far(1), 0);
	int pipe_end = fleet_share(&shares, 0600, &global);
	fleet_join(&joins, global, 0);
	fleet_expect_joined(&joins);
	fleet_close_fds(&joins);
	for (int i = 0; i < 3; i++) {
		fleet_say(clients[i], be);
		fleet_expect_error(clients[i], -EALREADY);
	}
	struct raw_client bridge = fleet_bridge(&service);
	fleet_expect(&bridge, WIRE_FETCH);
	for (int i = 0; i < 3; i++)
		close(clients[i]->fd);
	close(pipe_end);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- joining */

START_TEST(a_context_of_another_host_is_joined_when_the_bridge_has_a_mirror)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client early = fleet_client(&service), late = fleet_client(&service);
	struct ctxd_id id;

	/* There is no bridge yet. */
	fleet_join(&early, fleet_far(1), WIRE_SURVIVE);
	uint64_t early_serial = early.serial;
	fleet_expect_nothing(&early);
	early.serial = early_serial;
	struct raw_client bridge = fleet_bridge(&service);
	const struct wire_message *fetch = fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(fetch->fetch.flags, WIRE_SURVIVE);
	ck_assert_uint_eq(fetch->fetch.uid, getuid());
	ck_assert_uint_eq(fetch->fetch.global.secret, 1001);
	ck_assert_str_eq(fetch->fetch.global.host, "far");
	struct wire_message asked = *fetch;
	fleet_join(&late, fleet_far(1), WIRE_SURVIVE);
	uint64_t late_serial = late.serial;
	fleet_expect_nothing(&late);
	late.serial = late_serial;
	int pipe_end = fleet_answer_live(&bridge, &asked, &id);
	struct raw_client *clients[] = {&early, &late};
	for (int i = 0; i < 2; i++) {
		const struct wire_joined *joined = fleet_expect_joined(clients[i]);
		ck_assert(wire_id_equal(joined->id, id));
		ck_assert_uint_eq(joined->flags, WIRE_REMOTE | WIRE_MOVABLE);
		ck_assert_str_eq(joined->label, "mirror");
		ck_assert_int_eq(joined->owner_pid, getpid());
		ck_assert_uint_eq(joined->ended, 0);
		ck_assert_int_eq((int)write(pipe_end, "x", 1), 1);
		char byte;
		ck_assert_int_eq((int)read(clients[i]->fds[0], &byte, 1), 1);
		fleet_close_fds(clients[i]);
	}
	/* Who comes later needs no bridge. */
	fleet_join(&late, fleet_far(1), WIRE_SURVIVE);
	ck_assert(wire_id_equal(fleet_expect_joined(&late)->id, id));
	fleet_close_fds(&late);
	fleet_expect_nothing(&bridge);
	/* Without SURVIVE it is another mirror. */
	fleet_join(&late, fleet_far(1), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(bridge.got.fetch.flags, 0);
	close(pipe_end);
	close(early.fd);
	close(late.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(who_waits_is_told_how_the_context_has_ended_or_that_it_is_unknown)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service);

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message mirror = fleet_mirror_of(fleet_expect(&bridge, WIRE_FETCH));
	mirror.mirror.error = -ECANCELED;
	mirror.mirror.cause =
		(struct wire_cause){.error = -EPIPE, .kind = CTX_CAUSE_CALL, .text = "why", .host = "far"};
	fleet_say(&bridge, mirror);
	fleet_expect_error(&bridge, 0);
	const struct wire_joined *joined = fleet_expect_joined(&client);
	ck_assert_uint_eq(joined->ended, 1);
	ck_assert_int_eq(joined->cause.error, -EPIPE);
	ck_assert_str_eq(joined->cause.text, "why");
	ck_assert_str_eq(joined->cause.host, "far");
	ck_assert_str_eq(joined->label, "mirror");
	/* It is asked again: the answer may be another one. */
	fleet_join(&client, fleet_far(1), 0);
	mirror = fleet_mirror_of(fleet_expect(&bridge, WIRE_FETCH));
	mirror.mirror.error = -ENOENT;
	fleet_say(&bridge, mirror);
	fleet_expect_error(&bridge, 0);
	fleet_expect_error(&client, -ENOENT);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* Waits until the bridge hears of what the client has left behind. */
static void expect_unwanted(struct raw_client *bridge, struct ctxd_id id)
{
	fleet_expect(bridge, WIRE_UNWANTED);
	ck_assert(wire_id_equal(bridge->got.id, id));
}

START_TEST(a_mirror_that_nobody_has_joined_any_more_is_not_wanted)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), first = fleet_client(&service),
			  second = fleet_client(&service);
	struct ctxd_id id;

	fleet_join(&first, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&first);
	fleet_close_fds(&first);
	fleet_join(&second, fleet_far(1), 0);
	fleet_expect_joined(&second);
	fleet_close_fds(&second);
	fleet_say(&first, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = id}});
	fleet_expect_nothing(&first);
	fleet_expect_nothing(&bridge);
	close(second.fd);
	expect_unwanted(&bridge, id);
	/* It is gone, and would be fetched again. */
	fleet_say(&first, (struct wire_message){.type = WIRE_JOIN, .join = {.id = id}});
	fleet_expect_error(&first, -ENOENT);
	fleet_join(&first, fleet_far(1), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_ne(bridge.got.serial, fetch.serial);
	close(pipe_end);
	close(first.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* The bridge is told so, and nothing is charged for it any more. A late answer finds nobody. */
START_TEST(a_fetch_that_nobody_waits_for_is_taken_back)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION "remote_joins = 1\n");
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service),
			  other = fleet_client(&service);
	int ends[2];

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	fleet_join(&other, fleet_far(2), 0);
	fleet_expect_error(&other, -EDQUOT);
	close(client.fd);
	fleet_expect(&bridge, WIRE_UNWANTED);
	ck_assert(wire_id_is_none(bridge.got.id));
	ck_assert_uint_eq(bridge.got.serial, fetch.serial);
	ck_assert_ok(pipe(ends));
	fleet_say_with(&bridge, fleet_mirror_of(&fetch), ends[0]);
	fleet_expect_error(&bridge, -ENOENT);
	fleet_join(&other, fleet_far(2), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	close(ends[0]);
	close(ends[1]);
	close(other.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

static void withdraw(struct raw_client *client, uint64_t serial)
{
	fleet_say(client, (struct wire_message){.type = WIRE_WITHDRAW, .serial = serial});
}

START_TEST(a_join_that_is_not_answered_can_be_withdrawn)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION "remote_joins = 2\n");
	struct raw_client client = fleet_client(&service), other = fleet_client(&service);
	struct ctxd_id id;

	/* Before there is a bridge. What is not there, or is another's, is not withdrawn. */
	fleet_join(&client, fleet_far(1), 0);
	fleet_join(&client, fleet_far(1), 0);
	uint64_t second = client.serial;
	withdraw(&client, second + 1);
	fleet_expect_nothing(&client);
	ck_assert_uint_lt(other.serial, second);
	withdraw(&other, second);
	fleet_join(&other, fleet_far(2), 0);
	fleet_expect_error(&other, -EDQUOT);
	withdraw(&client, second - 1);
	fleet_expect_nothing(&client);
	fleet_join(&other, fleet_far(2), 0);
	/* The bridge is asked for the other one of the two. */
	struct raw_client bridge = fleet_bridge(&service);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(fetch.fetch.global.id.number, fleet_far(1).id.number);
	ck_assert_uint_eq(fleet_expect(&bridge, WIRE_FETCH)->fetch.global.id.number, fleet_far(2).id.number);
	withdraw(&client, second);
	ck_assert_uint_eq(fleet_expect(&bridge, WIRE_UNWANTED)->serial, fetch.serial);
	fleet_join(&client, fleet_far(1), 0);
	fetch = *fleet_expect(&bridge, WIRE_FETCH);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	/* After the answer it does nothing. */
	withdraw(&client, client.serial);
	fleet_expect_nothing(&client);
	fleet_say(&client, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = id}});
	ck_assert(wire_id_equal(fleet_expect(&bridge, WIRE_UNWANTED)->id, id));
	close(pipe_end);
	close(other.fd);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- the end of the bridge */

START_TEST(the_next_bridge_is_asked_for_what_the_last_one_did_not_answer)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service);
	struct ctxd_id id;

	fleet_join(&client, fleet_far(1), 0);
	uint64_t serial = fleet_expect(&bridge, WIRE_FETCH)->serial;
	close(bridge.fd);
	bridge = fleet_bridge(&service);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(fetch.serial, serial);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	close(pipe_end);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(the_end_of_the_bridge_ends_no_mirror_for_who_has_joined_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service),
			  watcher = fleet_client(&service);
	struct ctxd_id id;

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	fleet_say(&watcher,
		  (struct wire_message){.type = WIRE_WATCH, .watch = {.kinds = CTXD_SHARED | CTXD_JOINED}});
	fleet_expect_error(&watcher, 0);
	close(bridge.fd);
	/* It is not there any more, and it has not ended. */
	fleet_expect(&watcher, WIRE_EVENT);
	ck_assert_uint_eq(watcher.got.event.kind, CTXD_EVENT_REMOVED);
	ck_assert_int_eq(watcher.got.event.entry.kind, CTXD_SHARED);
	ck_assert_str_eq(watcher.got.event.entry.host, "far");
	fleet_expect(&watcher, WIRE_EVENT);
	ck_assert_uint_eq(watcher.got.event.kind, CTXD_EVENT_REMOVED);
	ck_assert_int_eq(watcher.got.event.entry.kind, CTXD_JOINED);
	ck_assert_str_eq(watcher.got.event.entry.host, "far");
	ck_assert_uint_eq(watcher.got.event.entry.origin.number, 1);
	fleet_expect_nothing(&client);
	fleet_say(&client, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = id}});
	fleet_say(&client, (struct wire_message){.type = WIRE_JOIN, .join = {.id = id}});
	fleet_expect_error(&client, -ENOENT);
	/* Who joins it again waits for the next bridge. */
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect_nothing(&client);
	bridge = fleet_bridge(&service);
	fleet_expect(&bridge, WIRE_FETCH);
	close(pipe_end);
	close(watcher.fd);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- a restart of the service */

/* 0: the client joins again before the bridge has registered the mirror; 1: after it. */
START_TEST(after_a_restart_a_mirror_and_who_has_joined_it_are_found_by_the_pipe)
{
	struct service service = {0};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service);
	struct ctxd_id old_id, id;

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	struct wire_message mirror = fleet_mirror_of(&fetch);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &old_id);
	fleet_expect_joined(&client);
	int joined = client.fds[0];
	service_kill(&service);
	close(bridge.fd);
	close(client.fd);
	service_restart(&service);
	client = fleet_client(&service);
	bridge = fleet_bridge(&service);
	struct wire_message again = {
		.type = WIRE_REJOIN,
		.rejoin = {.old_id = old_id, .ctx_id = 3, .deadline_ns = CTX_FOREVER, .label = "mirror"}};
	mirror.mirror.fetch = 0;
	mirror.mirror.deadline_ns = 12345;
	if (_i == 0) {
		fleet_say_with(&client, again, joined);
		fleet_expect_error(&client, 0);
	}
	fleet_say_with(&bridge, mirror, joined);
	fleet_expect_error(&bridge, 0);
	id = bridge.got.result.id;
	if (_i == 0) {
		ck_assert(wire_id_equal(client.got.result.id, id));
		fleet_expect(&client, WIRE_MOVED);
	} else {
		fleet_say_with(&client, again, joined);
		fleet_expect_error(&client, 0);
		ck_assert(wire_id_equal(client.got.result.id, id));
		fleet_expect(&client, WIRE_MOVED);
	}
	ck_assert_uint_eq(client.got.move.deadline_ns, 12345);
	/* It cannot be registered twice. */
	fleet_say_with(&bridge, mirror, joined);
	fleet_expect_error(&bridge, -EEXIST);
	/* Who joins it by its id finds it. */
	fleet_join(&client, fleet_far(1), 0);
	ck_assert(wire_id_equal(fleet_expect_joined(&client)->id, id));
	ck_assert_uint_eq(client.got.joined.flags, WIRE_REMOTE | WIRE_MOVABLE);
	fleet_close_fds(&client);
	close(client.fd);
	expect_unwanted(&bridge, id);
	close(joined);
	close(pipe_end);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* Until the bridge is back, nobody knows that it is a mirror. */
START_TEST(after_a_restart_a_join_counts_as_remote_once_its_mirror_is_known)
{
	struct service service = {0};
	service_start(&service, FLEET_CONFIGURATION "joins = 1\nremote_joins = 1\n");
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service);
	struct wire_global global;
	struct ctxd_id old_id;

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH), mirror = fleet_mirror_of(&fetch);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &old_id);
	fleet_expect_joined(&client);
	int joined = client.fds[0];
	service_kill(&service);
	close(bridge.fd);
	close(client.fd);
	service_restart(&service);
	client = fleet_client(&service);
	int shared = fleet_share(&client, 0600, &global);
	fleet_say_with(&client,
		       (struct wire_message){.type = WIRE_REJOIN,
					     .rejoin = {.old_id = old_id, .deadline_ns = CTX_FOREVER}},
		       joined);
	fleet_expect_error(&client, 0);
	fleet_join(&client, global, 0);
	fleet_expect_error(&client, -EDQUOT);
	bridge = fleet_bridge(&service);
	mirror.mirror.fetch = 0;
	fleet_say_with(&bridge, mirror, joined);
	fleet_expect_error(&bridge, 0);
	fleet_join(&client, global, 0);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect_error(&client, -EDQUOT);
	close(joined);
	close(pipe_end);
	close(shared);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- what becomes of a mirror */

START_TEST(a_mirror_moves_and_ends_as_its_bridge_says)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service);
	struct ctxd_id id;

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_MOVE, .move = {id, 4567}});
	fleet_expect(&client, WIRE_MOVED);
	ck_assert(wire_id_equal(client.got.move.id, id));
	ck_assert_uint_eq(client.got.move.deadline_ns, 4567);
	fleet_say(&client, (struct wire_message){.type = WIRE_LIST, .list = {.kinds = CTXD_SHARED}});
	fleet_expect(&client, WIRE_ENTRIES);
	ck_assert_uint_eq(client.got.entries.count, 1);
	const struct ctxd_entry *entry = &client.got.entries.entries[0];
	ck_assert_str_eq(entry->host, "far");
	ck_assert_uint_eq(entry->origin.epoch, 77);
	ck_assert_uint_eq(entry->origin.number, 1);
	ck_assert_uint_eq(entry->uid, getuid());
	ck_assert_uint_eq(entry->mode, 0600);
	ck_assert_int_eq(entry->pid, getpid());
	ck_assert_uint_eq(entry->joiners, 1);
	struct wire_cause cause = {.error = -EPIPE, .kind = CTX_CAUSE_CALL, .host = "far"};
	fleet_say(&bridge, (struct wire_message){.type = WIRE_ENDED, .ended = {id, cause}});
	fleet_expect_nothing(&bridge);
	fleet_say(&client, (struct wire_message){.type = WIRE_LIST, .list = {.kinds = CTXD_SHARED}});
	fleet_expect(&client, WIRE_ENTRIES);
	ck_assert_int_eq(client.got.entries.entries[0].cause.error, -EPIPE);
	ck_assert_str_eq(client.got.entries.entries[0].cause.host, "far");
	/* The owner's host knows best. */
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	close(pipe_end);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- cancels */

static void expect_report(struct raw_client *client, int error, unsigned asked)
{
	fleet_expect(client, WIRE_REPORT);
	ck_assert_int_eq(client->got.report.error, error);
	ck_assert_uint_eq(client->got.report.report.asked, asked);
}

static void obey(struct raw_client *client)
{
	fleet_say(client, (struct wire_message){.type = WIRE_OBEYED,
						.serial = client->got.serial,
						.obeyed = {.reaped = 1}});
}

START_TEST(the_bridge_cancels_what_is_of_the_fleet_and_gets_no_order_for_what_it_joined)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), owner = fleet_client(&service);
	struct wire_message own = fleet_share_message(0666), cancel = {.type = WIRE_CANCEL};
	struct wire_global global;
	int pipe_end = fleet_share(&owner, 0600, &global), ends[2];

	fleet_join(&bridge, global, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	own.share.flags = 0;
	ck_assert_ok(pipe(ends));
	fleet_say_with(&owner, own, ends[0]);
	fleet_expect_error(&owner, 0);
	/* What is not shared for the fleet, whatever its mode. */
	cancel.cancel.id = owner.got.result.id;
	fleet_say(&bridge, cancel);
	expect_report(&bridge, -ENOENT, 0);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_LIST, .list = {.kinds = 15}});
	fleet_expect(&bridge, WIRE_ENTRIES);
	ck_assert_uint_eq(bridge.got.entries.count, 2);
	ck_assert(wire_id_equal(bridge.got.entries.entries[0].id, global.id));
	ck_assert_int_eq(bridge.got.entries.entries[1].kind, CTXD_JOINED);
	cancel.cancel.id = global.id;
	cancel.cancel.flags = WIRE_DRY_RUN;
	fleet_say(&bridge, cancel);
	expect_report(&bridge, 0, 1);
	cancel.cancel.flags = 0;
	strcpy(cancel.cancel.text, "for far");
	strcpy(cancel.cancel.host, "far");
	cancel.cancel.pid = 77;
	cancel.cancel.uid = 78;
	fleet_say(&bridge, cancel);
	fleet_expect(&owner, WIRE_ORDER);
	ck_assert_str_eq(owner.got.order.text, "for far");
	ck_assert_str_eq(owner.got.order.host, "far");
	ck_assert(owner.got.order.pid == 77 && owner.got.order.uid == 78);
	obey(&owner);
	expect_report(&bridge, 0, 1);
	ck_assert_uint_eq(bridge.got.report.report.ended, 1);
	ck_assert(service_logged(&service, "bridge=1"));
	close(ends[0]);
	close(ends[1]);
	close(pipe_end);
	close(owner.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* The owner may have ended it before the order came. Who is not the bridge cannot say where it was asked. */
START_TEST(a_context_that_its_owner_does_not_find_any_more_has_ended)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client asker = fleet_client(&service), owner = fleet_client(&service);
	struct wire_message cancel = {.type = WIRE_CANCEL, .cancel = {.pid = 7, .uid = 8, .host = "far"}};
	struct wire_global global;
	int pipe_end = fleet_share(&owner, 0600, &global);

	cancel.cancel.id = global.id;
	fleet_say(&asker, cancel);
	fleet_expect(&owner, WIRE_ORDER);
	ck_assert_str_eq(owner.got.order.host, "");
	ck_assert_int_eq(owner.got.order.pid, getpid());
	fleet_say(&owner, (struct wire_message){.type = WIRE_OBEYED,
						.serial = owner.got.serial,
						.obeyed = {.result = -ENOENT}});
	expect_report(&asker, -EALREADY, 1);
	close(pipe_end);
	close(owner.fd);
	close(asker.fd);
	service_end(&service);
}
END_TEST

START_TEST(a_mirror_is_cancelled_here_as_any_shared_context)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), client = fleet_client(&service),
			  asker = fleet_client(&service);
	struct ctxd_id id;

	fleet_join(&client, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	int pipe_end = fleet_answer_live(&bridge, &fetch, &id);
	fleet_expect_joined(&client);
	fleet_close_fds(&client);
	fleet_say(&asker, (struct wire_message){.type = WIRE_CANCEL, .cancel = {.id = id}});
	fleet_expect(&client, WIRE_ORDER);
	obey(&client);
	fleet_expect(&bridge, WIRE_ORDER);
	obey(&bridge);
	expect_report(&asker, 0, 2);
	/* That is the end of the mirror only. */
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	close(pipe_end);
	close(asker.fd);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- what is refused */

START_TEST(only_the_bridge_speaks_as_one_and_it_says_what_was_asked)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client stranger = fleet_client(&service), client = fleet_client(&service);
	struct wire_message told = {.type = WIRE_TELL, .serial = 1, .told = {.error = -ENOENT}};
	int ends[2];

	ck_assert_ok(pipe(ends));
	fleet_say(&stranger, told);
	raw_thrown_out(stranger.fd, -EPROTO);
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect_nothing(&client);
	for (int i = 0; i < 6; i++) {
		struct raw_client bridge = i ? fleet_bridge(&service) : fleet_client(&service);
		struct wire_message fetch = {
			.type = WIRE_FETCH, .serial = 1, .fetch = {.global = fleet_far(1), .uid = getuid()}};
		if (i)
			fetch = *fleet_expect(&bridge, WIRE_FETCH);
		struct wire_message mirror = fleet_mirror_of(&fetch);
		mirror.mirror.global.secret += i == 1;
		mirror.mirror.global.id.number += i == 2;
		mirror.mirror.uid += i == 3;
		mirror.mirror.flags ^= i == 4 ? WIRE_SURVIVE : 0;
		/* The write end is no pipe that can be read. */
		fleet_say_with(&bridge, mirror, ends[i == 5]);
		raw_thrown_out(bridge.fd, -EPROTO);
	}
	close(ends[0]);
	close(ends[1]);
	close(client.fd);
	service_end(&service);
}
END_TEST

START_TEST(what_other_hosts_join_is_charged_to_who_shared_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION "remote_contexts = 1\njoins = 1\n");
	struct raw_client bridge = fleet_bridge(&service), owner = fleet_client(&service);
	struct wire_global first, second;
	int ends[] = {fleet_share(&owner, 0600, &first), fleet_share(&owner, 0600, &second)};

	fleet_join(&bridge, first, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	fleet_join(&bridge, second, 0);
	fleet_expect_error(&bridge, -EDQUOT);
	/* Joins of its own host are charged apart. */
	fleet_join(&owner, second, 0);
	fleet_expect_joined(&owner);
	fleet_close_fds(&owner);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = first.id}});
	fleet_join(&bridge, second, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	close(ends[0]);
	close(ends[1]);
	close(owner.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_bridge");
	TCase *bridge = test_case(suite, "bridge"), *joins = test_case(suite, "joins"),
	      *ends = test_case(suite, "ends"), *cancels = test_case(suite, "cancels"),
	      *refusals = test_case(suite, "refusals");

	ON_EACH_LOOP(bridge, there_is_one_bridge_and_it_names_its_host);
	ON_EACH_LOOP(bridge, who_has_joined_or_shared_something_does_not_become_the_bridge);
	ON_EACH_LOOP(joins, a_context_of_another_host_is_joined_when_the_bridge_has_a_mirror);
	ON_EACH_LOOP(joins, who_waits_is_told_how_the_context_has_ended_or_that_it_is_unknown);
	ON_EACH_LOOP(joins, a_mirror_that_nobody_has_joined_any_more_is_not_wanted);
	ON_EACH_LOOP(joins, a_fetch_that_nobody_waits_for_is_taken_back);
	ON_EACH_LOOP(joins, a_join_that_is_not_answered_can_be_withdrawn);
	ON_EACH_LOOP(ends, the_next_bridge_is_asked_for_what_the_last_one_did_not_answer);
	ON_EACH_LOOP(ends, the_end_of_the_bridge_ends_no_mirror_for_who_has_joined_it);
	tcase_add_loop_test(ends, after_a_restart_a_mirror_and_who_has_joined_it_are_found_by_the_pipe, 0, 2);
	tcase_add_test(ends, after_a_restart_a_join_counts_as_remote_once_its_mirror_is_known);
	ON_EACH_LOOP(ends, a_mirror_moves_and_ends_as_its_bridge_says);
	ON_EACH_LOOP(cancels, the_bridge_cancels_what_is_of_the_fleet_and_gets_no_order_for_what_it_joined);
	ON_EACH_LOOP(cancels, a_context_that_its_owner_does_not_find_any_more_has_ended);
	ON_EACH_LOOP(cancels, a_mirror_is_cancelled_here_as_any_shared_context);
	ON_EACH_LOOP(refusals, only_the_bridge_speaks_as_one_and_it_says_what_was_asked);
	ON_EACH_LOOP(refusals, what_other_hosts_join_is_charged_to_who_shared_it);
	return suite;
}
