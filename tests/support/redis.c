/* SPDX-License-Identifier: MIT */
#include "support/redis.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/harness.h"

void redis_require(void)
{
	if (system("command -v redis-server >/dev/null"))
		test_skip("redis-server is not installed");
}

uint16_t redis_free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(bind(fd, (struct sockaddr *)&address, size));
	ck_assert_ok(getsockname(fd, (struct sockaddr *)&address, &size));
	close(fd);
	return ntohs(address.sin_port);
}

/* ---- asking */

static int connect_to(const struct redis *redis)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	strcpy(address.sun_path, redis->socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The answer to this, which is an error everywhere, ends the answer to the command. */
#define LAST "ctxring-last"

static const char *ask(const struct redis *redis, const char *command)
{
	static char answer[65536];
	size_t size = 0;
	ssize_t count = 1;
	char *end = NULL;
	int fd = connect_to(redis);

	answer[0] = '\0';
	if (fd < 0)
		return answer;
	ck_assert_int_ge(dprintf(fd, "%s\r\n" LAST "\r\n", command), 0);
	while (count > 0 && !end) {
		count = read(fd, answer + size, sizeof(answer) - 1 - size);
		size += count > 0 ? (size_t)count : 0;
		answer[size] = '\0';
		end = strstr(answer, "\r\n-ERR unknown command '" LAST);
	}
	close(fd);
	if (end)
		*end = '\0';
	return answer;
}

const char *redis_ask(const struct redis *redis, const char *format, ...)
{
	char command[4096];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	return ask(redis, command);
}

struct awaited {
	const struct redis *redis;
	const char *text, *command;
};

static bool has_answered(void *data)
{
	const struct awaited *awaited = data;

	return strstr(ask(awaited->redis, awaited->command), awaited->text);
}

void redis_await(const struct redis *redis, const char *text, const char *command)
{
	struct awaited awaited = {redis, text, command};

	ck_assert_msg(test_until(has_answered, &awaited), "%s never answered %s", command, text);
}

/* ---- starting and ending */

static void run(const struct redis *redis)
{
	char log[64];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(log, sizeof(log), "%s/log", redis->directory);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execlp("redis-server", "redis-server", redis->config, redis->is_sentinel ? "--sentinel" : NULL, NULL);
	_exit(127);
}

void redis_restart(struct redis *redis)
{
	redis->pid = fork();
	ck_assert_int_ge(redis->pid, 0);
	if (redis->pid == 0)
		run(redis);
	/* One that wants a password, or is loading, answers with an error. */
	redis_await(redis, "\n", "PING\r\nPING");
}

static FILE *begin_config(struct redis *redis, bool has_port)
{
	FILE *file;

	strcpy(redis->directory, "/tmp/ctxring-redis-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(redis->directory));
	snprintf(redis->socket, sizeof(redis->socket), "%s/socket", redis->directory);
	snprintf(redis->config, sizeof(redis->config), "%s/config", redis->directory);
	redis->port = has_port ? redis_free_port() : 0;
	file = fopen(redis->config, "we");
	ck_assert_ptr_nonnull(file);
	fprintf(file, "port %d\nbind 127.0.0.1\nunixsocket %s\ndir %s\n", redis->port, redis->socket,
		redis->directory);
	return file;
}

void redis_start(struct redis *redis, bool has_port, const char *configuration)
{
	FILE *file = begin_config(redis, has_port);

	redis->is_sentinel = false;
	fprintf(file, "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nenable-debug-command yes\n%s",
		configuration ? configuration : "");
	ck_assert_ok(fclose(file));
	redis_restart(redis);
}

void redis_start_sentinel(struct redis *sentinel, uint16_t master_port, unsigned down_after_ms)
{
	FILE *file = begin_config(sentinel, true);

	sentinel->is_sentinel = true;
	fprintf(file,
		"sentinel monitor fleet 127.0.0.1 %d 1\nsentinel down-after-milliseconds fleet %u\n"
		"sentinel failover-timeout fleet 2000\n",
		master_port, down_after_ms);
	ck_assert_ok(fclose(file));
	redis_restart(sentinel);
}

void redis_kill(struct redis *redis)
{
	if (redis->pid <= 0)
		return;
	kill(redis->pid, SIGKILL);
	waitpid(redis->pid, NULL, 0);
	redis->pid = 0;
}

void redis_end(struct redis *redis)
{
	struct dirent *entry;
	DIR *directory;

	redis_kill(redis);
	directory = opendir(redis->directory);
	ck_assert_ptr_nonnull(directory);
	while ((entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	ck_assert_ok(rmdir(redis->directory));
}
