/* SPDX-License-Identifier: MIT */
/*
 * Commands under a context, with real processes: support/programs/roles.c, built beside this. All that
 * runs in a tree holds the write end of one pipe: its end of file says, without a look at numbers, that
 * nobody is left.
 */
#include <dirent.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "feature.h"
#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define NOBODY 65534

/* ---- starting them */

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

static void prepare(struct run *run, const char *role, int number)
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

static int begin_run(const struct ctx_context *ctx, struct run *run)
{
	int result = ctx_spawn(ctx, &run->options, &run->process);

	close(run->fds[1]);
	return result;
}

static void start(const struct ctx_context *ctx, struct run *run, const char *role, int number,
		  unsigned flags)
{
	prepare(run, role, number);
	run->options.flags = flags;
	ck_assert_ok(begin_run(ctx, run));
}

static void expect_bytes(const struct run *run, char what, int count)
{
	for (int i = 0; i < count; i++) {
		char byte = 0;
		ck_assert_int_eq(read(run->output, &byte, 1), 1);
		ck_assert_int_eq(byte, what);
	}
}

/* Nobody has the pipe any more. */
static void expect_gone(const struct run *run)
{
	struct pollfd pollfd = {.fd = run->output, .events = POLLIN};
	char rest[4096];

	while (poll(&pollfd, 1, 20000) == 1)
		if (read(run->output, rest, sizeof(rest)) <= 0)
			return;
	ck_abort_msg("something of the tree is left");
}

static struct ctx_exit wait_for(struct run *run)
{
	struct ctx_exit how;

	memset(&how, 0xff, sizeof(how));
	ck_assert_ok(ctx_process_wait(ctx_background(), run->process, &how));
	return how;
}

static void finish(struct run *run)
{
	ctx_process_free(run->process);
	close(run->output);
}

/* A field of /proc/PID/status as a number; -1 without it. */
static long status_of(pid_t pid, const char *name)
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

static pid_t keeper_of(const struct run *run)
{
	return (pid_t)status_of(ctx_process_pid(run->process), "PPid:");
}

static bool cgroup_works(void)
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
static int count_cgroups_of(pid_t pid)
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

static int count_cgroups(void)
{
	return count_cgroups_of(getpid());
}

static bool has_no_cgroup(void *pid)
{
	return count_cgroups_of(*(pid_t *)pid) <= 0;
}

/* Once with a cgroup and once without. */
#define ON_EACH_WAY(test_case, test) tcase_add_loop_test(test_case, test, cgroup_works() ? 0 : 1, 2)
#define WAY(number) ((number) ? CTX_SPAWN_NO_CGROUP : 0)

/* ---- how a program ends */

START_TEST(status_of_a_program_comes_back)
{
	struct run run;

	start(ctx_background(), &run, "exit", 3, WAY(_i));
	struct ctx_exit how = wait_for(&run);
	ck_assert(WIFEXITED(how.status));
	ck_assert_int_eq(WEXITSTATUS(how.status), 3);
	ck_assert(!how.stopped && !how.killed);
	ck_assert_uint_eq(how.left_behind, 0);
	ck_assert_int_eq(how.cause.kind, CTX_CAUSE_NONE);
	/* Again, and after a look at the descriptor. */
	struct pollfd pollfd = {.fd = ctx_process_fd(run.process), .events = POLLIN};
	ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
	ck_assert_int_eq(WEXITSTATUS(wait_for(&run).status), 3);
	ck_assert_int_eq(ctx_process_signal(run.process, 0), -ESRCH);
	finish(&run);
	start(ctx_background(), &run, "die", SIGKILL, WAY(_i));
	how = wait_for(&run);
	ck_assert(WIFSIGNALED(how.status));
	ck_assert_int_eq(WTERMSIG(how.status), SIGKILL);
	ck_assert(!how.stopped && !how.killed);
	finish(&run);
}
END_TEST

START_TEST(end_of_the_context_reaches_grandchildren_in_sessions_of_their_own)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	start(ctx, &run, "daemons", 5, WAY(_i));
	expect_bytes(&run, 'r', 6);
	ck_assert_ok(ctx_cancel_cause(ctx, -ECONNRESET, "enough"));
	struct ctx_exit how = wait_for(&run);
	expect_gone(&run);
	ck_assert(how.stopped);
	ck_assert(!how.killed);
	ck_assert_int_eq(WTERMSIG(how.status), SIGTERM);
	ck_assert_int_eq(how.cause.error, -ECONNRESET);
	ck_assert_str_eq(how.cause.text, "enough");
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(who_ignores_the_signal_is_killed_after_the_grace)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "stubborn daemons", 3);
	run.options.flags = WAY(_i);
	run.options.grace_ns = 50 * MILLISECOND;
	ck_assert_ok(begin_run(ctx, &run));
	expect_bytes(&run, 'r', 4);
	uint64_t before_ns = clock_now_ns();
	ck_assert_ok(ctx_cancel(ctx));
	struct ctx_exit how = wait_for(&run);
	ck_assert_uint_ge(clock_now_ns() - before_ns, 50 * MILLISECOND);
	expect_gone(&run);
	ck_assert(how.stopped && how.killed);
	ck_assert_int_eq(WTERMSIG(how.status), SIGKILL);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(deadline_ends_a_program_with_its_cause)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 50 * MILLISECOND);
	struct run run;

	prepare(&run, "stay", 0);
	run.options.flags = WAY(_i);
	run.options.signal = SIGINT;
	int result = begin_run(ctx, &run);
	if (!result) {
		struct ctx_exit how = wait_for(&run);
		ck_assert(how.stopped);
		ck_assert_int_eq(WTERMSIG(how.status), SIGINT);
		ck_assert_int_eq(how.cause.kind, CTX_CAUSE_DEADLINE);
		expect_gone(&run);
	} else {
		ck_assert_int_eq(result, -ETIME); /* a slow machine */
	}
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(deadline_moved_later_is_obeyed)
{
	struct ctx_context *ctx;
	struct run run;

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, NULL, &ctx));
	start(ctx, &run, "stay", 0, WAY(_i));
	expect_bytes(&run, 'r', 1);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 2 * HOUR));
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + MILLISECOND));
	ck_assert_int_eq(wait_for(&run).cause.kind, CTX_CAUSE_DEADLINE);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

static bool is_stopped(void *data)
{
	char path[64], line[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)data);
	FILE *file = fopen(path, "re");
	bool stopped = file && fgets(line, sizeof(line), file) && strstr(line, ") T ");
	if (file)
		fclose(file);
	return stopped;
}

START_TEST(stopped_program_ends_by_the_first_signal)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "stopped", 0);
	run.options.flags = WAY(_i);
	run.options.grace_ns = CTX_FOREVER;
	ck_assert_ok(begin_run(ctx, &run));
	pid_t pid = ctx_process_pid(run.process);
	ck_assert(test_until(is_stopped, &pid));
	ck_assert_ok(ctx_cancel(ctx));
	struct ctx_exit how = wait_for(&run);
	ck_assert(how.stopped && !how.killed);
	ck_assert_int_eq(WTERMSIG(how.status), SIGTERM);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(what_a_program_leaves_behind_is_counted_and_ended)
{
	struct run run;

	start(ctx_background(), &run, "leaver", 4, WAY(_i));
	struct ctx_exit how = wait_for(&run);
	expect_gone(&run);
	ck_assert_int_eq(WEXITSTATUS(how.status), 5);
	ck_assert_uint_eq(how.left_behind, 4);
	ck_assert(!how.stopped && !how.killed);
	finish(&run);
}
END_TEST

/* Goal: the first signal reaches all, whoever of them ends meanwhile, so that nobody waits for SIGKILL. */
START_TEST(long_line_of_parents_ends_by_the_first_signal)
{
	for (int i = 0; i < 5; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		struct run run;

		prepare(&run, "line", 40);
		run.options.flags = WAY(_i);
		run.options.grace_ns = 10 * NS_PER_SECOND;
		ck_assert_ok(begin_run(ctx, &run));
		expect_bytes(&run, 'r', 1);
		ck_assert_ok(ctx_cancel(ctx));
		ck_assert(!wait_for(&run).killed);
		finish(&run);
		ctx_finish(ctx);
	}
}
END_TEST

/* /proc shows a process whose first thread has ended as a zombie. Of the program itself, and of a child. */
START_TEST(process_without_its_first_thread_is_ended)
{
	for (int in_child = 0; in_child < 2; in_child++) {
		struct ctx_context *ctx = child_of(ctx_background());
		struct run run;

		prepare(&run, "thread", in_child);
		run.options.flags = WAY(_i);
		run.options.grace_ns = 10 * NS_PER_SECOND;
		ck_assert_ok(begin_run(ctx, &run));
		expect_bytes(&run, 'r', 1 + in_child);
		ck_assert_ok(ctx_cancel(ctx));
		struct ctx_exit how = wait_for(&run);
		ck_assert(!how.killed);
		ck_assert_int_eq(WTERMSIG(how.status), SIGTERM);
		finish(&run);
		ctx_finish(ctx);
	}
}
END_TEST

START_TEST(what_a_handler_starts_to_clean_up_is_not_disturbed)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "cleaner", 0);
	run.options.flags = WAY(_i);
	run.options.grace_ns = CTX_FOREVER;
	ck_assert_ok(begin_run(ctx, &run));
	expect_bytes(&run, 'r', 1);
	ck_assert_ok(ctx_cancel(ctx));
	struct ctx_exit how = wait_for(&run);
	ck_assert(how.stopped && WIFEXITED(how.status));
	ck_assert_int_eq(WEXITSTATUS(how.status), 6);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

/* Goal: whoever forks on and on is ended as well. Method: a bounded storm that ignores the first signal. */
START_TEST(storm_of_forks_is_ended)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "storm", 3);
	run.options.flags = WAY(_i);
	run.options.grace_ns = MILLISECOND;
	ck_assert_ok(begin_run(ctx, &run));
	expect_bytes(&run, 'r', 8);
	ck_assert_ok(ctx_cancel(ctx));
	wait_for(&run);
	expect_gone(&run);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(free_kills_at_once)
{
	struct run run;

	prepare(&run, "stubborn daemons", 2);
	run.options.flags = WAY(_i);
	run.options.grace_ns = CTX_FOREVER;
	ck_assert_ok(begin_run(ctx_background(), &run));
	expect_bytes(&run, 'r', 3);
	ctx_process_free(run.process);
	expect_gone(&run);
	close(run.output);
	ck_assert_int_le(count_cgroups(), 0);
}
END_TEST

START_TEST(wait_is_bounded_by_its_own_context)
{
	struct ctx_context *patience = timed_child_of(ctx_background(), MILLISECOND);
	struct ctx_exit how;
	struct run run;

	start(ctx_background(), &run, "stay", 0, WAY(_i));
	expect_bytes(&run, 'r', 1);
	ck_assert_int_eq(ctx_process_wait(patience, run.process, &how), -ETIME);
	ck_assert_ok(ctx_process_signal(run.process, SIGUSR1));
	ck_assert_int_eq(WTERMSIG(wait_for(&run).status), SIGUSR1);
	/* What is there is not withheld. */
	ck_assert_ok(ctx_process_wait(patience, run.process, NULL));
	finish(&run);
	ctx_finish(patience);
}
END_TEST

START_TEST(usage_of_the_tree_comes_back)
{
	struct run run;

	start(ctx_background(), &run, "burner", 0, WAY(_i));
	struct rusage usage = wait_for(&run).usage;
	uint64_t spent_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
			    (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	ck_assert_uint_ge(spent_us, 60000);
	ck_assert_int_gt(usage.ru_maxrss, 0);
	finish(&run);
}
END_TEST

START_TEST(fifty_at_once_end_with_their_parent)
{
	struct ctx_context *ctx = child_of(ctx_background());
	static struct run runs[50];

	for (int i = 0; i < 50; i++)
		start(ctx, &runs[i], "stay", 0, WAY(_i));
	for (int i = 0; i < 50; i++)
		expect_bytes(&runs[i], 'r', 1);
	ck_assert_ok(ctx_cancel(ctx));
	for (int i = 0; i < 50; i++) {
		ck_assert(wait_for(&runs[i]).stopped);
		expect_gone(&runs[i]);
		finish(&runs[i]);
	}
	ck_assert_int_le(count_cgroups(), 0);
	ctx_finish(ctx);
}
END_TEST

/* ---- starting it */

static int spawn_error(char *const *argv, const char *directory, const int *fds, char words[400])
{
	struct ctx_spawn_options options = {.argv = argv, .directory = directory, .fds = fds};
	struct ctx_process *process;
	int result = ctx_spawn(ctx_background(), &options, &process);

	ck_assert_int_lt(result, 0);
	ck_assert_int_gt(ctx_spawn_explain(result, &options, words, 400), 0);
	return result;
}

START_TEST(what_cannot_be_executed_is_told)
{
	char directory[] = "/tmp/check_spawn.XXXXXX", path[64], words[400];
	char *argv[] = {path, NULL};
	int bad[3] = {0, 1, 789};

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/none", directory);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -ENOENT);
	ck_assert_ptr_nonnull(strstr(words, "no file"));
	snprintf(path, sizeof(path), "ctxring-none");
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -ENOENT);
	ck_assert_ptr_nonnull(strstr(words, "$PATH"));
	snprintf(path, sizeof(path), "%s/file", directory);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -EACCES);
	ck_assert_ptr_nonnull(strstr(words, "chmod"));
	ck_assert_int_eq(write(fd, "exit 0\n", 7), 7);
	fchmod(fd, 0700);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -ETXTBSY);
	close(fd);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -ENOEXEC);
	ck_assert_ptr_nonnull(strstr(words, "sh"));
	snprintf(path, sizeof(path), "%s", directory);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -EACCES);
	snprintf(path, sizeof(path), "/bin/true");
	ck_assert_int_eq(spawn_error(argv, "/none", NULL, words), -ENOENT);
	ck_assert_ptr_nonnull(strstr(words, "directory /none"));
	ck_assert_int_eq(spawn_error(argv, "/proc/version", NULL, words), -ENOTDIR);
	ck_assert_int_eq(spawn_error(argv, NULL, bad, words), -EBADF);
	snprintf(path, sizeof(path), "%s/file", directory);
	unlink(path);
	rmdir(directory);
	ck_assert_int_le(count_cgroups(), 0);
}
END_TEST

START_TEST(too_many_arguments_are_told)
{
	static char longest[4 << 20];
	char words[400], *argv[] = {"/bin/true", longest, NULL};

	memset(longest, 'x', sizeof(longest) - 1);
	ck_assert_int_eq(spawn_error(argv, NULL, NULL, words), -E2BIG);
}
END_TEST

START_TEST(misuse_is_refused)
{
	char *argv[] = {"/bin/true", NULL}, *none[] = {NULL};
	struct ctx_spawn_options options = {.argv = argv};
	struct ctx_process *process;
	struct ctx_context *done = child_of(ctx_background());
	char words[10];

	ck_assert_int_eq(ctx_spawn(NULL, &options, &process), -EINVAL);
	ck_assert_int_eq(ctx_spawn(done, NULL, &process), -EINVAL);
	ck_assert_int_eq(ctx_spawn(done, &options, NULL), -EINVAL);
	options.argv = none;
	ck_assert_int_eq(ctx_spawn(done, &options, &process), -EINVAL);
	options.argv = argv;
	options.flags = 1u << 30;
	ck_assert_int_eq(ctx_spawn(done, &options, &process), -EINVAL);
	options.flags = 0;
	options.signal = 1000;
	ck_assert_int_eq(ctx_spawn(done, &options, &process), -EINVAL);
	options.signal = 0;
	ck_assert_ok(ctx_cancel(done));
	ck_assert_int_eq(ctx_spawn(done, &options, &process), -ECANCELED);
	ck_assert_int_eq(ctx_process_wait(done, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_process_fd(NULL), -EINVAL);
	ck_assert_int_eq(ctx_process_signal(NULL, 1), -EINVAL);
	ck_assert_int_eq(ctx_process_pid(NULL), 0);
	ck_assert_int_eq(ctx_spawn_explain(-ENOENT, NULL, NULL, 1), -EINVAL);
	ck_assert_int_gt(ctx_spawn_explain(-ENOENT, NULL, NULL, 0), 0);
	for (int error = 0; error < 140; error++)
		ck_assert_int_gt(ctx_spawn_explain(-error, NULL, words, sizeof(words)), 0);
	ctx_process_free(NULL);
	ctx_finish(done);
}
END_TEST

/* The program's output to a buffer, until its end. */
static void output_of(struct run *run, char *buffer, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(run->output, buffer + length, size - 1 - length)) > 0)
		length += (size_t)got;
	buffer[length] = '\0';
}

START_TEST(directory_environment_and_path_are_the_programs)
{
	struct ctx_context *ctx;
	char *argv[] = {"sh", "-c", "pwd; echo $A; echo $CTXRING_CONTEXT", NULL}, output[512];
	char *environment[] = {"A=1", _i ? "CTXRING_CONTEXT=own" : NULL, NULL};
	struct run run;

	ck_assert_ok(ctx_with_timeout(ctx_background(), HOUR, "a;b=c", &ctx));
	prepare(&run, "", 0);
	run.options.argv = argv;
	run.options.directory = "/usr";
	run.options.environment = environment;
	ck_assert_ok(begin_run(ctx, &run));
	output_of(&run, output, sizeof(output));
	char expected[64];
	snprintf(expected, sizeof(expected), "/usr\n1\nv=1;id=%016llx;label=a%%3Bb%%3Dc;left=35",
		 (unsigned long long)ctx_id(ctx));
	if (_i)
		strcpy(expected, "/usr\n1\nown\n");
	ck_assert_msg(!strncmp(output, expected, strlen(expected)), "%s", output);
	ck_assert(_i || strstr(output, ";boot="));
	wait_for(&run);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(descriptors_may_be_given_in_any_order)
{
	struct run run;
	int input[2], saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);

	ck_assert_ok(pipe2(input, O_CLOEXEC));
	prepare(&run, "copy", 0);
	/* Its output is our descriptor 0, its input one above 2. */
	ck_assert_int_eq(dup2(run.fds[1], STDIN_FILENO), STDIN_FILENO);
	close(run.fds[1]);
	run.fds[0] = input[0];
	run.fds[1] = STDIN_FILENO;
	ck_assert_ok(ctx_spawn(ctx_background(), &run.options, &run.process));
	dup2(saved, STDIN_FILENO);
	close(saved);
	close(input[0]);
	ck_assert_int_eq(write(input[1], "x", 1), 1);
	expect_bytes(&run, 'x', 1);
	close(input[1]);
	ck_assert_int_eq(wait_for(&run).status, 0);
	expect_gone(&run);
	finish(&run);
}
END_TEST

START_TEST(program_has_its_three_descriptors_and_no_others)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;
	char count = 0;

	start(ctx, &run, "fds", 0, WAY(_i));
	ck_assert_int_eq(read(run.output, &count, 1), 1);
	/* Besides these it has what this process was started with and did not mark: the harness tells. */
	int inherited = 0;
	for (int fd = 3; fd < 200; fd++) {
		int flags = fcntl(fd, F_GETFD);
		inherited += flags >= 0 && !(flags & FD_CLOEXEC);
	}
	ck_assert_int_eq(count, 3 + inherited);
	wait_for(&run);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

static void handle(int signo)
{
	(void)signo;
}

START_TEST(program_has_no_mask_and_what_was_ignored)
{
	sigset_t blocked;
	struct run run;
	char output[64], expected[] = {'m', SIGPIPE, SIGUSR2, '.', '\0'};

	/* Without what the surroundings ignore. */
	for (int signo = 1; signo < 32; signo++)
		if (signo != SIGKILL && signo != SIGSTOP)
			signal(signo, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGHUP, handle);
	sigfillset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
	start(ctx_background(), &run, "signals", 0, WAY(_i));
	sigemptyset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
	output_of(&run, output, sizeof(output));
	/* By number: 12 before 13 on all but a few machines. */
	if (SIGUSR2 < SIGPIPE)
		expected[1] = SIGUSR2, expected[2] = SIGPIPE;
	ck_assert_str_eq(output, expected);
	ck_assert_int_eq(wait_for(&run).status, 0);
	finish(&run);
}
END_TEST

START_TEST(group_is_the_callers_or_its_own)
{
	struct run run;

	start(ctx_background(), &run, "stay", 0, 0);
	ck_assert_int_eq(getpgid(ctx_process_pid(run.process)), getpgrp());
	ck_assert_int_ne(getpgid(keeper_of(&run)), getpgrp());
	finish(&run);
	start(ctx_background(), &run, "stay", 0, CTX_SPAWN_NEW_GROUP);
	ck_assert_int_eq(getpgid(ctx_process_pid(run.process)), ctx_process_pid(run.process));
	ck_assert_int_eq(getsid(ctx_process_pid(run.process)), getsid(0));
	finish(&run);
}
END_TEST

/* ---- what the calling program does not notice */

static _Atomic int children_seen, forks_seen;

static void see_child(int signo)
{
	(void)signo;
	children_seen++;
}

static void see_fork(void)
{
	forks_seen++;
}

START_TEST(caller_sees_no_child)
{
	struct sigaction action = {.sa_handler = see_child, .sa_flags = SA_RESTART};
	struct run run;
	int status;

	sigaction(SIGCHLD, &action, NULL);
	pthread_atfork(see_fork, see_fork, see_fork);
	for (int ignored = 0; ignored < 2; ignored++) {
		start(ctx_background(), &run, "stay", 0, WAY(_i));
		expect_bytes(&run, 'r', 1);
		ck_assert_int_eq(waitpid(-1, &status, WNOHANG), -1);
		ck_assert_int_eq(errno, ECHILD);
		ck_assert_ok(ctx_process_signal(run.process, SIGTERM));
		ck_assert_int_eq(WTERMSIG(wait_for(&run).status), SIGTERM);
		ck_assert_int_eq(waitpid(-1, &status, WNOHANG), -1);
		finish(&run);
		signal(SIGCHLD, SIG_IGN);
	}
	ck_assert_int_eq(children_seen, 0);
	ck_assert_int_eq(forks_seen, 0);
	ck_assert_int_eq(prctl(PR_GET_CHILD_SUBREAPER, &status), 0);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* Even one who waits for all and every kind of child does not lose the result. */
START_TEST(caller_that_reaps_the_keeper_gets_the_status)
{
	struct run run;

	start(ctx_background(), &run, "exit", 4, WAY(_i));
	ck_assert_int_gt(waitpid(-1, NULL, __WALL), 0);
	ck_assert_int_eq(WEXITSTATUS(wait_for(&run).status), 4);
	finish(&run);
}
END_TEST

/* Its rings are shared memory, which would keep it, and a request in it with the request's file. */
START_TEST(keeper_holds_no_ring_of_the_caller)
{
	struct io_uring ring;
	struct run run;
	int pair[2];
	char byte;

	if (io_uring_queue_init(8, &ring, 0))
		test_skip("no io_uring here");
	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	io_uring_prep_recv(io_uring_get_sqe(&ring), pair[0], &byte, 1, 0);
	ck_assert_int_eq(io_uring_submit(&ring), 1);
	start(ctx_background(), &run, "stay", 0, WAY(_i));
	io_uring_queue_exit(&ring);
	close(pair[0]);
	struct pollfd pollfd = {.fd = pair[1], .events = POLLIN};
	ck_assert_int_eq(poll(&pollfd, 1, 10000), 1);
	close(pair[1]);
	finish(&run);
}
END_TEST

START_TEST(keeper_holds_nothing_of_the_caller)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;
	int pair[2], plain[2];
	char byte;

	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	ck_assert_ok(pipe2(plain, O_CLOEXEC));
	start(ctx, &run, "stay", 0, WAY(_i));
	expect_bytes(&run, 'r', 1);
	close(pair[0]);
	close(plain[1]);
	ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(read(plain[0], &byte, 1), 0);
	ck_assert_ok(ctx_cancel(ctx));
	/* The done pipe: hung up, not only readable. */
	struct pollfd pollfd = {.fd = ctx_done_fd(ctx), .events = 0};
	ck_assert_int_eq(poll(&pollfd, 1, 10000), 1);
	ck_assert_int_eq(pollfd.revents, POLLHUP);
	wait_for(&run);
	close(pair[1]);
	close(plain[0]);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

static int use_copy(void *data)
{
	struct run *run = data;
	struct ctx_exit how;
	int result = ctx_process_wait(ctx_background(), run->process, &how);

	ctx_process_free(run->process);
	return result == -ECHILD ? 0 : 1;
}

START_TEST(forked_child_has_no_hold_on_it)
{
	struct run run;

	start(ctx_background(), &run, "stay", 0, WAY(_i));
	expect_bytes(&run, 'r', 1);
	ck_assert_int_eq(test_in_child(use_copy, &run), 0);
	ck_assert_ok(ctx_process_signal(run.process, SIGUSR2));
	ck_assert_int_eq(WTERMSIG(wait_for(&run).status), SIGUSR2);
	finish(&run);
}
END_TEST

/* ---- who dies */

/*
 * A caller in a process of its own, with a program that runs. It holds no end of the program's pipe any more:
 * stopped before it has let go of that, it would pass for one of the tree.
 */
static pid_t fork_caller(struct run *run, uint64_t timeout_ns, unsigned flags)
{
	int begun[2];
	char byte;

	prepare(run, "daemons", 2);
	run->options.flags = flags;
	ck_assert_ok(pipe2(begun, O_CLOEXEC));
	pid_t pid = fork();
	if (!pid) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), timeout_ns);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (begin_run(ctx, run))
			_exit(1);
		/* A sleeper with copies of all its descriptors hides its death from whoever watches only
		 * these. */
		pid_t caller = getpid();
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(run->output);
			if (getppid() != caller || write(begun[1], "b", 1) != 1)
				_exit(1);
		}
		for (;;)
			pause();
	}
	close(run->fds[1]);
	close(begun[1]);
	ck_assert_int_eq(read(begun[0], &byte, 1), 1);
	close(begun[0]);
	return pid;
}

START_TEST(tree_ends_with_a_caller_that_is_killed)
{
	struct run run;
	pid_t pid = fork_caller(&run, HOUR, WAY(_i));
	int status;

	expect_bytes(&run, 'r', 3);
	ck_assert_int_le(count_cgroups_of(pid), 1);
	if (!_i && cgroup_works())
		ck_assert_int_eq(count_cgroups_of(pid), 1);
	ck_assert_ok(kill(pid, SIGKILL));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	expect_gone(&run);
	/* The keeper removes it a moment after the last process is gone. */
	ck_assert(test_until(has_no_cgroup, &pid));
	close(run.output);
}
END_TEST

START_TEST(deadline_is_kept_while_the_caller_is_stopped)
{
	struct run run;
	pid_t pid = fork_caller(&run, 1000 * MILLISECOND, WAY(_i));
	int status;

	expect_bytes(&run, 'r', 1);
	ck_assert_ok(kill(pid, SIGSTOP));
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	expect_gone(&run);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(run.output);
}
END_TEST

START_TEST(killed_keeper_takes_the_program_along)
{
	struct ctx_exit how;
	struct run run;

	start(ctx_background(), &run, "stubborn", 0, WAY(_i));
	expect_bytes(&run, 'r', 1);
	ck_assert_ok(kill(keeper_of(&run), SIGKILL));
	ck_assert_int_eq(ctx_process_wait(ctx_background(), run.process, &how), -EOWNERDEAD);
	expect_gone(&run);
	finish(&run);
}
END_TEST

/* ---- as an ordinary user */

static int run_as_nobody(void *data)
{
	(void)data;
	if (setgid(NOBODY) || setuid(NOBODY))
		return 2;
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;
	start(ctx, &run, "daemons", 3, 0);
	expect_bytes(&run, 'r', 4);
	ctx_cancel(ctx);
	struct ctx_exit how = wait_for(&run);
	expect_gone(&run);
	finish(&run);
	ctx_finish(ctx);
	return how.stopped && !how.killed ? 0 : 1;
}

/* All that the limit allows is taken by this process itself. */
static int spawn_at_the_limit(void *data)
{
	(void)data;
	struct rlimit none = {0, 0};
	char *argv[] = {"/bin/true", NULL}, words[300];
	struct ctx_spawn_options options = {.argv = argv};
	struct ctx_process *process;
	if (setrlimit(RLIMIT_NPROC, &none) || setgid(NOBODY) || setuid(NOBODY))
		return 2;
	unsigned before = test_count_fds();
	int result = ctx_spawn(ctx_background(), &options, &process);
	if (result != -EAGAIN)
		return 3;
	ctx_spawn_explain(result, &options, words, sizeof(words));
	if (!strstr(words, "ulimit -u") || waitpid(-1, NULL, __WALL) != -1)
		return 4;
	return test_count_fds() == before ? 0 : 5;
}

START_TEST(without_rights_on_cgroups_the_tree_ends_as_well)
{
	char directory[] = "/tmp/check_spawn.XXXXXX", command[3 * PATH_MAX];

	if (getuid())
		test_skip("needs root to become somebody else");
	/* Where the tree is others may not look. */
	test_path_beside("roles", roles);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(command, sizeof(command), "cp '%s' %s/roles && chmod -R a+rx %s", roles, directory,
		 directory);
	ck_assert_ok(system(command));
	snprintf(roles, sizeof(roles), "%s/roles", directory);
	int result = test_in_child(run_as_nobody, NULL);
	unlink(roles);
	rmdir(directory);
	ck_assert_ok(result);
}
END_TEST

START_TEST(full_process_table_is_told_and_leaves_nothing)
{
	if (getuid())
		test_skip("needs root to become somebody else");
	ck_assert_int_eq(test_in_child(spawn_at_the_limit, NULL), 0);
	ck_assert_int_le(count_cgroups(), 0);
}
END_TEST

START_TEST(lack_of_descriptors_is_told_and_leaves_nothing)
{
	struct rlimit saved, few;
	char *argv[] = {"/bin/true", NULL};
	struct ctx_spawn_options options = {.argv = argv};
	struct ctx_process *process = NULL;
	unsigned before = test_count_fds();
	int result = -EMFILE;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &saved));
	for (rlim_t most = 3; result == -EMFILE && most < 300; most++) {
		few = (struct rlimit){most, saved.rlim_max};
		ck_assert_ok(setrlimit(RLIMIT_NOFILE, &few));
		result = ctx_spawn(ctx_background(), &options, &process);
	}
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &saved));
	ck_assert_ok(result);
	ck_assert_ok(ctx_process_wait(ctx_background(), process, NULL));
	ctx_process_free(process);
	ck_assert_uint_eq(test_count_fds(), before);
	ck_assert_int_le(count_cgroups(), 0);
}
END_TEST

/* ---- cgroups */

START_TEST(cgroup_is_removed_with_those_made_below_it)
{
	struct cgroup cgroup;
	char path[200];

	cgroup_make(&cgroup);
	if (cgroup.fd < 0)
		test_skip("no cgroup can be made here");
	static const char *const below[] = {"a", "a/b", "a/b/c", "a/d", "e"};
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", cgroup.name, below[i]);
		ck_assert_ok(mkdirat(cgroup.parent_fd, path, 0755));
	}
	ck_assert_ok(cgroup_kill(&cgroup));
	ck_assert_ok(cgroup_remove(&cgroup));
	ck_assert_int_eq(faccessat(cgroup.parent_fd, cgroup.name, F_OK, 0), -1);
	cgroup_close(&cgroup);
}
END_TEST

static int make_one_and_die(void *data)
{
	struct cgroup cgroup;

	cgroup_make(&cgroup);
	if (data)
		cgroup_remove(&cgroup);
	return cgroup.fd < 0;
}

START_TEST(cgroup_that_the_dead_have_left_is_removed_by_the_next)
{
	int left = count_cgroups_of(-1);

	if (left < 0)
		test_skip("no cgroup can be made here");
	pid_t pid = fork();
	if (pid == 0)
		_exit(make_one_and_die(NULL));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(count_cgroups_of(pid), 1);
	ck_assert_int_eq(test_in_child(make_one_and_die, &left), 0);
	ck_assert_int_eq(count_cgroups_of(pid), 0);
}
END_TEST

START_TEST(program_runs_in_a_cgroup_of_its_own)
{
	char path[64], line[300] = "";
	struct run run;

	if (!cgroup_works())
		test_skip("no cgroup can be made here");
	start(ctx_background(), &run, "stay", 0, 0);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)ctx_process_pid(run.process));
	FILE *file = fopen(path, "re");
	while (fgets(line, sizeof(line), file) && strncmp(line, "0::", 3))
		;
	fclose(file);
	ck_assert_ptr_nonnull(strstr(line, "/ctxring-"));
	ck_assert_int_eq(count_cgroups(), 1);
	finish(&run);
	ck_assert_int_eq(count_cgroups(), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("spawn");
	TCase *end = test_case(suite, "end"), *beginning = test_case(suite, "start");
	TCase *caller = test_case(suite, "caller"), *rights = test_case(suite, "rights");

	ON_EACH_WAY(end, status_of_a_program_comes_back);
	ON_EACH_WAY(end, end_of_the_context_reaches_grandchildren_in_sessions_of_their_own);
	ON_EACH_WAY(end, who_ignores_the_signal_is_killed_after_the_grace);
	ON_EACH_WAY(end, deadline_ends_a_program_with_its_cause);
	ON_EACH_WAY(end, deadline_moved_later_is_obeyed);
	ON_EACH_WAY(end, stopped_program_ends_by_the_first_signal);
	ON_EACH_WAY(end, what_a_program_leaves_behind_is_counted_and_ended);
	ON_EACH_WAY(end, long_line_of_parents_ends_by_the_first_signal);
	ON_EACH_WAY(end, process_without_its_first_thread_is_ended);
	ON_EACH_WAY(end, what_a_handler_starts_to_clean_up_is_not_disturbed);
	ON_EACH_WAY(end, storm_of_forks_is_ended);
	ON_EACH_WAY(end, free_kills_at_once);
	ON_EACH_WAY(end, wait_is_bounded_by_its_own_context);
	ON_EACH_WAY(end, usage_of_the_tree_comes_back);
	ON_EACH_WAY(end, fifty_at_once_end_with_their_parent);
	tcase_add_test(beginning, what_cannot_be_executed_is_told);
	tcase_add_test(beginning, too_many_arguments_are_told);
	tcase_add_test(beginning, misuse_is_refused);
	tcase_add_loop_test(beginning, directory_environment_and_path_are_the_programs, 0, 2);
	tcase_add_test(beginning, descriptors_may_be_given_in_any_order);
	ON_EACH_WAY(beginning, program_has_its_three_descriptors_and_no_others);
	ON_EACH_WAY(beginning, program_has_no_mask_and_what_was_ignored);
	tcase_add_test(beginning, group_is_the_callers_or_its_own);
	ON_EACH_WAY(caller, caller_sees_no_child);
	ON_EACH_WAY(caller, caller_that_reaps_the_keeper_gets_the_status);
	ON_EACH_WAY(caller, keeper_holds_nothing_of_the_caller);
	ON_EACH_WAY(caller, keeper_holds_no_ring_of_the_caller);
	ON_EACH_WAY(caller, forked_child_has_no_hold_on_it);
	ON_EACH_WAY(caller, tree_ends_with_a_caller_that_is_killed);
	ON_EACH_WAY(caller, deadline_is_kept_while_the_caller_is_stopped);
	ON_EACH_WAY(caller, killed_keeper_takes_the_program_along);
	tcase_add_test(rights, without_rights_on_cgroups_the_tree_ends_as_well);
	tcase_add_test(rights, full_process_table_is_told_and_leaves_nothing);
	tcase_add_test(rights, lack_of_descriptors_is_told_and_leaves_nothing);
	if (feature_allowed(FEATURE_CGROUP_KILL)) {
		tcase_add_test(rights, cgroup_is_removed_with_those_made_below_it);
		tcase_add_test(rights, cgroup_that_the_dead_have_left_is_removed_by_the_next);
		tcase_add_test(rights, program_runs_in_a_cgroup_of_its_own);
	}
	return suite;
}
