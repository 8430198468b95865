/* SPDX-License-Identifier: MIT */
#include "support/service.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_ok(fclose(file));
}

/* What is run, as open(2) with O_PATH gives it: other users may not look where the tree is. */
static int program_fd = -1;

/* The one that was built as this test was; where none is built for tests, see the Makefile, the usual. */
void service_find(void)
{
	char path[PATH_MAX];

	if (program_fd >= 0)
		return;
	test_path_beside("../ctxd", path);
	if (test_mode() == TEST_TSAN || access(path, X_OK)) /* one that is there is of another day */
		test_path_beside("../../ctxd", path);
	program_fd = open(path, O_PATH | O_CLOEXEC);
	ck_assert_int_ge(program_fd, 0);
	test_keep_fd();
}

static void run(const struct service *service)
{
	char loop[32];
	const char *arguments[10] = {"ctxd", "--socket", service->socket, "--config", service->config};
	int log = open(service->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(log, STDERR_FILENO);
	if (service->loop) {
		snprintf(loop, sizeof(loop), "--loop=%s", service->loop);
		arguments[5] = loop;
	}
	execveat(program_fd, "", (char **)arguments, environ, AT_EMPTY_PATH);
	_exit(127);
}

static bool answers(void *data)
{
	struct ctxd_options options = {.socket = ((struct service *)data)->socket,
				       .flags = CTXD_OWN_DISPATCH};
	struct ctxd_client *client;

	if (ctxd_connect(&options, &client))
		return false;
	ctxd_close(client);
	return true;
}

void service_restart(struct service *service)
{
	service->pid = fork();
	ck_assert_int_ge(service->pid, 0);
	if (service->pid == 0)
		run(service);
	ck_assert(test_until(answers, service));
}

void service_configure(const struct service *service, const char *configuration)
{
	write_file(service->config, configuration);
}

void service_start(struct service *service, const char *configuration)
{
	const char *loop = service->loop;

	service_find();
	*service = (struct service){.loop = loop};
	snprintf(service->directory, sizeof(service->directory), "/tmp/ctxring-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(service->directory));
	chmod(service->directory, 0755);
	snprintf(service->socket, sizeof(service->socket), "%s/ctxd.sock", service->directory);
	snprintf(service->config, sizeof(service->config), "%s/ctxd.conf", service->directory);
	snprintf(service->log, sizeof(service->log), "%s/log", service->directory);
	service_configure(service, configuration ? configuration : "");
	test_setenv("CTXD_SOCKET", service->socket);
	service_restart(service);
}

void service_kill(struct service *service)
{
	int status;

	kill(service->pid, SIGKILL);
	ck_assert_int_eq(waitpid(service->pid, &status, 0), service->pid);
	service->pid = 0;
}

static void print_log(const struct service *service)
{
	char line[1024];
	FILE *file = fopen(service->log, "re");

	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

void service_end(struct service *service)
{
	static const char *const names[] = {"ctxd.sock", "ctxd.sock.lock", "ctxd.conf", "log"};
	char path[128];
	int status = 0;

	if (service->pid) {
		kill(service->pid, SIGTERM);
		ck_assert_int_eq(waitpid(service->pid, &status, 0), service->pid);
	}
	if (status)
		print_log(service);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", service->directory, names[i]);
		unlink(path);
	}
	rmdir(service->directory);
	ck_assert_int_eq(status, 0);
}

bool service_logged(const struct service *service, const char *text)
{
	char line[2048];
	FILE *file = fopen(service->log, "re");
	bool found = false;

	ck_assert_ptr_nonnull(file);
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, text) != NULL;
	fclose(file);
	return found;
}

struct ctxd_client *client_with(const struct service *service, const struct ctxd_options *options)
{
	struct ctxd_options all = *options;
	struct ctxd_client *client = NULL;

	all.socket = service->socket;
	ck_assert_ok(ctxd_connect(&all, &client));
	return client;
}

struct ctxd_client *client_of(const struct service *service)
{
	struct ctxd_options options = {0};

	return client_with(service, &options);
}

static int add(const struct ctxd_entry *entry, void *data)
{
	struct listing *listing = data;

	if (listing->count == 64)
		return 1;
	listing->entries[listing->count++] = *entry;
	return 0;
}

struct listing list_of(struct ctxd_client *client, unsigned kinds)
{
	struct listing listing = {0};

	ck_assert_int_ge(ctxd_list(client, kinds, add, &listing), 0);
	return listing;
}

struct awaited {
	struct ctxd_client *client;
	unsigned kinds, count;
};

static bool is_listed(void *data)
{
	struct awaited *awaited = data;
	struct listing listing = {0};

	return ctxd_list(awaited->client, awaited->kinds, add, &listing) >= 0 &&
	       listing.count == awaited->count;
}

bool await_listed(struct ctxd_client *client, unsigned kinds, unsigned count)
{
	struct awaited awaited = {client, kinds, count};

	return test_until(is_listed, &awaited);
}

/* ---- other processes */

struct other other_start(int (*function)(int channel, void *data), void *data)
{
	struct other other;
	int pair[2];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fflush(stdout);
	fflush(stderr);
	test_settle();
	other.pid = fork();
	ck_assert_int_ge(other.pid, 0);
	if (other.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		_exit(function(pair[1], data));
	}
	close(pair[1]);
	other.channel = pair[0];
	return other;
}

void tell(int channel, char what)
{
	ck_assert_int_eq((int)send(channel, &what, 1, MSG_NOSIGNAL), 1);
}

void expect(int channel, char what)
{
	struct pollfd input = {.fd = channel, .events = POLLIN};
	char got = 0;

	ck_assert_int_eq(poll(&input, 1, 30000), 1);
	ck_assert_int_eq((int)recv(channel, &got, 1, 0), 1);
	ck_assert_int_eq(got, what);
}

int other_end(struct other *other)
{
	int status;

	ck_assert_int_eq(waitpid(other->pid, &status, 0), other->pid);
	close(other->channel);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

void other_kill(struct other *other)
{
	kill(other->pid, SIGKILL);
	ck_assert_int_eq(other_end(other), 256 + SIGKILL);
}
