/* SPDX-License-Identifier: MIT */
/*
 * What runs out: room for descriptors in flight, memory of the service, bytes that wait for a slow reader. It
 * is told or waited for, nothing that must arrive is lost, and everything is given back.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
/* The kernel lets root send more descriptors than anybody has room for. */
#define NOBODY 65004
#define NOBODY_TOO 65005

/* ---- descriptors in flight: the kernel counts them for each user, against RLIMIT_NOFILE of who sends */

static void become(uid_t uid)
{
	ck_assert_ok(setgroups(0, NULL));
	ck_assert_ok(setresgid(uid, uid, uid));
	service_find();
	ck_assert_ok(setresuid(uid, uid, uid));
}

static void fill_flight(int pair[2], unsigned count)
{
	ck_assert_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	for (unsigned i = 0; i < count; i++)
		raw_send(pair[0], "x", 1, &pair[0], 1);
}

/* They are out of flight when they are received. */
static void empty_flight(int pair[2], unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char byte;
		ck_assert_int_eq((int)recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
	}
	close(pair[0]);
	close(pair[1]);
}

static unsigned limit_descriptors(pid_t pid, unsigned limit)
{
	struct rlimit before, now;

	ck_assert_ok(prlimit(pid, RLIMIT_NOFILE, NULL, &before));
	now = (struct rlimit){limit, before.rlim_max};
	ck_assert_ok(prlimit(pid, RLIMIT_NOFILE, &now, NULL));
	return (unsigned)before.rlim_cur;
}

static double cpu_seconds(pid_t pid)
{
	char path[64];
	unsigned long user, system;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	fclose(file);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

enum {
	IN_FLIGHT = 60,
	FEW = 50
};

/* The whole test is another user's: its service, too. */
static int join_when_flight_is_full(int channel, void *data)
{
	struct service service = {.loop = data};
	struct ctx_context *ctx, *joined;
	struct ctxd_id id;
	int pair[2];

	become(NOBODY);
	service_start(&service, NULL);
	struct ctxd_client *owner = client_of(&service), *joiner = client_of(&service);
	ctx = child_of(ctx_background());
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	fill_flight(pair, IN_FLIGHT);
	limit_descriptors(service.pid, FEW);
	double before = cpu_seconds(service.pid);
	uint64_t usual_ns = joiner->options.timeout_ns;
	joiner->options.timeout_ns = NS_PER_SECOND;
	ck_assert_int_eq(ctxd_join(joiner, id, &joined), -ETIMEDOUT);
	joiner->options.timeout_ns = usual_ns;
	/* It waited, and did not try all the time. */
	tell(channel, cpu_seconds(service.pid) - before < 0.5 ? 'w' : 'b');
	empty_flight(pair, IN_FLIGHT);
	/* What comes late is given back; the next one is answered. */
	ck_assert(await_listed(owner, CTXD_JOINED, 0));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ctx_cancel(ctx);
	ck_assert_ok(ctx_wait(joined, SOON));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
	return 0;
}

START_TEST(a_service_that_cannot_send_descriptors_sends_them_later)
{
	if (getuid() != 0)
		test_skip("needs root, to become another user");
	struct other other = other_start(join_when_flight_is_full, (void *)SERVICE_LOOP(_i));
	expect(other.channel, 'w');
	ck_assert_int_eq(other_end(&other), 0);
}
END_TEST

static int share_when_flight_is_full(int channel, void *data)
{
	struct service service = {.loop = NULL};
	int pair[2];

	(void)data;
	(void)channel;
	become(NOBODY_TOO);
	service_start(&service, NULL);
	struct ctxd_client *owner = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background());
	fill_flight(pair, IN_FLIGHT);
	unsigned before = limit_descriptors(getpid(), FEW);
	uint64_t usual_ns = owner->options.timeout_ns;
	owner->options.timeout_ns = NS_PER_SECOND / 2;
	ck_assert_int_eq(ctxd_share(owner, ctx, NULL, 0, NULL), -ETIMEDOUT);
	owner->options.timeout_ns = usual_ns;
	limit_descriptors(getpid(), before);
	empty_flight(pair, IN_FLIGHT);
	ck_assert_live(ctx);
	ck_assert(await_listed(owner, CTXD_SHARED, 0));
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, NULL));
	ctx_finish(ctx);
	ctxd_close(owner);
	service_end(&service);
	return 0;
}

START_TEST(a_client_that_cannot_send_descriptors_is_told_in_time)
{
	if (getuid() != 0)
		test_skip("needs root, to become another user");
	struct other other = other_start(share_when_flight_is_full, NULL);
	ck_assert_int_eq(other_end(&other), 0);
}
END_TEST

/* ---- memory */

static unsigned long address_space_kb(pid_t pid)
{
	char path[64], line[256];
	unsigned long kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmSize: %lu", &kb) == 1)
			break;
	fclose(file);
	return kb;
}

/* Shared and ended, until one is refused; what has ended is remembered by the service. */
static int share_until_refused(struct ctxd_client *client, unsigned count_max)
{
	int result = 0;

	for (unsigned i = 0; i < count_max && !result; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		result = ctxd_share(client, ctx, NULL, 0, NULL);
		ctx_finish(ctx);
	}
	return result;
}

START_TEST(a_service_without_memory_refuses_and_recovers)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_options options = {.socket = service.socket};
	struct ctxd_client *client = client_of(&service), *more;
	struct rlimit limit, none;

	ck_assert_ok(prlimit(service.pid, RLIMIT_AS, NULL, &limit));
	none = (struct rlimit){address_space_kb(service.pid) * 1024, limit.rlim_max};
	ck_assert_ok(prlimit(service.pid, RLIMIT_AS, &none, NULL));
	int result = share_until_refused(client, 20000);
	ck_assert_msg(result == -ENOMEM || result == -EDQUOT || result == -ENOTCONN, "%d", result);
	ck_assert_ok(prlimit(service.pid, RLIMIT_AS, &limit, NULL));
	uint64_t end_ns = clock_now_ns() + SOON;
	while ((result = ctxd_connect(&options, &more)) && clock_now_ns() < end_ns)
		poll(NULL, 0, 5);
	ck_assert_ok(result);
	ck_assert_ok(share_until_refused(more, 10));
	ctxd_close(more);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- descriptors that are held, against the quota and the limit */

static unsigned count_descriptors(pid_t pid)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* What was there before may be on its way out: then it is looked at again. */
static bool holds_three_more(void *data)
{
	const struct service *service = data;
	unsigned before = count_descriptors(service->pid);
	int fd = raw_greeted(service);
	unsigned with = count_descriptors(service->pid);

	close(fd);
	return with == before + 3;
}

static bool is_refused(void *data)
{
	struct wire_message message;
	int fd = raw_dial(data);

	raw_send_message(fd, &raw_hello, NULL, 0);
	bool refused =
		raw_receive(fd, &message) && message.type == WIRE_GOODBYE && message.goodbye.error == -EDQUOT;
	close(fd);
	return refused;
}

START_TEST(a_connection_is_charged_what_is_held_for_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	ck_assert(test_until(holds_three_more, &service));
	service_kill(&service);
	/* Two are six, the third would be nine. */
	service_configure(&service, "fds = 7\n");
	service_restart(&service);
	struct ctxd_client *one = client_of(&service);
	ck_assert(await_listed(one, CTXD_PROCESS, 1));
	struct ctxd_client *two = client_of(&service);
	ck_assert(is_refused(&service));
	ctxd_close(two);
	ctxd_close(one);
	service_end(&service);
}
END_TEST

START_TEST(a_limit_below_the_quota_is_raised_or_warned_of)
{
	struct service service = {.loop = NULL};
	struct rlimit limit = {200, 300}, now;

	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	service_start(&service, _i ? "fds = 100\n" : NULL);
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, NULL, &now));
	ck_assert_uint_eq(now.rlim_cur, 300);
	ck_assert_int_eq(service_logged(&service, "event=descriptors limit=300 fds=65536"), !_i);
	ck_assert_int_eq(service_logged(&service, "event=descriptors"), !_i);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service limits");
	TCase *flight = test_case(suite, "flight");

	ON_EACH_LOOP(flight, a_service_that_cannot_send_descriptors_sends_them_later);
	tcase_add_test(flight, a_client_that_cannot_send_descriptors_is_told_in_time);
	/* The address space of a sanitizer has no end. */
	if (test_mode() != TEST_ASAN) {
		TCase *memory = test_case(suite, "memory");
		ON_EACH_LOOP(memory, a_service_without_memory_refuses_and_recovers);
	}
	TCase *held = test_case(suite, "held");
	ON_EACH_LOOP(held, a_connection_is_charged_what_is_held_for_it);
	tcase_add_loop_test(held, a_limit_below_the_quota_is_raised_or_warned_of, 0, 2);
	return suite;
}
