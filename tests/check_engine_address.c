/* SPDX-License-Identifier: MIT */
/* What stands in fleet_engine; names that a thread resolves; files of passwords. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "engine_redis.h"
#include "password.h"
#include "resolver.h"
#include "support/harness.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

START_TEST(addresses_are_read)
{
	struct address_list list;
	char reason[160];

	ck_assert_ok(address_parse("redis://one", &list, reason, sizeof(reason)));
	ck_assert_uint_eq(list.count, 1);
	ck_assert_str_eq(list.addresses[0].host, "one");
	ck_assert_uint_eq(list.addresses[0].port, 6379);
	ck_assert(!list.is_tls && !list.is_sentinel);

	ck_assert_ok(address_parse("redis://10.0.0.1:1,[::1]:65535,[fe80::1%eth0],b.example-1.com", &list,
				   reason, sizeof(reason)));
	ck_assert_uint_eq(list.count, 4);
	ck_assert_str_eq(list.addresses[0].host, "10.0.0.1");
	ck_assert_uint_eq(list.addresses[0].port, 1);
	ck_assert_str_eq(list.addresses[1].host, "::1");
	ck_assert_uint_eq(list.addresses[1].port, 65535);
	ck_assert_str_eq(list.addresses[2].host, "fe80::1%eth0");
	ck_assert_uint_eq(list.addresses[2].port, 6379);
	ck_assert_str_eq(list.addresses[3].host, "b.example-1.com");

	ck_assert_ok(address_parse("sentinel://my-master@a,b:1", &list, reason, sizeof(reason)));
	ck_assert(list.is_sentinel);
	ck_assert_str_eq(list.master, "my-master");
	ck_assert_uint_eq(list.count, 2);
	ck_assert_uint_eq(list.addresses[0].port, 26379);
	ck_assert_uint_eq(list.addresses[1].port, 1);

	ck_assert_ok(address_parse("unix:/run/redis/s", &list, reason, sizeof(reason)));
	ck_assert_str_eq(list.path, "/run/redis/s");
	ck_assert_uint_eq(list.count, 0);

	ck_assert_ok(address_parse("rediss://a", &list, reason, sizeof(reason)));
	ck_assert(list.is_tls);
}
END_TEST

START_TEST(what_is_no_address_is_refused_with_a_reason)
{
	static const char *const texts[] = {
		"",
		"redis",
		"redis://",
		"redis:///",
		"http://a",
		"redis://a,",
		"redis://,a",
		"redis://a:",
		"redis://a:0",
		"redis://a:65536",
		"redis://a:99999999999",
		"redis://a:6379x",
		"redis://a:+1",
		"redis://a b",
		"redis://::1",
		"redis://[::1",
		"redis://[]",
		"redis://[::1]x",
		"redis://[::1]:",
		"redis://a/0",
		"redis://user@a",
		"redis://a,user:secret@a",
		"redis://a\n",
		"sentinel://",
		"sentinel://a",
		"sentinel://@a",
		"sentinel://m@",
		"sentinel://m n@a",
		"unix:",
		"unix:relative",
		"REDIS://a",
		"redis://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
	};
	struct address_list list;
	char reason[160], text[600];

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		*reason = '\0';
		ck_assert_msg(address_parse(texts[i], &list, reason, sizeof(reason)) == -EINVAL, "%s",
			      texts[i]);
		ck_assert_str_ne(reason, "");
		/* It gets into logs. */
		ck_assert_ptr_null(strstr(reason, "secret"));
		ck_assert_int_eq(engine_redis_check(texts[i], reason, sizeof(reason)), -EINVAL);
	}
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "redis://", 8);
	ck_assert_int_eq(address_parse(text, &list, reason, sizeof(reason)), -EINVAL);
	memcpy(text, "unix:/aa", 8);
	ck_assert_int_eq(address_parse(text, &list, reason, sizeof(reason)), -EINVAL);
	memcpy(text, "sentinel://", 11);
	ck_assert_int_eq(address_parse(text, &list, reason, sizeof(reason)), -EINVAL);
	/* Each part of a text that is one. */
	strcpy(text, "sentinel://my-master@[::1]:26379,b.example:1");
	for (size_t length = strlen(text); length > 0; length--) {
		text[length] = '\0';
		address_parse(text, &list, reason, sizeof(reason));
	}
}
END_TEST

START_TEST(tls_is_offered_or_refused_clearly)
{
	char reason[256];
	int error = engine_redis_check("rediss://a", reason, sizeof(reason));

	if (error == 0)
		return;
	ck_assert_int_eq(error, -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(reason, "unix:"));
}
END_TEST

START_TEST(names_that_cannot_stand_in_keys_are_refused)
{
	static const char *const names[] = {"", "a*", "a b", "a:b", "[a]", "\xc3\xa4"};
	struct engine_redis_config config = {.address = "unix:/nowhere", .lease_ns = 6000000000};
	struct engine_events events = {0};
	struct engine *engine;
	char reason[128];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		config.fleet = names[i];
		config.host = "a";
		ck_assert_int_eq(engine_redis_open(&config, &events, &engine, reason, sizeof(reason)),
				 -EINVAL);
		ck_assert_str_ne(reason, "");
		config.fleet = "f";
		config.host = names[i];
		ck_assert_int_eq(engine_redis_open(&config, &events, &engine, reason, sizeof(reason)),
				 -EINVAL);
	}
	config.host = "a";
	ck_assert_ok(engine_redis_open(&config, &events, &engine, reason, sizeof(reason)));
	engine->calls->close(engine);
}
END_TEST

/* ---- names */

static void resolve(const char *name, struct resolved *ret_resolved, const char **ret_reason)
{
	struct resolver_question *question;
	struct pollfd poll_entry = {.events = POLLIN};

	ck_assert_ok(resolver_ask(name, &question));
	poll_entry.fd = resolver_fd(question);
	ck_assert_int_eq(poll(&poll_entry, 1, 30000), 1);
	ck_assert(resolver_read(question, ret_resolved, ret_reason));
	ck_assert(!resolver_read(question, ret_resolved, ret_reason));
	resolver_free(question);
}

START_TEST(a_thread_resolves_names)
{
	char name[100];
	struct resolved resolved;
	const char *reason;

	ck_assert(resolver_is_numeric("127.0.0.1"));
	ck_assert(resolver_is_numeric("::1"));
	ck_assert(!resolver_is_numeric("localhost"));
	resolve("localhost", &resolved, &reason);
	ck_assert_uint_ge(resolved.count, 1);
	for (unsigned i = 0; i < resolved.count; i++)
		ck_assert(resolver_is_numeric(resolved.texts[i]));
	/* A label that is too long is refused without asking anybody. */
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	resolve(name, &resolved, &reason);
	ck_assert_uint_eq(resolved.count, 0);
	ck_assert_ptr_nonnull(reason);
}
END_TEST

/* The thread frees what nobody waits for any more; the harness counts descriptors. */
START_TEST(a_question_may_be_left)
{
	struct resolver_question *question;

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_ok(resolver_ask("localhost", &question));
		resolver_free(question);
	}
	resolver_free(NULL);
}
END_TEST

/* ---- passwords */

static char path[64];

static void write_password(const char *text, size_t size, mode_t mode)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text, 1, size, file), size);
	ck_assert_ok(fclose(file));
	ck_assert_ok(chmod(path, mode));
}

static void check_password(const char *text, const char *expected)
{
	char password[PASSWORD_MAX + 1];
	bool is_open;

	write_password(text, strlen(text), 0640);
	ck_assert_ok(password_read(path, password, &is_open));
	ck_assert_str_eq(password, expected);
	ck_assert(!is_open);
	write_password(text, strlen(text), 0644);
	ck_assert_ok(password_read(path, password, &is_open));
	ck_assert(is_open);
}

START_TEST(a_password_is_the_first_line)
{
	char text[PASSWORD_MAX + 8], password[PASSWORD_MAX + 1];
	bool is_open;

	snprintf(path, sizeof(path), "/tmp/ctxring-password-%d", getpid());
	check_password("secret", "secret");
	check_password("secret\n", "secret");
	check_password("secret\r\n", "secret");
	check_password("with blanks \nmore\n", "with blanks ");
	check_password("", "");
	check_password("\n", "");
	memset(text, 'x', sizeof(text));
	text[PASSWORD_MAX] = '\0';
	check_password(text, text);
	text[PASSWORD_MAX] = 'x';
	write_password(text, sizeof(text), 0600);
	ck_assert_int_eq(password_read(path, password, &is_open), -EFBIG);
	ck_assert_ok(unlink(path));
	ck_assert_int_eq(password_read(path, password, &is_open), -ENOENT);
	ck_assert_int_eq(password_read("/", password, &is_open), -EISDIR);
	/* One without a writer. */
	ck_assert_ok(mkfifo(path, 0600));
	ck_assert_ok(password_read(path, password, &is_open));
	ck_assert_str_eq(password, "");
	ck_assert_ok(unlink(path));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("engine_address");
	TCase *addresses = test_case(suite, "addresses"), *names = test_case(suite, "names"),
	      *passwords = test_case(suite, "passwords");

	tcase_add_test(addresses, addresses_are_read);
	tcase_add_test(addresses, what_is_no_address_is_refused_with_a_reason);
	tcase_add_test(addresses, tls_is_offered_or_refused_clearly);
	tcase_add_test(addresses, names_that_cannot_stand_in_keys_are_refused);
	tcase_add_test(names, a_thread_resolves_names);
	tcase_add_test(names, a_question_may_be_left);
	tcase_add_test(passwords, a_password_is_the_first_line);
	return suite;
}
