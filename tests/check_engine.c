/* SPDX-License-Identifier: MIT */
/* The engine of the fleet over a real redis-server: what it carries. check_engine_lost.c has lost links. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/engine_end.h"
#include "support/harness.h"
#include "support/redis.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

static struct redis redis;
static struct engine_end a, b;

static const char *address_of(const struct redis *server)
{
	static char address[96];

	snprintf(address, sizeof(address), "unix:%s", server->socket);
	return address;
}

static void start(void)
{
	redis_require();
	redis_start(&redis, false, NULL);
	engine_end_open(&a, "a", address_of(&redis), 0, NULL, NULL);
	engine_end_open(&b, "b", address_of(&redis), 0, NULL, NULL);
	engine_end_await(&a, end_is_up);
	engine_end_await(&b, end_is_up);
}

static void stop(void)
{
	engine_end_close(&a);
	engine_end_close(&b);
	redis_end(&redis);
}

/* ---- messages */

START_TEST(messages_arrive_in_order)
{
	start();
	ck_assert(engine_end_send(&a, "b", "one"));
	engine_pair_await(&b, &a, end_has_message);
	ck_assert_uint_eq(b.size, 3);
	ck_assert_mem_eq(b.bytes, "one", 3);
	ck_assert_uint_eq(a.messages, 0);
	stop();
}
END_TEST

static bool has_10000(struct engine_end *end)
{
	return end->messages == 10000;
}

static void check_number(struct engine_end *end)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", end->messages);
	ck_assert_msg(end->size == strlen(text) && memcmp(end->bytes, text, end->size) == 0,
		      "%.*s instead of %s; a: %s, b: %s", (int)end->size, (char *)end->bytes, text,
		      a.all_troubles, b.all_troubles);
}

/* More than one XREAD takes, and than the output takes at once; not more than an inbox holds. */
START_TEST(ten_thousand_arrive_once_and_in_order)
{
	char text[16];

	start();
	b.on_message = check_number;
	for (unsigned i = 1; i <= 10000; i++) {
		snprintf(text, sizeof(text), "%u", i);
		while (i > b.messages + 8000 || !engine_end_send(&a, "b", text)) {
			engine_end_turn(&a, 1);
			engine_end_turn(&b, 0);
		}
	}
	engine_pair_await(&b, &a, has_10000);
	engine_end_turn(&b, 0);
	ck_assert_uint_eq(b.messages, 10000);
	stop();
}
END_TEST

START_TEST(a_message_of_any_bytes_and_of_64_kib_arrives)
{
	static uint8_t bytes[65536];

	start();
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	ck_assert(a.engine->calls->send(a.engine, "b", bytes, sizeof(bytes)));
	engine_pair_await(&b, &a, end_has_message);
	ck_assert_uint_eq(b.size, sizeof(bytes));
	ck_assert_mem_eq(b.bytes, bytes, sizeof(bytes));
	b.messages = 0;
	ck_assert(a.engine->calls->send(a.engine, "b", bytes, 0));
	engine_pair_await(&b, &a, end_has_message);
	ck_assert_uint_eq(b.size, 0);
	stop();
}
END_TEST

/* A host that was not there finds in its inbox what was sent. */
START_TEST(the_inbox_is_kept_for_a_host_that_comes_later)
{
	start();
	engine_end_close(&b);
	ck_assert(engine_end_send(&a, "b", "early"));
	engine_end_turn(&a, 10);
	redis_await(&redis, ":1", "XLEN ctx:test:in:b");
	engine_end_open(&b, "b", address_of(&redis), 0, NULL, NULL);
	engine_end_await(&b, end_has_message);
	ck_assert_mem_eq(b.bytes, "early", 5);
	stop();
}
END_TEST

static bool inbox_is_empty(struct engine_end *end)
{
	(void)end;
	return strcmp(redis_ask(&redis, "XLEN ctx:test:in:b"), ":0") == 0;
}

START_TEST(what_was_read_is_cut_off)
{
	start();
	for (unsigned i = 0; i < 300; i++)
		ck_assert(engine_end_send(&a, "b", "x"));
	engine_end_turn(&a, 0);
	engine_end_await(&b, inbox_is_empty);
	ck_assert_uint_eq(b.messages, 300);
	stop();
}
END_TEST

/* Entries that are no batches, in the inbox of b. */
START_TEST(strange_entries_are_counted_and_passed_over)
{
	struct engine_status status;

	start();
	redis_ask(&redis, "XADD ctx:test:in:b * x y");
	redis_ask(&redis, "XADD ctx:test:in:b * p 0123456789abcdef");
	redis_ask(&redis, "XADD ctx:test:in:b * x y b good z z");
	engine_end_await(&b, end_has_message);
	ck_assert_uint_eq(b.size, 4);
	b.engine->calls->status(b.engine, &status);
	ck_assert_uint_eq(status.malformed, 1);
	ck_assert(status.is_up);
	ck_assert_uint_eq(b.downs, 0);
	stop();
}
END_TEST

/* hiredis is not given what is larger than any inbox may be: the link is lost, and the inbox cleared. */
START_TEST(an_inbox_that_cannot_be_read_is_cleared)
{
	start();
	engine_end_close(&b);
	redis_ask(&redis, "EVAL \"local a = {} for i = 1, 3000 do a[#a + 1] = 'f' a[#a + 1] = 'v' end "
			  "redis.call('XADD', 'ctx:test:in:b', '*', unpack(a))\" 0");
	ck_assert_str_eq(redis_ask(&redis, "XLEN ctx:test:in:b"), ":1");
	engine_end_open(&b, "b", address_of(&redis), 0, NULL, NULL);
	engine_end_await(&b, end_is_up);
	ck_assert_ptr_nonnull(strstr(b.all_troubles, "too large"));
	ck_assert(engine_end_send(&a, "b", "works"));
	engine_pair_await(&b, &a, end_has_message);
	stop();
}
END_TEST

START_TEST(output_is_bounded_while_the_server_does_not_read)
{
	static const char text[1000] = {[0 ... 998] = 'x'};
	unsigned taken = 0;

	start();
	/* The server is stopped, so that what is sent stays with this host. */
	kill(redis.pid, SIGSTOP);
	while (engine_end_send(&a, "b", text)) {
		taken++;
		engine_end_turn(&a, 0);
		ck_assert_uint_lt(taken, 20000);
	}
	ck_assert_uint_eq(a.writables, 0);
	kill(redis.pid, SIGCONT);
	while (!a.writables && a.is_up)
		engine_end_turn(&a, 100);
	ck_assert(!a.is_up || engine_end_send(&a, "b", text));
	stop();
}
END_TEST

/* ---- leases */

START_TEST(a_lease_is_taken_once)
{
	start();
	ck_assert_uint_eq(engine_end_take(&a, 0x123), 0x123);
	ck_assert_uint_eq(engine_end_take(&a, 0x456), 0x123);
	ck_assert_uint_eq(engine_end_read(&b, "a"), 0x123);
	ck_assert_uint_eq(engine_end_read(&b, "b"), 0);
	stop();
}
END_TEST

START_TEST(a_renewal_answers_with_who_had_it)
{
	start();
	ck_assert_uint_eq(engine_end_renew(&a, 0x123), 0);
	ck_assert_uint_eq(engine_end_read(&b, "a"), 0);
	ck_assert_uint_eq(engine_end_take(&a, 0x123), 0x123);
	ck_assert_uint_eq(engine_end_renew(&a, 0xfedcba9876543210), 0x123);
	ck_assert_uint_eq(engine_end_read(&b, "a"), 0xfedcba9876543210);
	stop();
}
END_TEST

static bool is_lease_gone(struct engine_end *end)
{
	return engine_end_read(end, "c") == 0;
}

START_TEST(a_lease_goes_when_it_is_not_renewed)
{
	struct engine_end c;

	start();
	engine_end_open(&c, "c", address_of(&redis), 200, NULL, NULL);
	engine_end_await(&c, end_is_up);
	ck_assert_uint_eq(engine_end_take(&c, 7), 7);
	engine_end_await(&a, is_lease_gone);
	ck_assert_uint_eq(engine_end_renew(&c, 7), 0);
	engine_end_close(&c);
	stop();
}
END_TEST

static bool has_100_leases(struct engine_end *end)
{
	return end->leases == END_LEASES_MAX;
}

/* More than one MGET asks for. */
START_TEST(many_leases_are_read_at_once)
{
	char names[200][16];
	const char *hosts[200];

	start();
	for (unsigned i = 0; i < 200; i++) {
		snprintf(names[i], sizeof(names[i]), "host-%u", i);
		hosts[i] = names[i];
	}
	redis_ask(&redis, "SET ctx:test:lease:host-3 00000000000000ff");
	redis_ask(&redis, "SET ctx:test:lease:host-4 nonsense");
	a.engine->calls->lease_read(a.engine, hosts, 200);
	engine_end_await(&a, has_100_leases);
	ck_assert_str_eq(a.lease[3].host, "host-3");
	ck_assert_uint_eq(a.lease[3].incarnation, 0xff);
	/* What is no incarnation is not told. */
	ck_assert_str_eq(a.lease[4].host, "host-5");
	ck_assert_uint_eq(a.lease[4].incarnation, 0);
	ck_assert_str_eq(a.trouble, "the lease of host-4 holds something else");
	ck_assert_uint_eq(a.downs, 0);
	stop();
}
END_TEST

START_TEST(hosts_are_those_with_a_lease)
{
	start();
	engine_end_take(&a, 1);
	engine_end_take(&b, 2);
	for (unsigned i = 0; i < 3000; i++)
		redis_ask(&redis, "SET unrelated:%u x", i);
	redis_ask(&redis, "SET ctx:test:lease:UPPER x");
	redis_ask(&redis, "SET ctx:other:lease:c x");
	a.engine->calls->hosts(a.engine);
	a.engine->calls->hosts(a.engine); /* has no effect */
	engine_end_await(&a, end_has_list);
	ck_assert_int_eq(a.list_error, 0);
	ck_assert(!strcmp(a.hosts, "a b ") || !strcmp(a.hosts, "b a "));
	stop();
}
END_TEST

/* ---- times to live */

static bool inbox_is_kept(struct engine_end *end)
{
	(void)end;
	return atoi(redis_ask(&redis, "PTTL ctx:test:in:a") + 1) > 9000;
}

START_TEST(the_own_inbox_lives_ten_leases)
{
	struct engine_end c;

	start();
	engine_end_close(&a);
	redis_ask(&redis, "XADD ctx:test:in:a * b x");
	ck_assert_str_eq(redis_ask(&redis, "PTTL ctx:test:in:a"), ":-1");
	engine_end_open(&a, "a", address_of(&redis), 1000, NULL, NULL);
	engine_end_await(&a, inbox_is_kept);
	ck_assert_int_le(atoi(redis_ask(&redis, "PTTL ctx:test:in:a") + 1), 10000);
	/* A beat gives it the whole time anew. */
	redis_ask(&redis, "PEXPIRE ctx:test:in:a 5000");
	engine_end_await(&a, inbox_is_kept);
	/* The inbox of a host that is gone gets it from the sender. */
	engine_end_open(&c, "c", address_of(&redis), 1000, NULL, NULL);
	engine_end_await(&c, end_is_up);
	ck_assert(engine_end_send(&c, "gone", "x"));
	engine_end_turn(&c, 0);
	engine_end_turn(&c, 0);
	redis_await(&redis, ":1", "EXISTS ctx:test:in:gone");
	ck_assert_int_gt(atoi(redis_ask(&redis, "PTTL ctx:test:in:gone") + 1), 5000);
	engine_end_close(&c);
	stop();
}
END_TEST

/* ---- examining */

START_TEST(an_examination_says_what_the_server_is_like)
{
	start();
	ck_assert_uint_eq(a.examined, 0);
	a.engine->calls->examine(a.engine);
	a.engine->calls->examine(a.engine); /* has no effect */
	engine_end_await(&a, end_is_examined);
	ck_assert_uint_eq(a.examined, 1);
	ck_assert_uint_eq(a.messages, 0);
	ck_assert_str_eq(a.status.address, redis.socket);
	ck_assert_str_eq(a.status.role, "master");
	ck_assert_str_ne(a.status.version, "");
	ck_assert_str_ne(a.status.software, "");
	ck_assert(a.status.is_up);
	ck_assert_uint_eq(a.status.connected, 1);
	ck_assert_uint_gt(a.status.round_trip_ns, 0);
	ck_assert_uint_gt(a.status.message_ns, 0);
	ck_assert(a.status.is_clock_known);
	ck_assert_int_lt(llabs(a.status.clock_ahead_ns), 30 * 1000000000ll);
	ck_assert_str_eq(a.status.denied, "");
	ck_assert_str_eq(a.status.trouble, "");
	stop();
}
END_TEST

START_TEST(an_examination_without_a_link_ends_at_once)
{
	start();
	redis_kill(&redis);
	engine_end_await(&a, end_is_down);
	a.engine->calls->examine(a.engine);
	a.engine->calls->hosts(a.engine);
	engine_end_await(&a, end_is_examined);
	ck_assert(!a.status.is_up);
	ck_assert_str_ne(a.status.trouble, "");
	ck_assert(a.is_list_over);
	ck_assert_int_eq(a.list_error, -EHOSTUNREACH);
	stop();
}
END_TEST

/* ---- rights */

#define ACL                                                                                    \
	"user default off\n"                                                                   \
	"user a on >secret resetkeys %W~ctx:test:in:* %RW~ctx:test:in:a %RW~ctx:test:lease:a " \
	"%R~ctx:test:lease:* -@all +xadd +xread +xtrim +set +mget +ping +role +pexpire "

static void write_password(const struct redis *server, const char *text, mode_t mode, char path[64])
{
	FILE *file;

	snprintf(path, 64, "%s/password", server->directory);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_ok(fclose(file));
	ck_assert_ok(chmod(path, mode));
}

/* All that the engine does, as the user whom engine_redis.h describes. */
START_TEST(the_rights_of_a_host_suffice)
{
	char path[64];

	redis_require();
	redis_start(&redis, false, ACL "+scan\n");
	write_password(&redis, "secret\n", 0600, path);
	engine_end_open(&a, "a", address_of(&redis), 300, "a", path);
	engine_end_await(&a, end_is_up);
	ck_assert_uint_eq(engine_end_take(&a, 5), 5);
	ck_assert_uint_eq(engine_end_renew(&a, 5), 5);
	ck_assert_uint_eq(engine_end_read(&a, "b"), 0);
	ck_assert(engine_end_send(&a, "b", "x"));
	ck_assert(engine_end_send(&a, "a", "x"));
	engine_end_await(&a, end_has_message);
	a.engine->calls->hosts(a.engine);
	engine_end_await(&a, end_has_list);
	ck_assert_int_eq(a.list_error, 0);
	ck_assert_str_eq(a.hosts, "a ");
	a.engine->calls->examine(a.engine);
	engine_end_await(&a, end_is_examined);
	ck_assert_uint_gt(a.status.message_ns, 0);
	ck_assert_str_ne(a.status.version, "");
	ck_assert_str_eq(a.status.denied, "");
	ck_assert_str_eq(a.status.trouble, "");
	ck_assert_str_eq(a.status.warning, "");
	engine_end_close(&a);
	unlink(path);
	redis_end(&redis);
}
END_TEST

START_TEST(missing_rights_are_named)
{
	char path[64];

	redis_require();
	redis_start(&redis, false, ACL "-xadd -pexpire\n");
	write_password(&redis, "secret", 0644, path);
	engine_end_open(&a, "a", address_of(&redis), 300, "a", path);
	engine_end_await(&a, end_is_up);
	ck_assert(engine_end_send(&a, "b", "x"));
	a.engine->calls->hosts(a.engine);
	engine_end_await(&a, end_has_list);
	ck_assert_int_eq(a.list_error, -EACCES);
	a.engine->calls->examine(a.engine);
	engine_end_await(&a, end_is_examined);
	ck_assert_uint_eq(a.status.refused, 1);
	ck_assert_uint_eq(a.status.message_ns, 0);
	ck_assert_ptr_nonnull(strstr(a.status.denied, "XADD"));
	ck_assert_ptr_nonnull(strstr(a.status.denied, "SCAN"));
	ck_assert_ptr_nonnull(strstr(a.status.denied, "PEXPIRE"));
	ck_assert_ptr_null(strstr(a.status.denied, "MGET"));
	ck_assert_ptr_nonnull(strstr(a.all_troubles, "XADD: NOPERM"));
	ck_assert_ptr_nonnull(strstr(a.status.warning, path));
	ck_assert_uint_eq(a.downs, 0);
	engine_end_close(&a);
	unlink(path);
	redis_end(&redis);
}
END_TEST

/* A server that cannot be read from is no link. */
START_TEST(what_the_server_refuses_keeps_the_link_down)
{
	char path[64];

	redis_require();
	redis_start(&redis, false, ACL "-xread\n");
	write_password(&redis, "secret\n", 0600, path);
	engine_end_open(&a, "a", address_of(&redis), 0, "a", path);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "XREAD: NOPERM"));
	engine_end_close(&a);

	write_password(&redis, "wrong\n", 0600, path);
	engine_end_open(&a, "a", address_of(&redis), 0, "a", path);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "AUTH: WRONGPASS"));
	engine_end_close(&a);

	engine_end_open(&a, "a", address_of(&redis), 0, NULL, NULL);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "NOAUTH"));
	engine_end_close(&a);

	unlink(path);
	engine_end_open(&a, "a", address_of(&redis), 0, "a", path);
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "cannot be read: No such file"));
	/* It is read at each new connection. */
	redis_ask(&redis, "PING");
	write_password(&redis, "secret\n", 0600, path);
	ck_assert_uint_eq(a.ups, 0);
	engine_end_close(&a);
	unlink(path);
	redis_end(&redis);
}
END_TEST

START_TEST(a_full_server_refuses_messages_and_keeps_the_link)
{
	struct engine_status status;

	start();
	redis_ask(&redis, "CONFIG SET maxmemory 1");
	a.troubles = 0;
	ck_assert(engine_end_send(&a, "b", "x"));
	engine_end_await(&a, end_has_trouble);
	ck_assert_ptr_nonnull(strstr(a.trouble, "XADD: OOM"));
	a.engine->calls->status(a.engine, &status);
	ck_assert_uint_eq(status.refused, 1);
	redis_ask(&redis, "CONFIG SET maxmemory 0");
	ck_assert(engine_end_send(&a, "b", "y"));
	engine_pair_await(&b, &a, end_has_message);
	ck_assert_mem_eq(b.bytes, "y", 1);
	ck_assert_uint_eq(a.downs, 0);
	stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("engine");
	TCase *messages = test_case(suite, "messages"), *leases = test_case(suite, "leases"),
	      *rights = test_case(suite, "rights");

	tcase_add_test(messages, messages_arrive_in_order);
	tcase_add_test(messages, ten_thousand_arrive_once_and_in_order);
	tcase_add_test(messages, a_message_of_any_bytes_and_of_64_kib_arrives);
	tcase_add_test(messages, the_inbox_is_kept_for_a_host_that_comes_later);
	tcase_add_test(messages, what_was_read_is_cut_off);
	tcase_add_test(messages, strange_entries_are_counted_and_passed_over);
	tcase_add_test(messages, an_inbox_that_cannot_be_read_is_cleared);
	tcase_add_test(messages, output_is_bounded_while_the_server_does_not_read);
	tcase_add_test(leases, a_lease_is_taken_once);
	tcase_add_test(leases, a_renewal_answers_with_who_had_it);
	tcase_add_test(leases, a_lease_goes_when_it_is_not_renewed);
	tcase_add_test(leases, many_leases_are_read_at_once);
	tcase_add_test(leases, hosts_are_those_with_a_lease);
	tcase_add_test(leases, the_own_inbox_lives_ten_leases);
	tcase_add_test(leases, an_examination_says_what_the_server_is_like);
	tcase_add_test(leases, an_examination_without_a_link_ends_at_once);
	tcase_add_test(rights, the_rights_of_a_host_suffice);
	tcase_add_test(rights, missing_rights_are_named);
	tcase_add_test(rights, what_the_server_refuses_keeps_the_link_down);
	tcase_add_test(rights, a_full_server_refuses_messages_and_keeps_the_link);
	return suite;
}
