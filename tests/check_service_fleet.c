/* SPDX-License-Identifier: MIT */
/* ctxd in a fleet: what clients are told of it, and contexts of this host that are shared for it. */
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
	service_start(&service, FLEET_CONFIGURATION);
	struct raw_client owner = fleet_client(&service), joiner = fleet_client(&service);
	struct wire_global global, other, wrong;
	/* The mode gives nobody a right. */
	int first = fleet_share(&owner, 0, &global), second = fleet_share(&owner, 0, &other);

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

Suite *test_suite(void)
{
	Suite *suite = suite_create("service_fleet");
	TCase *terms = test_case(suite, "terms"), *shares = test_case(suite, "shares");

	ON_EACH_LOOP(terms, each_client_is_told_the_terms_of_the_fleet);
	ON_EACH_LOOP(shares, what_is_shared_for_the_fleet_has_a_secret_by_which_it_is_joined);
	ON_EACH_LOOP(shares, without_a_fleet_nothing_is_shared_or_joined_for_it);
	return suite;
}
