/* SPDX-License-Identifier: MIT */
/* ctxd in a fleet: what clients are told of it, and contexts of this host that are shared for it. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "support/bridge.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

/* ---- what clients are told */

static struct wire_terms terms_of(const struct service *service)
{
	struct wire_message message;
	int fd = raw_dial(service);

	raw_send_message(fd, &raw_hello, NULL, 0);
	ck_assert(raw_receive(fd, &message));
	ck_assert_int_eq(message.type, WIRE_WELCOME);
	ck_assert(raw_receive(fd, &message));
	ck_assert_int_eq(message.type, WIRE_TERMS);
	close(fd);
	return message.terms;
}

/* Has it read its configuration again, for the time that number says. */
static void reload(const struct service *service, const char *configuration, unsigned number)
{
	unsigned count = 0;

	service_configure(service, configuration);
	kill(service->pid, SIGHUP);
	for (uint64_t end_ns = clock_now_ns() + 30 * NS_PER_SECOND; count < number; poll(NULL, 0, 1)) {
		FILE *file = fopen(service->log, "re");
		char line[1024];
		ck_assert_ptr_nonnull(file);
		for (count = 0; fgets(line, sizeof(line), file);)
			count += strstr(line, "event=reload") != NULL;
		fclose(file);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
}

START_TEST(each_client_is_told_the_terms_of_the_fleet)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct utsname kernel;

	service_start(&service, NULL);
	ck_assert_str_eq(terms_of(&service).host, "");
	struct raw_client first = fleet_client(&service), second = fleet_client(&service);
	reload(&service, FLEET_CONFIGURATION, 1);
	fleet_expect(&first, WIRE_TERMS);
	ck_assert_str_eq(first.got.terms.host, "here");
	ck_assert_uint_eq(first.got.terms.grace_ns, 7 * NS_PER_SECOND);
	fleet_expect(&second, WIRE_TERMS);
	ck_assert_str_eq(terms_of(&service).host, "here");
	/* What is the same is not told again. */
	reload(&service, FLEET_CONFIGURATION "fleet_lease = 9s\n", 2);
	reload(&service, "fleet_engine = redis://nowhere\nfleet_grace = forever\n", 3);
	ck_assert_ok(uname(&kernel));
	fleet_expect(&first, WIRE_TERMS);
	if (wire_host_is_valid(kernel.nodename, strlen(kernel.nodename)))
		ck_assert_str_eq(first.got.terms.host, kernel.nodename);
	ck_assert_uint_eq(first.got.terms.grace_ns, CTX_FOREVER);
	close(first.fd);
	close(second.fd);
	service_end(&service);
}
END_TEST

/* ---- sharing and joining here */

START_TEST(what_is_shared_for_the_fleet_has_a_secret_by_which_it_is_joined)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION "log_level = debug\n");
	struct raw_client owner = fleet_client(&service), joiner = fleet_client(&service);
	struct wire_global global, other, wrong;
	char secret[24];
	/* The mode of the first gives nobody a right. */
	int first = fleet_share(&owner, 0, &global), second = fleet_share(&owner, 0600, &other);

	ck_assert_uint_ne(global.secret, 0);
	ck_assert_uint_ne(global.secret, other.secret);
	fleet_join(&joiner, global, 0);
	const struct wire_joined *joined = fleet_expect_joined(&joiner);
	ck_assert(wire_id_equal(joined->id, global.id));
	ck_assert_uint_eq(joined->flags, WIRE_MOVABLE);
	ck_assert_str_eq(joined->label, "shared");
	fleet_close_fds(&joiner);
	wrong = global;
	wrong.secret ^= 1ull << 63;
	fleet_join(&joiner, wrong, 0);
	fleet_expect_error(&joiner, -ENOENT);
	wrong = global;
	wrong.id.number += 1000;
	fleet_join(&joiner, wrong, 0);
	fleet_expect_error(&joiner, -ENOENT);
	wrong = global;
	wrong.id.epoch ^= 1;
	fleet_join(&joiner, wrong, 0);
	fleet_expect_error(&joiner, -ESTALE);
	/* One that has ended is joined with its cause. */
	fleet_say(&owner,
		  (struct wire_message){.type = WIRE_ENDED,
					.ended = {global.id, {.error = -EPIPE, .kind = CTX_CAUSE_CALL}}});
	fleet_expect_nothing(&owner);
	fleet_join(&joiner, global, 0);
	joined = fleet_expect_joined(&joiner);
	ck_assert_uint_eq(joined->ended, 1);
	ck_assert_int_eq(joined->cause.error, -EPIPE);
	/* What is not shared for the fleet has no secret. */
	struct wire_message share = fleet_share_message(0666);
	share.share.flags = 0;
	int ends[2];
	ck_assert_ok(pipe(ends));
	fleet_say_with(&owner, share, ends[0]);
	fleet_expect_error(&owner, 0);
	wrong.id = owner.got.result.id;
	fleet_join(&joiner, wrong, 0);
	fleet_expect_error(&joiner, -ENOENT);
	close(ends[0]);
	close(ends[1]);
	close(first);
	close(second);
	/* No line has the secret: not one of a cancel either. */
	fleet_say(&joiner, (struct wire_message){.type = WIRE_CANCEL, .cancel = {.id = other.id}});
	fleet_expect(&owner, WIRE_ORDER);
	for (int i = 0; i < 2; i++) {
		snprintf(secret, sizeof(secret), i ? "%" PRIx64 : "%" PRIu64, other.secret);
		ck_assert(service_logged(&service, "event=request uid"));
		ck_assert(!service_logged(&service, secret));
	}
	close(owner.fd);
	close(joiner.fd);
	service_end(&service);
}
END_TEST

START_TEST(without_a_fleet_nothing_is_shared_or_joined_for_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct raw_client client = fleet_client(&service);
	int ends[2];

	ck_assert_ok(pipe(ends));
	fleet_say_with(&client, fleet_share_message(0600), ends[0]);
	fleet_expect_error(&client, -ENOTSUP);
	fleet_join(&client, fleet_far(1), 0);
	fleet_expect_error(&client, -ENOTSUP);
	fleet_say(&client, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
	fleet_expect_error(&client, -ENOTSUP);
	fleet_say(&client, (struct wire_message){.type = WIRE_ASK, .ask = {.question = WIRE_ASK_HOSTS}});
	fleet_expect_error(&client, -ENOTSUP);
	close(ends[0]);
	close(ends[1]);
	close(client.fd);
	service_end(&service);
}
END_TEST

/* ---- several users */

enum {
	USER = 65001,
	OTHER = 65002,
};

START_TEST(only_root_and_whom_the_configuration_names_may_be_the_bridge)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client user = fleet_client_of(&service, USER), other = fleet_client_of(&service, OTHER),
			  root = fleet_client(&service);
	struct wire_message bridge = {.type = WIRE_BRIDGE, .bridge = {.host = "here"}};

	fleet_say(&user, bridge);
	fleet_expect_error(&user, -EPERM);
	/* That is no help to guess the name of the host. */
	strcpy(bridge.bridge.host, "guess");
	fleet_say(&user, bridge);
	fleet_expect_error(&user, -EPERM);
	ck_assert(service_logged(&service, "event=bridge-refused uid=65001"));
	/* A user that each Debian has. */
	reload(&service, FLEET_CONFIGURATION "fleet_bridge_user = daemon\n", 1);
	struct raw_client named = fleet_client_of(&service, 1);
	fleet_be_bridge(&named);
	close(named.fd);
	fleet_be_bridge(&root);
	strcpy(bridge.bridge.host, "here");
	fleet_say(&other, bridge);
	fleet_expect_error(&other, -EPERM);
	reload(&service, FLEET_CONFIGURATION "fleet_bridge_user = nobody-at-all\n", 2);
	ck_assert(service_logged(&service, "event=fleet reason="));
	close(user.fd);
	close(other.fd);
	close(root.fd);
	service_end(&service);
}
END_TEST

static unsigned count_listed(struct raw_client *client)
{
	struct wire_message list = {.type = WIRE_LIST, .list = {.kinds = 15}};
	unsigned count = 0;

	do {
		fleet_say(client, list);
		fleet_expect(client, WIRE_ENTRIES);
		list.list.cursor = client->got.entries.next;
		count += client->got.entries.count;
	} while (list.list.cursor);
	return count;
}

/* Nothing else that was there before the fleet: the bridge is root here, and sees no more than another would.
 */
START_TEST(the_bridge_sees_what_is_of_the_fleet_or_all_if_it_may)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), user = fleet_client_of(&service, USER),
			  other = fleet_client_of(&service, OTHER);
	struct wire_message share = fleet_share_message(0666);
	struct wire_global global;
	struct ctxd_id id;
	int ends[2];

	ck_assert_ok(seteuid(USER));
	share.share.flags = 0;
	ck_assert_ok(pipe(ends));
	fleet_say_with(&user, share, ends[0]);
	fleet_expect_error(&user, 0);
	struct ctxd_id plain = user.got.result.id;
	int shared = fleet_share(&user, 0600, &global);
	ck_assert_ok(seteuid(0));
	fleet_join(&user, fleet_far(1), 0);
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(fetch.fetch.uid, USER);
	int mirrored = fleet_answer_live(&bridge, &fetch, &id);
	ck_assert_uint_eq(fleet_expect_joined(&user)->owner_uid, 0);
	fleet_close_fds(&user);
	/* What is for the fleet, the mirror and the join. */
	ck_assert_uint_eq(count_listed(&bridge), 3);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_JOIN, .join = {.id = plain}});
	fleet_expect_error(&bridge, -ENOENT);
	/* Another user sees nothing of these, has no part in the mirror, and joins what it has the id of. */
	fleet_say(&other, (struct wire_message){.type = WIRE_JOIN, .join = {.id = id}});
	fleet_expect_error(&other, -ENOENT);
	fleet_join(&other, fleet_far(1), 0);
	fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(bridge.got.fetch.uid, OTHER);
	fleet_join(&other, global, 0);
	fleet_expect_joined(&other);
	fleet_close_fds(&other);
	/* A deadline that moves is told to it, though the mode gives it no right. */
	fleet_say(&user, (struct wire_message){.type = WIRE_MOVE, .move = {global.id, 99}});
	fleet_expect(&other, WIRE_MOVED);
	fleet_say(&user, (struct wire_message){.type = WIRE_MOVE, .move = {global.id, 98}});
	fleet_expect(&other, WIRE_MOVED);
	unsigned seen = count_listed(&bridge);
	ck_assert_uint_eq(seen, 4);
	reload(&service, FLEET_CONFIGURATION "fleet_list = all\n", 1);
	/* The plain one, and processes. */
	ck_assert_uint_gt(count_listed(&bridge), seen);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_CANCEL, .cancel = {.id = plain}});
	fleet_expect(&bridge, WIRE_REPORT);
	ck_assert_int_eq(bridge.got.report.error, -ENOENT);
	close(ends[0]);
	close(ends[1]);
	close(shared);
	close(mirrored);
	close(user.fd);
	close(other.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- a restart of the service */

START_TEST(after_a_restart_the_bridge_and_who_had_the_id_join_again_by_the_pipe)
{
	struct service service = {0};
	service_start(&service, FLEET_CONFIGURATION "remote_contexts = 1\n");
	struct raw_client owner = fleet_client_of(&service, USER), bridge = fleet_bridge(&service),
			  other = fleet_client_of(&service, OTHER);
	struct wire_global global, again;
	int ends[2];

	ck_assert_ok(seteuid(USER));
	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	ck_assert_ok(seteuid(0));
	fleet_say_with(&owner, fleet_share_message(0600), ends[0]);
	global.id = fleet_expect(&owner, WIRE_SHARED)->shared.id;
	uint64_t secret = owner.got.shared.secret;
	service_kill(&service);
	close(owner.fd);
	close(bridge.fd);
	close(other.fd);
	service_restart(&service);
	bridge = fleet_bridge(&service);
	other = fleet_client_of(&service, OTHER);
	struct wire_message rejoin = {
		.type = WIRE_REJOIN,
		.rejoin = {.old_id = global.id, .ctx_id = 3, .deadline_ns = CTX_FOREVER, .label = "shared"}};
	fleet_say_with(&bridge, rejoin, ends[0]);
	fleet_expect_error(&bridge, 0);
	fleet_say_with(&bridge, rejoin, ends[0]);
	fleet_expect_error(&bridge, -EDQUOT);
	owner = fleet_client_of(&service, USER);
	fleet_say_with(&owner, fleet_share_message(0600), ends[0]);
	again.id = fleet_expect(&owner, WIRE_SHARED)->shared.id;
	ck_assert_uint_ne(owner.got.shared.secret, secret);
	ck_assert(wire_id_equal(again.id, bridge.got.result.id) || bridge.got.result.error);
	/* The mode gives this user no right. */
	fleet_say_with(&other, rejoin, ends[0]);
	fleet_expect_error(&other, 0);
	ck_assert(wire_id_equal(again.id, other.got.result.id));
	fleet_say(&owner, (struct wire_message){.type = WIRE_MOVE, .move = {again.id, 99}});
	fleet_expect(&bridge, WIRE_MOVED);
	fleet_expect(&other, WIRE_MOVED);
	close(ends[0]);
	close(ends[1]);
	close(owner.fd);
	close(other.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- what is withdrawn */

static void expect_unshared(struct raw_client *bridge, struct ctxd_id id)
{
	fleet_expect(bridge, WIRE_UNSHARED);
	ck_assert(wire_id_equal(bridge->got.id, id));
}

START_TEST(the_bridge_is_told_what_is_withdrawn_after_it_has_joined_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_global first, second, third;
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), owner = fleet_client(&service),
			  other = fleet_client(&service);
	int pipes[] = {fleet_share(&owner, 0600, &first), fleet_share(&owner, 0600, &second),
		       fleet_share(&other, 0600, &third)};

	fleet_join(&bridge, first, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	fleet_join(&bridge, third, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	/* Of what no other host has joined it hears nothing. */
	fleet_say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = second.id});
	fleet_expect_error(&owner, 0);
	fleet_say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = first.id});
	fleet_expect_error(&owner, 0);
	expect_unshared(&bridge, first.id);
	fleet_join(&bridge, first, 0);
	fleet_expect_error(&bridge, -ENOENT);
	fleet_say(&bridge, (struct wire_message){.type = WIRE_LEAVE, .attach = {.id = first.id}});
	/* The connection of its owner ends, but the process and the context live. */
	close(other.fd);
	expect_unshared(&bridge, third.id);
	fleet_expect_nothing(&bridge);
	for (int i = 0; i < 3; i++)
		close(pipes[i]);
	close(owner.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(what_has_ended_is_not_withdrawn_and_a_bridge_that_is_gone_is_not_told)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_global global;
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client bridge = fleet_bridge(&service), owner = fleet_client(&service);
	int pipe_end = fleet_share(&owner, 0600, &global);
	struct wire_message ended = {.type = WIRE_ENDED, .ended = {.id = global.id}};

	ended.ended.cause = (struct wire_cause){.error = -ECANCELED, .kind = CTX_CAUSE_CALL};
	fleet_join(&bridge, global, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	fleet_say(&owner, ended);
	fleet_say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = global.id});
	fleet_expect_error(&owner, -ENOENT);
	fleet_expect_nothing(&bridge);
	close(pipe_end);
	pipe_end = fleet_share(&owner, 0600, &global);
	fleet_join(&bridge, global, 0);
	fleet_expect_joined(&bridge);
	fleet_close_fds(&bridge);
	close(bridge.fd);
	fleet_say(&owner, (struct wire_message){.type = WIRE_UNSHARE, .id = global.id});
	fleet_expect_error(&owner, 0);
	bridge = fleet_bridge(&service);
	fleet_expect_nothing(&bridge);
	close(pipe_end);
	close(owner.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_fleet");
	TCase *terms = test_case(suite, "terms"), *shares = test_case(suite, "shares"),
	      *users = test_case(suite, "users"), *restart = test_case(suite, "restart");

	ON_EACH_LOOP(terms, each_client_is_told_the_terms_of_the_fleet);
	ON_EACH_LOOP(shares, what_is_shared_for_the_fleet_has_a_secret_by_which_it_is_joined);
	ON_EACH_LOOP(shares, without_a_fleet_nothing_is_shared_or_joined_for_it);
	ON_EACH_LOOP(users, only_root_and_whom_the_configuration_names_may_be_the_bridge);
	ON_EACH_LOOP(users, the_bridge_sees_what_is_of_the_fleet_or_all_if_it_may);
	tcase_add_test(restart, after_a_restart_the_bridge_and_who_had_the_id_join_again_by_the_pipe);
	tcase_add_loop_test(shares, the_bridge_is_told_what_is_withdrawn_after_it_has_joined_it, 0, 2);
	tcase_add_loop_test(shares, what_has_ended_is_not_withdrawn_and_a_bridge_that_is_gone_is_not_told, 0,
			    2);
	return suite;
}
