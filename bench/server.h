/* SPDX-License-Identifier: MIT */
/* The example server as a process whose clients a benchmark is. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include "bench.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct server {
	pid_t pid;
	int out, log;
	unsigned port;
};

static char httpd[4096];

/* Finds httpd in the build tree of this program. False: it was not built, since llhttp is not installed. */
static inline bool server_find(void)
{
	ssize_t length = readlink("/proc/self/exe", httpd, sizeof(httpd) - sizeof("/../examples/httpd"));
	if (length < 0)
		bench_fail("/proc/self/exe: %s", strerror(errno));
	httpd[length] = '\0';
	strcpy(strrchr(httpd, '/'), "/../examples/httpd");
	return !access(httpd, X_OK);
}

/* Becomes the server, which ends when this program does, for whatever reason. */
static inline void server_exec(const struct server *server, pid_t parent, char *const *arguments)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(server->out, STDOUT_FILENO);
	dup2(server->log, STDERR_FILENO);
	execv(httpd, arguments);
	_exit(127);
}

/* Starts httpd with these arguments, the last of which is NULL. log: the descriptor that gets its log. */
static inline struct server server_start(char *const *arguments, int log)
{
	struct server server = {.log = log};
	char line[64] = "";
	int fds[2];
	if (pipe2(fds, O_CLOEXEC))
		bench_fail("pipe: %s", strerror(errno));
	server.out = fds[1];
	pid_t parent = getpid();
	server.pid = fork();
	if (server.pid < 0)
		bench_fail("fork: %s", strerror(errno));
	if (!server.pid)
		server_exec(&server, parent, arguments);
	close(fds[1]);
	if (read(fds[0], line, sizeof(line) - 1) <= 0 ||
	    sscanf(line, "http://127.0.0.1:%u/", &server.port) != 1)
		bench_fail("httpd does not start");
	server.out = fds[0];
	return server;
}

/* The processor time that the server has used. */
static inline double server_cpu_ns(const struct server *server)
{
	struct timespec used;
	clockid_t clock;
	if (clock_getcpuclockid(server->pid, &clock) || clock_gettime(clock, &used))
		bench_fail("httpd has ended");
	return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

#endif
