/* SPDX-License-Identifier: MIT */
/*
 * How a program under a context is signalled and started, as the options say: the signal that ends it, its
 * mask, scripts without a first line, and programs of which what they have started is let alone. Programs are
 * scripts of sh; what they and their children write comes through one pipe, whose end says that nobody has it
 * any more.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

struct run {
	struct ctx_process *process;
	struct ctx_spawn_options options;
	char *argv[4];
	int fds[3];
	int output, hold; /* what it writes; the other end of its standard input */
};

static void prepare(struct run *run, const char *script)
{
	int output[2], input[2];

	*run = (struct run){.argv = {"/bin/sh", "-c", (char *)script, NULL}};
	ck_assert_ok(pipe2(output, O_CLOEXEC));
	ck_assert_ok(pipe2(input, O_CLOEXEC));
	run->output = output[0];
	run->hold = input[1];
	run->fds[0] = input[0];
	run->fds[1] = output[1];
	run->fds[2] = STDERR_FILENO;
	run->options = (struct ctx_spawn_options){.argv = run->argv, .fds = run->fds};
}

static int spawn(const struct ctx_context *ctx, struct run *run)
{
	int result = ctx_spawn(ctx, &run->options, &run->process);

	close(run->fds[0]);
	close(run->fds[1]);
	return result;
}

/* The next bytes that it writes. */
static void expect(const struct run *run, const char *text)
{
	char got[64] = "";
	size_t length = 0, wanted = strlen(text);
	struct pollfd pollfd = {.fd = run->output, .events = POLLIN};

	while (length < wanted && poll(&pollfd, 1, 30000) == 1) {
		ssize_t size = read(run->output, got + length, wanted - length);
		if (size <= 0)
			break;
		length += (size_t)size;
	}
	ck_assert_str_eq(got, text);
}

/* Nobody writes any more. */
static void expect_silence(const struct run *run)
{
	struct pollfd pollfd = {.fd = run->output, .events = POLLIN};
	char byte;

	ck_assert_int_eq(poll(&pollfd, 1, 30000), 1);
	ck_assert_int_eq(read(run->output, &byte, 1), 0);
}

static struct ctx_exit wait_for(struct run *run)
{
	struct ctx_exit how;

	ck_assert_ok(ctx_process_wait(ctx_background(), run->process, &how));
	return how;
}

static void finish(struct run *run)
{
	ctx_process_free(run->process);
	close(run->output);
	if (run->hold >= 0)
		close(run->hold);
}

static void let_go(struct run *run)
{
	close(run->hold);
	run->hold = -1;
}

/* Stays until the test lets go, and says that it lives. */
#define SURVIVOR "{ read line; echo alive; }"

START_TEST(signal_that_ends_it_has_its_default_action)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGUSR1};
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	for (int i = 0; i < 3; i++)
		signal(signals[i], SIG_IGN);
	prepare(&run, "echo up; exec sleep 30");
	run.options.signal = signals[_i];
	run.options.grace_ns = CTX_FOREVER;
	ck_assert_ok(spawn(ctx, &run));
	expect(&run, "up\n");
	ctx_cancel(ctx);
	struct ctx_exit how = wait_for(&run);
	ck_assert(WIFSIGNALED(how.status));
	ck_assert_int_eq(WTERMSIG(how.status), signals[_i]);
	ck_assert(!how.killed);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(other_signals_that_are_ignored_stay_so)
{
	struct run run;

	signal(SIGTERM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	prepare(&run, "kill -USR1 $$; kill -TERM $$; exit 3");
	run.options.signal = SIGINT;
	ck_assert_ok(spawn(ctx_background(), &run));
	ck_assert_int_eq(WEXITSTATUS(wait_for(&run).status), 3);
	finish(&run);
}
END_TEST

START_TEST(mask_is_the_given_one)
{
	sigset_t mask, own;
	struct run run;

	sigemptyset(&own);
	sigaddset(&own, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &own, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGRTMAX);
	prepare(&run, "exec sed -n 's/^SigBlk:.//p' /proc/self/status");
	run.options.mask = _i ? &mask : NULL;
	ck_assert_ok(spawn(ctx_background(), &run));
	expect(&run, _i ? "8000000000004800\n" : "0000000000000000\n");
	ck_assert_int_eq(wait_for(&run).status, 0);
	finish(&run);
	pthread_sigmask(SIG_UNBLOCK, &own, NULL);
}
END_TEST

START_TEST(without_a_first_signal_the_grace_begins_at_once)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "trap 'echo signal' TERM; echo up; read line; echo end; exec sleep 30");
	run.options.flags = CTX_SPAWN_NO_SIGNAL;
	run.options.grace_ns = _i ? 50 * MILLISECOND : CTX_FOREVER;
	ck_assert_ok(spawn(ctx, &run));
	expect(&run, "up\n");
	ctx_cancel(ctx);
	if (_i == 0) {
		let_go(&run);
		expect(&run, "end\n");
		ck_assert_ok(ctx_process_signal(run.process, SIGKILL));
	}
	struct ctx_exit how = wait_for(&run);
	ck_assert_int_eq(WTERMSIG(how.status), SIGKILL);
	if (_i == 1) /* else nothing shows when the keeper has heard of the end: perhaps after ours */
		ck_assert(how.stopped);
	ck_assert_int_eq(how.killed, _i);
	expect_silence(&run);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

/* ---- alone */

START_TEST(alone_leaves_what_it_started)
{
	static const unsigned flags[] = {CTX_SPAWN_ALONE,
					 CTX_SPAWN_ALONE | CTX_SPAWN_GROUP | CTX_SPAWN_NEW_GROUP};
	struct run run;

	prepare(&run, "exec 3<&0; " SURVIVOR " <&3 & exit 4");
	run.options.flags = flags[_i];
	ck_assert_ok(spawn(ctx_background(), &run));
	struct ctx_exit how = wait_for(&run);
	ck_assert_int_eq(WEXITSTATUS(how.status), 4);
	ck_assert_uint_eq(how.left_behind, 0);
	let_go(&run);
	expect(&run, "alive\n");
	expect_silence(&run);
	finish(&run);
}
END_TEST

START_TEST(end_of_the_context_reaches_it_alone_or_its_group)
{
	struct ctx_context *ctx = child_of(ctx_background());
	bool group = _i;
	struct run run;

	prepare(&run, "exec 3<&0; " SURVIVOR " <&3 & echo up; exec sleep 30");
	run.options.flags = CTX_SPAWN_ALONE | (group ? CTX_SPAWN_GROUP | CTX_SPAWN_NEW_GROUP : 0);
	ck_assert_ok(spawn(ctx, &run));
	expect(&run, "up\n");
	ctx_cancel(ctx);
	struct ctx_exit how = wait_for(&run);
	ck_assert_int_eq(WTERMSIG(how.status), SIGTERM);
	ck_assert(how.stopped && !how.killed);
	let_go(&run);
	if (!group)
		expect(&run, "alive\n");
	expect_silence(&run);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(group_that_it_has_left_is_not_signalled)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	/* In another group than the keeper has noted, which is the test's, and must not be hit. */
	prepare(&run, "exec setsid sh -c 'echo up; exec sleep 30'");
	run.options.flags = CTX_SPAWN_ALONE | CTX_SPAWN_GROUP;
	ck_assert_ok(spawn(ctx, &run));
	expect(&run, "up\n");
	ctx_cancel(ctx);
	ck_assert_int_eq(WTERMSIG(wait_for(&run).status), SIGTERM);
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(alone_who_ignores_the_signal_is_killed)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct run run;

	prepare(&run, "trap '' TERM; exec 3<&0; " SURVIVOR " <&3 & echo up; exec sleep 30");
	run.options.flags = CTX_SPAWN_ALONE;
	run.options.grace_ns = 10 * MILLISECOND;
	ck_assert_ok(spawn(ctx, &run));
	expect(&run, "up\n");
	ctx_cancel(ctx);
	struct ctx_exit how = wait_for(&run);
	ck_assert_int_eq(WTERMSIG(how.status), SIGKILL);
	ck_assert(how.killed);
	let_go(&run);
	expect(&run, "alive\n");
	finish(&run);
	ctx_finish(ctx);
}
END_TEST

START_TEST(group_without_alone_is_refused)
{
	struct run run;

	prepare(&run, "exit");
	run.options.flags = CTX_SPAWN_GROUP;
	ck_assert_int_eq(spawn(ctx_background(), &run), -EINVAL);
	finish(&run);
}
END_TEST

/* ---- scripts */

static void write_file(char *path, const char *text, mode_t mode)
{
	strcpy(path, "/tmp/ctxring-script.XXXXXX");
	int fd = mkostemp(path, O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_ok(fchmod(fd, mode));
	close(fd);
}

START_TEST(script_without_a_first_line_is_given_to_a_shell)
{
	char path[40];
	struct run run;

	write_file(path, "echo \"$# <$1> <$2>\"; exit 5\n", 0755);
	for (int shell = 0; shell < 2; shell++) {
		prepare(&run, "");
		/* The second round looks for it in $PATH, after a directory in which it is not. */
		run.argv[0] = _i ? strrchr(path, '/') + 1 : path;
		run.argv[1] = "a b";
		run.argv[2] = "c";
		ck_assert_ok(setenv("PATH", "/none:/tmp:/usr/bin:/bin", 1));
		run.options.flags = shell ? CTX_SPAWN_SHELL : 0;
		ck_assert_int_eq(spawn(ctx_background(), &run), shell ? 0 : -ENOEXEC);
		if (shell) {
			expect(&run, "2 <a b> <c>\n");
			ck_assert_int_eq(WEXITSTATUS(wait_for(&run).status), 5);
		}
		finish(&run);
	}
	unlink(path);
}
END_TEST

START_TEST(program_below_a_file_is_no_missing_one)
{
	struct run run;

	prepare(&run, "");
	run.argv[0] = "/etc/passwd/program";
	ck_assert_int_eq(spawn(ctx_background(), &run), -ENOTDIR);
	finish(&run);
}
END_TEST

/* ---- descriptors */

/* The limit under which so many numbers are free. */
static struct rlimit limit_with_free(unsigned wanted, const struct rlimit *before)
{
	rlim_t limit = 0;

	for (unsigned count = 0; count < wanted; limit++)
		count += fcntl((int)limit, F_GETFD) < 0;
	return (struct rlimit){limit, before->rlim_max};
}

START_TEST(three_descriptors_do)
{
	struct ctx_context *ctx = child_of(ctx_background());
	char *argv[] = {"/bin/sleep", "30", NULL};
	struct ctx_spawn_options options = {.argv = argv, .flags = CTX_SPAWN_NO_CGROUP};
	struct ctx_process *process;
	struct rlimit before, few;
	struct ctx_exit how;

	ck_assert_int_ge(ctx_done_fd(ctx), 0);
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &before));
	few = limit_with_free(3, &before);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &few));
	int result = ctx_spawn(ctx, &options, &process);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_ok(result);
	ctx_cancel(ctx);
	ck_assert_ok(ctx_process_wait(ctx_background(), process, &how));
	ck_assert(how.stopped && !how.killed);
	ctx_process_free(process);
	ctx_finish(ctx);
}
END_TEST

START_TEST(wait_without_an_end_takes_none)
{
	struct rlimit before, none;
	struct run run;

	prepare(&run, "exit 3");
	ck_assert_ok(spawn(ctx_background(), &run));
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &before));
	none = limit_with_free(1, &before);
	none.rlim_cur--;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &none));
	int result = ctx_process_wait(ctx_background(), run.process, NULL);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_ok(result);
	finish(&run);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("spawn_options");
	TCase *signals = test_case(suite, "signals"), *alone = test_case(suite, "alone");
	TCase *scripts = test_case(suite, "scripts"), *descriptors = test_case(suite, "descriptors");

	tcase_add_loop_test(signals, signal_that_ends_it_has_its_default_action, 0, 3);
	tcase_add_test(signals, other_signals_that_are_ignored_stay_so);
	tcase_add_loop_test(signals, mask_is_the_given_one, 0, 2);
	tcase_add_loop_test(signals, without_a_first_signal_the_grace_begins_at_once, 0, 2);
	tcase_add_loop_test(alone, alone_leaves_what_it_started, 0, 2);
	tcase_add_loop_test(alone, end_of_the_context_reaches_it_alone_or_its_group, 0, 2);
	tcase_add_test(alone, group_that_it_has_left_is_not_signalled);
	tcase_add_test(alone, alone_who_ignores_the_signal_is_killed);
	tcase_add_test(alone, group_without_alone_is_refused);
	tcase_add_loop_test(scripts, script_without_a_first_line_is_given_to_a_shell, 0, 2);
	tcase_add_test(scripts, program_below_a_file_is_no_missing_one);
	tcase_add_test(descriptors, three_descriptors_do);
	tcase_add_test(descriptors, wait_without_an_end_takes_none);
	return suite;
}
