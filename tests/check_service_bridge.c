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
	do {
		fleet_say(&other, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
		fleet_expect(&other, WIRE_RESULT);
	} while (other.got.result.error == -EBUSY);
	ck_assert_int_eq(other.got.result.error, 0);
	close(other.fd);
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
	fleet_expect_nothing(&early);
	early.serial--;
	struct raw_client bridge = fleet_bridge(&service);
	const struct wire_message *fetch = fleet_expect(&bridge, WIRE_FETCH);
	ck_assert_uint_eq(fetch->fetch.flags, WIRE_SURVIVE);
	ck_assert_uint_eq(fetch->fetch.uid, getuid());
	ck_assert_uint_eq(fetch->fetch.global.secret, 1001);
	ck_assert_str_eq(fetch->fetch.global.host, "far");
	struct wire_message asked = *fetch;
	fleet_join(&late, fleet_far(1), WIRE_SURVIVE);
	fleet_expect_nothing(&late);
	late.serial--;
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_bridge");
	TCase *bridge = test_case(suite, "bridge"), *joins = test_case(suite, "joins");

	ON_EACH_LOOP(bridge, there_is_one_bridge_and_it_names_its_host);
	ON_EACH_LOOP(joins, a_context_of_another_host_is_joined_when_the_bridge_has_a_mirror);
	return suite;
}
