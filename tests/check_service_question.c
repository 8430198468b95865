/* SPDX-License-Identifier: MIT */
/* Questions to the fleet: what a client asks, the bridge is asked, and what the bridge tells reaches the
 * client. */
#include <sys/stat.h>

#include "support/bridge.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static int answer_file(const char *text, int seals)
{
	int fd = memfd_create("answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((int)write(fd, text, strlen(text)), (int)strlen(text));
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static const struct wire_message ask_hosts = {.type = WIRE_ASK, .ask = {.question = WIRE_ASK_HOSTS}};

static struct wire_message cancel_far(void)
{
	return (struct wire_message){.type = WIRE_ASK,
				     .ask = {.question = WIRE_ASK_CANCEL,
					     .error = -EPIPE,
					     .id = {77, 1},
					     .wait_ns = UINT64_MAX,
					     .host = "far",
					     .text = "over there"}};
}

static void tell_error(struct raw_client *bridge, uint64_t serial, int error)
{
	fleet_say(bridge,
		  (struct wire_message){.type = WIRE_TELL, .serial = serial, .told = {.error = error}});
}

START_TEST(a_question_reaches_the_bridge_and_its_answer_the_client)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client client = fleet_client(&service), bridge;
	struct wire_message told = {.type = WIRE_TELL, .told = {.hosts_asked = 3, .hosts_silent = 1}};
	int fd = answer_file("records", ALL_SEALS);

	fleet_say(&client, ask_hosts);
	fleet_expect_error(&client, -EHOSTUNREACH);
	bridge = fleet_bridge(&service);
	fleet_say(&client, cancel_far());
	const struct wire_ask *asked = &fleet_expect(&bridge, WIRE_ASKED)->ask;
	ck_assert_uint_eq(asked->question, WIRE_ASK_CANCEL);
	ck_assert_int_eq(asked->error, -EPIPE);
	ck_assert_int_eq(asked->pid, getpid());
	ck_assert_uint_eq(asked->uid, getuid());
	ck_assert_str_eq(asked->host, "far");
	ck_assert_str_eq(asked->text, "over there");
	ck_assert_uint_lt(asked->wait_ns, UINT64_MAX);
	told.serial = bridge.got.serial;
	told.told.report.asked = 2;
	fleet_say_with(&bridge, told, fd);
	fleet_expect(&client, WIRE_TOLD);
	ck_assert_uint_eq(client.got.serial, client.serial);
	ck_assert_uint_eq(client.got.told.hosts_asked, 3);
	ck_assert_uint_eq(client.got.told.hosts_silent, 1);
	ck_assert_uint_eq(client.got.told.report.asked, 2);
	char text[16] = "";
	ck_assert_int_eq((int)pread(client.fds[0], text, sizeof(text), 0), 7);
	ck_assert_str_eq(text, "records");
	fleet_close_fds(&client);
	ck_assert(service_logged(&service, "target=far/4d-1 error=-32 cause=\"over there\""));
	ck_assert(service_logged(&service, "target=far/4d-1 hosts=3 silent_hosts=1 asked=2"));
	/* An answer that nobody waits for is ignored, an error is passed on. */
	fleet_say_with(&bridge, told, fd);
	fleet_say(&client, ask_hosts);
	tell_error(&bridge, fleet_expect(&bridge, WIRE_ASKED)->serial, -EIO);
	fleet_expect(&client, WIRE_TOLD);
	ck_assert_int_eq(client.got.told.error, -EIO);
	close(fd);
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(a_question_without_an_answer_has_an_end)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION "reply = 10ms\ncancels = 2\n");
	struct raw_client client = fleet_client(&service), other = fleet_client(&service),
			  bridge = fleet_bridge(&service);

	/* Too many: these two wait for an hour. */
	fleet_say(&client, cancel_far());
	uint64_t first = client.serial;
	fleet_expect(&bridge, WIRE_ASKED);
	fleet_say(&client, cancel_far());
	fleet_expect(&bridge, WIRE_ASKED);
	fleet_say(&other, ask_hosts);
	fleet_expect_error(&other, -EDQUOT);
	tell_error(&bridge, bridge.got.serial, -EIO);
	fleet_expect(&client, WIRE_TOLD);
	/* Too late. */
	fleet_say(&client, ask_hosts);
	uint64_t late = fleet_expect(&bridge, WIRE_ASKED)->serial;
	fleet_expect_error(&client, -ETIMEDOUT);
	tell_error(&bridge, late, -EIO);
	fleet_say(&other, ask_hosts);
	fleet_expect(&bridge, WIRE_ASKED);
	/* The client is gone; the question is charged until its time is over. */
	close(other.fd);
	/* The bridge is gone. */
	close(bridge.fd);
	fleet_expect(&client, WIRE_RESULT);
	ck_assert_int_eq(client.got.result.error, -EHOSTUNREACH);
	ck_assert_uint_eq(client.got.serial, first);
	ck_assert(service_logged(&service, "reason=EHOSTUNREACH"));
	bridge = fleet_bridge(&service);
	for (int i = 0; i < 2; i++) {
		fleet_say(&client, cancel_far());
		fleet_expect(&bridge, WIRE_ASKED);
		tell_error(&bridge, bridge.got.serial, -EIO);
		fleet_expect(&client, WIRE_TOLD);
	}
	close(client.fd);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* The client must be able to read it while nobody can change it, and the service to pass it on. */
START_TEST(an_answer_that_could_change_ends_the_bridge)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client client = fleet_client(&service);
	int bad[] = {answer_file("x", ALL_SEALS & ~F_SEAL_WRITE),
		     answer_file("x", ALL_SEALS & ~F_SEAL_SHRINK), open("/dev/null", O_RDONLY | O_CLOEXEC),
		     answer_file("x", F_SEAL_SHRINK)};

	ck_assert_ok(ftruncate(bad[3], 1l << 30));
	ck_assert_ok(fcntl(bad[3], F_ADD_SEALS, ALL_SEALS));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct raw_client bridge = fleet_bridge(&service);
		fleet_say(&client, ask_hosts);
		struct wire_message told = {.type = WIRE_TELL,
					    .serial = fleet_expect(&bridge, WIRE_ASKED)->serial};
		fleet_say_with(&bridge, told, bad[i]);
		raw_thrown_out(bridge.fd, -EPROTO);
		fleet_expect_error(&client, -EHOSTUNREACH);
		close(bad[i]);
	}
	close(client.fd);
	service_end(&service);
}
END_TEST

START_TEST(a_list_is_for_root_or_for_all_if_the_configuration_says_so)
{
	struct wire_message list = {.type = WIRE_ASK,
				    .ask = {.question = WIRE_ASK_LIST, .kinds = CTXD_SHARED}};

	for (int all = 0; all < 2; all++) {
		struct service service = {.loop = SERVICE_LOOP(_i)};
		service_start(&service, all ? FLEET_CONFIGURATION "fleet_list = all\n" : FLEET_CONFIGURATION);
		struct raw_client bridge = fleet_bridge(&service), user = fleet_client_of(&service, 65001),
				  root = fleet_client(&service);
		fleet_say(&user, list);
		if (all) {
			ck_assert_uint_eq(fleet_expect(&bridge, WIRE_ASKED)->ask.uid, 65001);
			ck_assert_uint_eq(bridge.got.ask.kinds, CTXD_SHARED);
		} else {
			fleet_expect_error(&user, -EPERM);
			fleet_say(&user, cancel_far());
			ck_assert_uint_eq(fleet_expect(&bridge, WIRE_ASKED)->ask.uid, 65001);
		}
		fleet_say(&root, list);
		ck_assert_uint_eq(fleet_expect(&bridge, WIRE_ASKED)->ask.uid, 0);
		close(user.fd);
		close(root.fd);
		close(bridge.fd);
		service_end(&service);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_question");
	TCase *questions = test_case(suite, "questions");

	ON_EACH_LOOP(questions, a_question_reaches_the_bridge_and_its_answer_the_client);
	ON_EACH_LOOP(questions, a_question_without_an_answer_has_an_end);
	ON_EACH_LOOP(questions, an_answer_that_could_change_ends_the_bridge);
	ON_EACH_LOOP(questions, a_list_is_for_root_or_for_all_if_the_configuration_says_so);
	return suite;
}
