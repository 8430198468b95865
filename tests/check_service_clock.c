/* SPDX-License-Identifier: MIT */
/* A client in a time namespace, to which a deadline means another time, is told so. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_DENIED);

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum {
	NO_SPACE = 255
};

/* Makes a namespace for children: the process itself stays where it is. */
static bool make_space(void)
{
	const char *offset = "monotonic 86400 0";
	int fd = unshare(CLONE_NEWTIME) ? -1 : open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	bool made = fd >= 0 && write(fd, offset, strlen(offset)) > 0;

	if (fd >= 0)
		close(fd);
	return made;
}

static int connect_in(int channel, void *data)
{
	const struct service *service = data;
	struct ctxd_options options = {.socket = service->socket};
	struct ctxd_client *client;
	int status;

	expect(channel, 'a');
	if (!make_space())
		return NO_SPACE;
	test_settle();
	pid_t pid = fork();
	if (pid == 0)
		_exit(-ctxd_connect(&options, &client));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static int connect_before(int channel, void *data)
{
	const struct service *service = data;
	struct ctxd_options options = {.socket = service->socket};
	struct ctxd_client *client;

	expect(channel, 'a');
	return make_space() ? -ctxd_connect(&options, &client) : NO_SPACE;
}

START_TEST(a_client_with_another_clock_is_refused)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct other other = other_start(connect_in, &service);

	tell(other.channel, 'a');
	int result = other_end(&other);
	ck_assert(result == EXDEV || result == NO_SPACE);
	service_end(&service);
	if (result == NO_SPACE)
		test_skip("a time namespace cannot be made here");
}
END_TEST

START_TEST(a_client_whose_children_only_have_another_clock_is_served)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct other other = other_start(connect_before, &service);

	tell(other.channel, 'a');
	int result = other_end(&other);
	ck_assert(result == 0 || result == NO_SPACE);
	service_end(&service);
	if (result == NO_SPACE)
		test_skip("a time namespace cannot be made here");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service clock");
	TCase *clock = test_case(suite, "clock");

	ON_EACH_LOOP(clock, a_client_with_another_clock_is_refused);
	ON_EACH_LOOP(clock, a_client_whose_children_only_have_another_clock_is_served);
	return suite;
}
