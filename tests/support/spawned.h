/* SPDX-License-Identifier: MIT */
/*
 * Commands under a context, with real processes: support/programs/roles.c, built beside the tests. All that
 * runs in a tree holds the write end of one pipe: its end of file says, without a look at numbers, that
 * nobody is left.
 */
#ifndef TEST_SPAWNED_H
#define TEST_SPAWNED_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "support/contexts.h"

/* The program that plays them. */
static char roles[PATH_MAX];

/* A program with its output on a pipe, and the options of the next one. */
struct run {
	struct ctx_process *process;
	struct ctx_spawn_options options;
	char *argv[4];
	char number[12];
	int fds[3];
	int output;
};

static inline void prepare(struct run *run, const char *role, int number)
{
	int ends[2];

	if (!roles[0])
		test_path_beside("roles", roles);
	*run = (struct run){.argv = {roles, (char *)role, run->number, NULL}};
	snprintf(run->number, sizeof(run->number), "%d", number);
	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	run->output = ends[0];
	run->fds[0] = -1;
	run->fds[1] = ends[1];
	run->fds[2] = STDERR_FILENO;
	run->options = (struct ctx_spawn_options){.argv = run->argv, .fds = run->fds};
}

static inline int begin_run(const struct ctx_context *ctx, struct run *run)
{
	int result = ctx_spawn(ctx, &run->options, &run->process);

	close(run->fds[1]);
	return result;
}

static inline void start(const struct ctx_context *ctx, struct run *run, const char *role, int number,
			 unsigned flags)
{
	prepare(run, role, number);
	run->options.flags = flags;
	ck_assert_ok(begin_run(ctx, run));
}

static inline void expect_bytes(const struct run *run, char what, int count)
{
	for (int i = 0; i < count; i++) {
		char byte = 0;
		ck_assert_int_eq(read(run->output, &byte, 1), 1);
		ck_assert_int_eq(byte, what);
	}
}

/* Nobody has the pipe any more. */
static inline void expect_gone(const struct run *run)
{
	struct pollfd pollfd = {.fd = run->output, .events = POLLIN};
	char rest[4096];

	while (poll(&pollfd, 1, 30000) == 1)
		if (read(run->output, rest, sizeof(rest)) <= 0)
			return;
	ck_abort_msg("something of the tree is left");
}

static inline struct ctx_exit wait_for(struct run *run)
{
	struct ctx_exit how;

	memset(&how, 0xff, sizeof(how));
	ck_assert_ok(ctx_process_wait(ctx_background(), run->process, &how));
	return how;
}

static inline void finish(struct run *run)
{
	ctx_process_free(run->process);
	close(run->output);
}

/* A field of /proc/PID/status as a number; -1 without it. */
static inline long status_of(pid_t pid, const char *name)
{
	char path[64], line[256];
	long number = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			number = strtol(line + strlen(name), NULL, 10);
	if (file)
		fclose(file);
	return number;
}

static inline pid_t keeper_of(const struct run *run)
{
	return (pid_t)status_of(ctx_process_pid(run->process), "PPid:");
}

static inline bool cgroup_works(void)
{
	struct cgroup cgroup;

	cgroup_make(&cgroup);
	bool works = cgroup.fd >= 0;
	if (works)
		ck_assert_ok(cgroup_remove(&cgroup));
	cgroup_close(&cgroup);
	return works;
}

/* Cgroups below the own one that the process has made; -1 where there can be none. */
static inline int count_cgroups_of(pid_t pid)
{
	struct cgroup cgroup;
	char prefix[32], path[64];
	int count = -1;

	snprintf(prefix, sizeof(prefix), "ctxring-%d-", (int)pid);
	cgroup_make(&cgroup);
	if (cgroup.fd >= 0) {
		cgroup_remove(&cgroup);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", cgroup.parent_fd);
		DIR *directory = opendir(path);
		struct dirent *entry;
		for (count = 0; (entry = readdir(directory));)
			count += !strncmp(entry->d_name, prefix, strlen(prefix));
		closedir(directory);
	}
	cgroup_close(&cgroup);
	return count;
}

static inline int count_cgroups(void)
{
	return count_cgroups_of(getpid());
}

/* Once with a cgroup and once without. */
#define ON_EACH_WAY(test_case, test) tcase_add_loop_test(test_case, test, cgroup_works() ? 0 : 1, 2)
#define WAY(number) ((number) ? CTX_SPAWN_NO_CGROUP : 0)

#endif
