/* SPDX-License-Identifier: MIT */
/* How commands under a context begin: what they are given, what is refused, what the calling program notices
 * of them, and what they need of an ordinary user's rights. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "support/spawned.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define NOBODY 65534

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
	ck_assert_int_eq(poll(&pollfd, 1, 30000), 1);
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
	ck_assert_int_eq(poll(&pollfd, 1, 30000), 1);
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

Suite *test_suite(void)
{
	Suite *suite = suite_create("spawn_start");
	TCase *beginning = test_case(suite, "start"), *caller = test_case(suite, "caller"),
	      *rights = test_case(suite, "rights");

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
	tcase_add_test(rights, without_rights_on_cgroups_the_tree_ends_as_well);
	tcase_add_test(rights, full_process_table_is_told_and_leaves_nothing);
	tcase_add_test(rights, lack_of_descriptors_is_told_and_leaves_nothing);
	return suite;
}
