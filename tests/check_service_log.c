/* SPDX-License-Identifier: MIT */
/* What the service writes of its users: each request to cancel, when it is made; and no more than so much. */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
/* As log_limit.c has it; and more than that. */
#define WINDOW_NS (10 * NS_PER_SECOND)
#define LINES_MAX 100u
#define MANY 150u

enum {
	USER = 65061,
};

/* How many lines of the log have both texts. */
static unsigned count_lines(const struct service *service, const char *one, const char *other)
{
	char line[2048];
	FILE *file = fopen(service->log, "re");
	unsigned count = 0;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, one) && strstr(line, other);
	fclose(file);
	return count;
}

struct held {
	pid_t pid;
	unsigned count;
};

static unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void become_user(void)
{
	if (getuid() == 0) {
		ck_assert_ok(setgroups(0, NULL));
		ck_assert_ok(setresgid(USER, USER, USER));
		ck_assert_ok(setresuid(USER, USER, USER));
	}
}

/* Each of these tells of each of its turns, so that the test waits for the next one and not for all. */
static int break_the_protocol(int channel, void *data)
{
	struct wire_message wrong = {.type = WIRE_MOVE, .move = {.id = {1, 1}}};

	become_user();
	for (unsigned i = 0; i < MANY; i++) {
		int fd = raw_dial(data);
		raw_send_message(fd, &wrong, NULL, 0);
		raw_thrown_out(fd, -EPROTO);
		tell(channel, 'd');
	}
	return 0;
}

static int ask_in_vain(int channel, void *data)
{
	struct ctxd_target target = {.id = {1, 77}};

	become_user();
	struct ctxd_client *client = client_of(data);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(ctxd_cancel(client, &target, 0, -EPIPE, "in vain", 0, NULL), -ESTALE);
		tell(channel, 'd');
	}
	ctxd_close(client);
	return 0;
}

static int end_own(int channel, void *data)
{
	become_user();
	struct ctxd_client *client = client_of(data);
	for (unsigned i = 0; i < MANY; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		struct ctxd_target target = {0};
		ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &target.id));
		ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "mine", SOON, NULL));
		ctx_finish(ctx);
		tell(channel, 'd');
	}
	ctxd_close(client);
	return 0;
}

#define TABLE_SIZE (256 << 10)

static int new_table(void)
{
	static char filled[TABLE_SIZE] = {1};
	int fd = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((int)write(fd, filled, sizeof(filled)), (int)sizeof(filled));
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	return fd;
}

/* Processes that die and leave tables that are too large to be kept. */
static int die_with_large_tables(int channel, void *data)
{
	struct wire_message publish = raw_hello, message;

	become_user();
	publish.hello.flags = WIRE_PUBLISH;
	for (unsigned i = 0; i < MANY; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			int table = new_table(), fd = raw_dial(data);
			raw_send_message(fd, &publish, &table, 1);
			ck_assert(raw_receive(fd, &message));
			_exit(message.type != WIRE_WELCOME);
		}
		int status;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		tell(channel, 'd');
	}
	return 0;
}

static const struct flood {
	int (*run)(int channel, void *data);
	const char *configuration, *event;
} floods[] = {
	{break_the_protocol, NULL, "event=disconnect "},
	{ask_in_vain, "log_level = error\n", "event=request-refused "},
	{end_own, "log_level = error\n", "event=request "},
	{end_own, "log_level = error\n", "event=cancel "},
	{die_with_large_tables, "retain_bytes = 64K\n", "event=recorder "},
};

/* What it does for those that are gone is done: it holds as much as before, and what a closer needs. */
static bool has_settled(void *data)
{
	const struct held *held = data;

	return count_fds(held->pid) <= held->count + 8;
}

/*
 * Goal: one user does not fill the log, at no level and by no kind of line; what is not written is counted,
 * and root's own requests are written all the same. Method: half as many lines again as may be in the time of
 * one window, or of as many as this takes; the service tells what was left out when it ends, too.
 */
START_TEST(one_user_fills_no_log)
{
	const struct flood *flood = &floods[_i];
	struct service service = {.loop = SERVICE_LOOP(_i & 1)};

	if (getuid() != 0)
		test_skip("needs root, to be another user");
	service_start(&service, flood->configuration);
	struct ctxd_client *root = client_of(&service);
	struct held held = {service.pid, count_fds(service.pid)};
	uint64_t begin_ns = clock_now_ns();
	struct other user = other_start(flood->run, &service);
	for (unsigned i = 0; i < MANY; i++)
		expect(user.channel, 'd');
	ck_assert_int_eq(other_end(&user), 0);
	ck_assert(test_until(has_settled, &held));
	unsigned windows = 1 + (unsigned)((clock_now_ns() - begin_ns) / WINDOW_NS);
	struct ctxd_target target = {.id = {1, 78}};
	ck_assert_int_eq(ctxd_cancel(root, &target, 0, 0, NULL, 0, NULL), -ESTALE);
	ctxd_close(root);
	kill(service.pid, SIGTERM);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (windows == 1 && !service_logged(&service, "event=left-out") && clock_now_ns() < end_ns)
		poll(NULL, 0, 5);
	ck_assert_uint_ge(count_lines(&service, flood->event, "uid=65061 "), LINES_MAX);
	ck_assert_uint_le(count_lines(&service, flood->event, "uid=65061 "), windows * LINES_MAX);
	if (windows == 1)
		ck_assert_uint_ge(count_lines(&service, "event=left-out uid=65061", ""), 1);
	ck_assert_uint_eq(count_lines(&service, "event=request-refused uid=0 ", "-4e "), 1);
	service_end(&service);
}
END_TEST

static int obey_never(int channel, void *data)
{
	struct wire_message share = {.type = WIRE_SHARE, .serial = 2, .share = {.deadline_ns = CTX_FOREVER}},
			    got;
	int pipe_fds[2], fd = raw_greeted(data);

	ck_assert_ok(pipe(pipe_fds));
	raw_send_message(fd, &share, pipe_fds, 1);
	ck_assert(raw_receive(fd, &got));
	ck_assert_int_eq(got.type, WIRE_RESULT);
	ck_assert_int_eq((int)write(channel, &got.result.id, sizeof(got.result.id)),
			 (int)sizeof(got.result.id));
	do
		ck_assert(raw_receive(fd, &got));
	while (got.type != WIRE_ORDER);
	tell(channel, 'o');
	expect(channel, 'e');
	return 0;
}

static int ask(int channel, void *data)
{
	const struct ctxd_target *target = data;

	struct ctxd_client *client = NULL;
	ck_assert_ok(ctxd_connect(NULL, &client));
	ctxd_cancel(client, target, 0, -EPIPE, "who did it", SOON, NULL);
	expect(channel, 'e');
	return 0;
}

/* A service that is killed as soon as the first process was told has written who asked for it. */
START_TEST(a_killed_service_has_recorded_what_it_ordered)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "log_level = error\n");
	struct ctxd_target target = {0};
	struct other owner = other_start(obey_never, &service);

	ck_assert_int_eq((int)read(owner.channel, &target.id, sizeof(target.id)), (int)sizeof(target.id));
	struct other asker = other_start(ask, &target);
	expect(owner.channel, 'o');
	service_kill(&service);
	ck_assert_uint_eq(count_lines(&service, "event=request ", "error=-32 cause=\"who did it\""), 1);
	other_kill(&asker);
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	service_end(&service);
}
END_TEST

START_TEST(a_request_is_recorded_as_asked_for_and_as_done)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "log_level = error\n");
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctxd_target target = {0}, gone = {.table = 1, .ctx_id = 2};

	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &target.id));
	ck_assert_ok(ctxd_cancel(client, &target, CTXD_DRY_RUN, 0, "asks", 0, NULL));
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "ends", SOON, NULL));
	ck_assert_int_eq(ctxd_cancel(client, &target, 0, 0, "too late", 0, NULL), -EALREADY);
	ck_assert_int_eq(ctxd_cancel(client, &gone, 0, 0, "not there", 0, NULL), -ENOENT);
	ctx_finish(ctx);
	ctxd_close(client);
	kill(service.pid, SIGTERM);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!service_logged(&service, "event=cancel ") && clock_now_ns() < end_ns)
		poll(NULL, 0, 5);
	ck_assert_uint_eq(count_lines(&service, "event=request ", " request=1\n"), 1);
	ck_assert_uint_eq(count_lines(&service, "event=cancel ", " request=1\n"), 1);
	ck_assert_uint_eq(count_lines(&service, "event=request-refused ", "\"too late\" reason=EALREADY"), 1);
	ck_assert_uint_eq(count_lines(&service, "event=request-refused ", "\"not there\" reason=ENOENT"), 1);
	ck_assert_uint_eq(count_lines(&service, "\"asks\"", ""), 0);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service log");
	TCase *log = test_case(suite, "log");

	tcase_add_loop_test(log, one_user_fills_no_log, 0, sizeof(floods) / sizeof(floods[0]));
	ON_EACH_LOOP(log, a_killed_service_has_recorded_what_it_ordered);
	ON_EACH_LOOP(log, a_request_is_recorded_as_asked_for_and_as_done);
	return suite;
}
