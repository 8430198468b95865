/* SPDX-License-Identifier: MIT */
/* How commands under a context end: with the context, with their caller, with their keeper, and what they
 * leave behind. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "feature.h"
#include "support/spawned.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static bool has_no_cgroup(void *pid)
{
	return count_cgroups_of(*(pid_t *)pid) <= 0;
}

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
	bool has_begun = read(begun[0], &byte, 1) == 1;
	close(begun[0]);
	if (!has_begun)
		waitpid(pid, NULL, 0);
	return has_begun ? pid : 0;
}

START_TEST(tree_ends_with_a_caller_that_is_killed)
{
	struct run run;
	pid_t pid = fork_caller(&run, HOUR, WAY(_i));
	int status;

	ck_assert_int_gt(pid, 0);
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
	int status;
	pid_t pid;
	char byte;

	/* On a busy machine the deadline may come before the program. */
	for (uint64_t timeout_ns = NS_PER_SECOND / 2;; timeout_ns *= 2) {
		pid = fork_caller(&run, timeout_ns, WAY(_i));
		if (pid && read(run.output, &byte, 1) == 1)
			break;
		close(run.output);
		if (pid) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
		}
	}
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
	TCase *end = test_case(suite, "end"), *caller = test_case(suite, "caller"),
	      *rights = test_case(suite, "rights");

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
	ON_EACH_WAY(caller, tree_ends_with_a_caller_that_is_killed);
	ON_EACH_WAY(caller, deadline_is_kept_while_the_caller_is_stopped);
	ON_EACH_WAY(caller, killed_keeper_takes_the_program_along);
	if (feature_allowed(FEATURE_CGROUP_KILL)) {
		tcase_add_test(rights, cgroup_is_removed_with_those_made_below_it);
		tcase_add_test(rights, cgroup_that_the_dead_have_left_is_removed_by_the_next);
		tcase_add_test(rights, program_runs_in_a_cgroup_of_its_own);
	}
	return suite;
}
