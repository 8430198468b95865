/* SPDX-License-Identifier: MIT */
/* ctxd.conf: what is read, and which line is complained about. */
#include "config.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "support/harness.h"

static char reason[200];

static int parse(const char *text, struct config *config)
{
	reason[0] = '\0';
	return config_parse(text, strlen(text), config, reason, sizeof(reason));
}

START_TEST(nothing_gives_the_defaults)
{
	struct config config;

	ck_assert_ok(parse("", &config));
	ck_assert_int_eq(memcmp(&config, &config_default, sizeof(config)), 0);
	ck_assert_ok(parse("\n# all of it a comment\n   \t\n", &config));
	ck_assert_int_eq(memcmp(&config, &config_default, sizeof(config)), 0);
}
END_TEST

START_TEST(each_setting_is_read)
{
	struct config config;

	ck_assert_ok(
		parse("connections = 1\ncontexts=2\n joins\t= 3\nwatches = 4\nfds = 5\r\n"
		      "queued_bytes = 6K\ncancels = 9\ndepth = 7\ncancel = root\nslow = 250ms\nreply = 3s\n"
		      "drain = 500ms\nretain = 2h\nretain_tables = 8\nretain_bytes = 1G\nlog_level = debug",
		      &config));
	ck_assert_uint_eq(config.connections_max, 1);
	ck_assert_uint_eq(config.contexts_max, 2);
	ck_assert_uint_eq(config.joins_max, 3);
	ck_assert_uint_eq(config.watches_max, 4);
	ck_assert_uint_eq(config.fds_max, 5);
	ck_assert_uint_eq(config.queued_bytes_max, 6 * 1024);
	ck_assert_uint_eq(config.cancels_max, 9);
	ck_assert_uint_eq(config.depth_max, 7);
	ck_assert_int_eq(config.cancel, CONFIG_CANCEL_ROOT);
	ck_assert_uint_eq(config.slow_ns, 250000000);
	ck_assert_uint_eq(config.reply_ns, 3000000000);
	ck_assert_uint_eq(config.drain_ns, 500000000);
	ck_assert_uint_eq(config.retain_ns, 7200000000000);
	ck_assert_uint_eq(config.retain_tables, 8);
	ck_assert_uint_eq(config.retain_bytes, 1u << 30);
	ck_assert_uint_eq(config.log_level, LOG_LEVEL_DEBUG);
}
END_TEST

static const struct {
	const char *text, *reason;
} bad[] = {
	{"connections", "line 1: expected \"name = value\""},
	{"\n\nnothing = 1", "line 3: there is no setting \"nothing\""},
	{"depth = 0", "line 1: expected a number"},
	{"depth = -1", "line 1: expected a number"},
	{"depth = 1x", "line 1: expected a number"},
	{"depth = 99999999999999999999", "line 1: expected a number"},
	{"depth =", "line 1: expected a number"},
	{"slow = 1", "line 1: expected a duration"},
	{"slow = 1d", "line 1: expected a duration"},
	{"slow = 99999999h", "line 1: expected a duration"},
	{"queued_bytes = 1T", "line 1: expected a size"},
	{"cancel = all", "line 1: expected owner or root"},
	{"fleet_cancel = root,web", "line 1: expected nobody, or names of users with spaces"},
	{"log_level = loud", "line 1: expected error, warning"},
	{"# a\ndepth = 1\ncancel = \x1b[31m", "line 3: expected owner or root, not \"\\x1b[31m\""},
};

START_TEST(what_is_wrong_is_named_with_its_line)
{
	struct config config = {.depth_max = 77};

	ck_assert_int_eq(parse(bad[_i].text, &config), -EINVAL);
	ck_assert_msg(strncmp(reason, bad[_i].reason, strlen(bad[_i].reason)) == 0, "%s", reason);
	ck_assert_uint_eq(config.depth_max, 77);
}
END_TEST

START_TEST(long_lines_and_nul_bytes_are_refused)
{
	struct config config;
	char text[300];

	memset(text, '#', sizeof(text));
	ck_assert_int_eq(config_parse(text, sizeof(text), &config, reason, sizeof(reason)), -EINVAL);
	ck_assert_int_eq(config_parse("depth = 1\0", 10, &config, reason, sizeof(reason)), -EINVAL);
}
END_TEST

START_TEST(files_are_read_and_refused)
{
	char path[] = "/tmp/ctxring-config.XXXXXX";
	int fd = mkstemp(path);
	struct config config;
	char block[4096];

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((int)write(fd, "depth = 5\n", 10), 10);
	ck_assert_ok(config_load(path, &config, reason, sizeof(reason)));
	ck_assert_uint_eq(config.depth_max, 5);
	memset(block, '\n', sizeof(block));
	for (int i = 0; i < 17; i++)
		ck_assert_int_eq((int)write(fd, block, sizeof(block)), (int)sizeof(block));
	ck_assert_int_eq(config_load(path, &config, reason, sizeof(reason)), -EFBIG);
	close(fd);
	unlink(path);
	ck_assert_int_eq(config_load(path, &config, reason, sizeof(reason)), -ENOENT);
}
END_TEST

enum no_file {
	A_FIFO,
	A_FIFO_WITH_A_WRITER,
	A_DEVICE,
	A_SOCKET,
	A_DIRECTORY,
	A_LINK_TO_A_FIFO,
	NO_FILES,
};

/*
 * Goal: what is no file is not taken for an empty one, and not waited for. Method: such a path of each kind;
 * a FIFO also while somebody holds it open for writing, when reading would wait.
 */
START_TEST(what_is_no_regular_file_is_refused)
{
	char directory[] = "/tmp/ctxring-config.XXXXXX", path[64], link[64];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct config config = {.depth_max = 77};
	int fd = -1;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/path", directory);
	snprintf(link, sizeof(link), "%s/link", directory);
	switch ((enum no_file)_i) {
	case A_FIFO:
	case A_FIFO_WITH_A_WRITER:
	case A_LINK_TO_A_FIFO:
		ck_assert_ok(mkfifo(path, 0600));
		if (_i == A_FIFO_WITH_A_WRITER)
			fd = open(path, O_RDWR | O_CLOEXEC);
		break;
	case A_SOCKET:
		strcpy(address.sun_path, path);
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		ck_assert_ok(bind(fd, (struct sockaddr *)&address, sizeof(address)));
		break;
	case A_DEVICE:
		ck_assert_ok(symlink("/dev/null", path));
		break;
	case A_DIRECTORY:
	case NO_FILES:
		ck_assert_ok(symlink(directory, path));
		break;
	}
	ck_assert_ok(symlink(path, link));
	const char *given = _i == A_LINK_TO_A_FIFO ? link : path;
	ck_assert_int_eq(config_load(given, &config, reason, sizeof(reason)),
			 _i == A_SOCKET ? -ENXIO : -EINVAL);
	if (_i != A_SOCKET)
		ck_assert_str_eq(reason, "it is not a regular file");
	ck_assert_uint_eq(config.depth_max, 77);
	if (fd >= 0)
		close(fd);
	unlink(link);
	unlink(path);
	ck_assert_ok(rmdir(directory));
}
END_TEST

START_TEST(the_name_of_a_host_is_that_of_the_kernel_if_a_fleet_can_have_it)
{
	struct config config;

	if (unshare(CLONE_NEWUTS) || sethostname("Build-7.Example", 15))
		test_skip("needs root, to have a name of its own");
	ck_assert_ok(parse("", &config));
	ck_assert_ok(config_complete_fleet(&config.fleet, reason, sizeof(reason)));
	ck_assert_str_eq(config.fleet.host, "");
	ck_assert_ok(parse("fleet_engine = redis://engine", &config));
	ck_assert_ok(config_complete_fleet(&config.fleet, reason, sizeof(reason)));
	ck_assert_str_eq(config.fleet.host, "build-7.example");
	ck_assert_uint_eq(config.fleet.bridge_uid, UINT32_MAX);
	ck_assert_ok(sethostname("build_7", 7));
	ck_assert_ok(parse("fleet_engine = redis://engine", &config));
	ck_assert_int_eq(config_complete_fleet(&config.fleet, reason, sizeof(reason)), -EINVAL);
	ck_assert_str_eq(config.fleet.engine, "");
	ck_assert_ptr_nonnull(strstr(reason, "fleet_host"));
	ck_assert_ok(
		parse("fleet_engine = redis://engine\nfleet_host = here\nfleet_bridge_user = root", &config));
	ck_assert_ok(config_complete_fleet(&config.fleet, reason, sizeof(reason)));
	ck_assert_str_eq(config.fleet.host, "here");
	ck_assert_uint_eq(config.fleet.bridge_uid, 0);
	ck_assert_ok(
		parse("fleet_engine = redis://engine\nfleet_host = here\nfleet_bridge_user = -", &config));
	ck_assert_int_eq(config_complete_fleet(&config.fleet, reason, sizeof(reason)), -EINVAL);
	ck_assert_str_eq(config.fleet.engine, "redis://engine");
	ck_assert_uint_eq(config.fleet.bridge_uid, UINT32_MAX);
}
END_TEST

START_TEST(hostile_text_is_quoted)
{
	char buffer[40];

	ck_assert_str_eq(log_quote("a\"b\\c\n\x80", buffer, sizeof(buffer)), "\"a\\x22b\\x5cc\\x0a\\x80\"");
	ck_assert_str_eq(log_quote("12345678901234567890", buffer, 10), "\"123\"");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("config");
	TCase *config = test_case(suite, "config");

	tcase_add_test(config, nothing_gives_the_defaults);
	tcase_add_test(config, each_setting_is_read);
	tcase_add_loop_test(config, what_is_wrong_is_named_with_its_line, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(config, long_lines_and_nul_bytes_are_refused);
	tcase_add_test(config, files_are_read_and_refused);
	tcase_add_loop_test(config, what_is_no_regular_file_is_refused, 0, NO_FILES);
	tcase_add_test(config, the_name_of_a_host_is_that_of_the_kernel_if_a_fleet_can_have_it);
	tcase_add_test(config, hostile_text_is_quoted);
	return suite;
}
