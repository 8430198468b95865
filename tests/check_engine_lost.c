/* SPDX-License-Identifier: MIT */
/* The engine of the fleet over real servers: how a link is lost, and which server the next one is made to. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/engine_end.h"
#include "support/harness.h"
#include "support/redis.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

static struct redis redis, other;
static struct engine_end a, b;

static void address_unix(char address[128], const struct redis *server)
{
	snprintf(address, 128, "unix:%s", server->socket);
}

static void start(void)
{
	char address[128];

	redis_require();
	redis_start(&redis, false, NULL);
	address_unix(address, &redis);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_open(&b, "b", address, 0, NULL, NULL);
	engine_end_await(&a, end_is_up);
	engine_end_await(&b, end_is_up);
}

static void stop(void)
{
	engine_end_close(&a);
	engine_end_close(&b);
	redis_end(&redis);
}

/* Both ends are up, and messages go both ways. */
static void check_both_ways(void)
{
	engine_pair_await(&a, &b, end_is_up);
	engine_pair_await(&b, &a, end_is_up);
	a.messages = b.messages = 0;
	ck_assert(engine_end_send(&a, "b", "to b"));
	ck_assert(engine_end_send(&b, "a", "to a"));
	engine_pair_await(&b, &a, end_has_message);
	ck_assert_mem_eq(b.bytes, "to b", 4);
	engine_pair_await(&a, &b, end_has_message);
	ck_assert_mem_eq(a.bytes, "to a", 4);
}

/* ---- the server */

/* A server that says nothing, though the connection stands. */
START_TEST(a_server_that_is_stopped_is_a_lost_link)
{
	start();
	kill(redis.pid, SIGSTOP);
	engine_pair_await(&a, &b, end_is_down);
	engine_pair_await(&b, &a, end_is_down);
	ck_assert_ptr_nonnull(strstr(a.trouble, "is lost: no answer"));
	kill(redis.pid, SIGCONT);
	check_both_ways();
	stop();
}
END_TEST

START_TEST(a_server_that_was_killed_and_comes_back_empty_is_found)
{
	start();
	ck_assert_uint_eq(engine_end_take(&a, 1), 1);
	redis_kill(&redis);
	engine_pair_await(&a, &b, end_is_down);
	engine_pair_await(&b, &a, end_is_down);
	/* What is sent meanwhile is lost. */
	ck_assert(engine_end_send(&a, "b", "lost"));
	redis_restart(&redis);
	check_both_ways();
	ck_assert_uint_eq(b.messages, 1);
	ck_assert_uint_eq(engine_end_renew(&a, 1), 0);
	ck_assert_uint_eq(engine_end_take(&a, 1), 1);
	ck_assert_uint_ge(a.ups, 2);
	stop();
}
END_TEST

/* The ids of a server whose clock is behind. */
START_TEST(smaller_ids_after_a_new_connection_are_read)
{
	start();
	redis_ask(&redis, "XADD ctx:test:in:b 9000000000000-5 b late");
	engine_end_await(&b, end_has_message);
	redis_kill(&redis);
	engine_end_await(&b, end_is_down);
	redis_restart(&redis);
	redis_ask(&redis, "XADD ctx:test:in:b 1-1 b early");
	b.messages = 0;
	engine_end_await(&b, end_has_message);
	ck_assert_uint_eq(b.size, 5);
	ck_assert_mem_eq(b.bytes, "early", 5);
	stop();
}
END_TEST

START_TEST(a_connection_that_the_server_closes_is_made_again)
{
	start();
	redis_ask(&redis, "CLIENT KILL TYPE normal");
	engine_pair_await(&a, &b, end_is_down);
	engine_pair_await(&b, &a, end_is_down);
	check_both_ways();
	stop();
}
END_TEST

/* Only the connection for commands: nothing is left half. */
START_TEST(one_connection_lost_is_the_link_lost)
{
	const char *line;
	unsigned id;

	start();
	line = strstr(redis_ask(&redis, "CLIENT LIST"), "cmd=xread");
	ck_assert_ptr_nonnull(line);
	while (strncmp(line, "id=", 3) != 0)
		line--;
	ck_assert_int_eq(sscanf(line, "id=%u", &id), 1);
	redis_ask(&redis, "CLIENT KILL ID %u", id);
	while (a.is_up && b.is_up) {
		engine_end_turn(&a, 1);
		engine_end_turn(&b, 1);
	}
	check_both_ways();
	stop();
}
END_TEST

static bool end_has_two_troubles(struct engine_end *end)
{
	return end->troubles >= 2;
}

START_TEST(no_server_is_told_once_and_waited_for)
{
	char address[128];

	redis_require();
	redis_start(&redis, false, NULL);
	address_unix(address, &redis);
	redis_kill(&redis);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "cannot be reached: Connection refused"));
	for (unsigned i = 0; i < 20; i++)
		engine_end_turn(&a, 20);
	ck_assert_uint_eq(a.troubles, 1);
	redis_restart(&redis);
	engine_end_await(&a, end_is_up);
	ck_assert(!end_has_two_troubles(&a));
	engine_end_close(&a);
	redis_end(&redis);
}
END_TEST

/* ---- several servers */

static void start_with_replica(void)
{
	char line[64];

	redis_require();
	redis_start(&redis, true, NULL);
	snprintf(line, sizeof(line), "replicaof 127.0.0.1 %d\n", redis.port);
	redis_start(&other, true, line);
	redis_await(&other, "connected", "ROLE");
}

START_TEST(a_replica_is_passed_over)
{
	char address[128];
	struct engine_status status;

	start_with_replica();
	snprintf(address, sizeof(address), "redis://127.0.0.1:%d", other.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "its role is \"slave\", not master"));
	a.engine->calls->status(a.engine, &status);
	ck_assert_str_eq(status.role, "slave");
	ck_assert(!status.is_up);
	engine_end_close(&a);

	snprintf(address, sizeof(address), "redis://127.0.0.1:%d,127.0.0.1:%d", other.port, redis.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_is_up);
	a.engine->calls->status(a.engine, &status);
	ck_assert_str_eq(status.role, "master");
	engine_end_close(&a);
	redis_end(&redis);
	redis_end(&other);
}
END_TEST

static bool end_was_down(struct engine_end *end)
{
	end->engine->calls->lease_renew(end->engine, 1);
	return end->downs;
}

/* A master that becomes a replica ends the XREAD that waits, and refuses to write. */
START_TEST(a_master_that_was_changed_is_left)
{
	char address[128];
	struct engine_status status;

	start_with_replica();
	snprintf(address, sizeof(address), "redis://127.0.0.1:%d,127.0.0.1:%d", redis.port, other.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_is_up);
	ck_assert_uint_eq(engine_end_take(&a, 1), 1);
	redis_ask(&other, "REPLICAOF NO ONE");
	redis_ask(&redis, "REPLICAOF 127.0.0.1 %d", other.port);
	engine_end_await(&a, end_was_down);
	ck_assert(strstr(a.all_troubles, "READONLY") || strstr(a.all_troubles, "UNBLOCKED"));
	engine_end_await(&a, end_is_up);
	a.engine->calls->status(a.engine, &status);
	snprintf(address, sizeof(address), "port %d", other.port);
	ck_assert_ptr_nonnull(strstr(status.address, address));
	engine_end_close(&a);
	redis_end(&redis);
	redis_end(&other);
}
END_TEST

/* localhost may have an IPv6 address first, where nobody listens. */
START_TEST(names_are_resolved)
{
	char address[400];

	redis_require();
	redis_start(&redis, true, NULL);
	/* A label of 64 letters is refused without asking anybody. */
	snprintf(address, sizeof(address),
		 "redis://"
		 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.invalid:1,localhost:%d",
		 redis.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_is_up);
	ck_assert_ptr_nonnull(strstr(a.all_troubles, "cannot be resolved"));
	redis_kill(&redis);
	engine_end_await(&a, end_is_down);
	redis_restart(&redis);
	engine_end_await(&a, end_is_up);
	engine_end_close(&a);
	redis_end(&redis);
}
END_TEST

/* ---- Sentinel */

START_TEST(sentinel_says_where_the_master_is)
{
	char address[128], port[32];
	struct engine_status status;
	struct redis sentinel;

	start_with_replica();
	redis_start_sentinel(&sentinel, redis.port, 500);
	snprintf(port, sizeof(port), "%d", other.port);
	redis_await(&sentinel, port, "SENTINEL REPLICAS fleet");
	/* The first Sentinel of the list is none. */
	snprintf(address, sizeof(address), "sentinel://fleet@127.0.0.1:%d,127.0.0.1:%d", other.port,
		 sentinel.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_open(&b, "b", address, 0, NULL, NULL);
	check_both_ways();
	ck_assert_ptr_nonnull(strstr(a.all_troubles, "SENTINEL: ERR"));
	a.engine->calls->status(a.engine, &status);
	ck_assert_uint_eq(status.failover_ns, 500000000);

	redis_kill(&redis);
	engine_pair_await(&a, &b, end_is_down);
	engine_pair_await(&b, &a, end_is_down);
	check_both_ways();
	a.engine->calls->status(a.engine, &status);
	ck_assert_ptr_nonnull(strstr(status.address, port));
	ck_assert_str_eq(status.role, "master");
	engine_end_close(&a);
	engine_end_close(&b);

	snprintf(address, sizeof(address), "sentinel://nobody@127.0.0.1:%d", sentinel.port);
	engine_end_open(&a, "a", address, 0, NULL, NULL);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "it does not know the master \"nobody\""));
	engine_end_close(&a);
	redis_end(&sentinel);
	redis_end(&other);
	redis_end(&redis);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("engine_lost");
	TCase *one = test_case(suite, "one server"), *several = test_case(suite, "several servers");

	tcase_add_test(one, a_server_that_is_stopped_is_a_lost_link);
	tcase_add_test(one, a_server_that_was_killed_and_comes_back_empty_is_found);
	tcase_add_test(one, smaller_ids_after_a_new_connection_are_read);
	tcase_add_test(one, a_connection_that_the_server_closes_is_made_again);
	tcase_add_test(one, one_connection_lost_is_the_link_lost);
	tcase_add_test(one, no_server_is_told_once_and_waited_for);
	tcase_add_test(several, a_replica_is_passed_over);
	tcase_add_test(several, a_master_that_was_changed_is_left);
	tcase_add_test(several, names_are_resolved);
	tcase_add_test(several, sentinel_says_where_the_master_is);
	return suite;
}
