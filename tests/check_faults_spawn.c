/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation or system call of a command fails, for each k: the call tells it, or copes; nothing
 * leaks, no process and no cgroup is left, and afterwards the same can be done.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "support/contexts.h"
#include "support/faults.h"

TEST_MODES(TEST_FAULTS);

static int count_cgroups(void)
{
	struct cgroup cgroup;
	char prefix[32], path[64];
	int count = 0;

	snprintf(prefix, sizeof(prefix), "ctxring-%d-", (int)getpid());
	cgroup_make(&cgroup);
	if (cgroup.fd < 0)
		return 0;
	cgroup_remove(&cgroup);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", cgroup.parent_fd);
	DIR *directory = opendir(path);
	struct dirent *entry;
	while ((entry = readdir(directory)))
		count += !strncmp(entry->d_name, prefix, strlen(prefix));
	closedir(directory);
	cgroup_close(&cgroup);
	return count;
}

/* One that would stay: it has to be ended. */
static int go_through(const struct ctx_context *ctx, struct ctx_context *cancelled)
{
	char *argv[] = {"/bin/sleep", "1000", NULL};
	struct ctx_spawn_options options = {.argv = argv};
	struct ctx_process *process = NULL;
	struct ctx_exit how;
	int result = ctx_spawn(ctx, &options, &process);

	if (result) {
		ck_assert_ptr_null(process);
		return result;
	}
	ctx_process_signal(process, 0);
	ctx_cancel(cancelled);
	result = ctx_process_wait(ctx_background(), process, &how);
	if (!result) {
		ck_assert(how.stopped);
		ck_assert_int_eq(WTERMSIG(how.status), SIGTERM);
	}
	ctx_process_free(process);
	return result;
}

static void each_failure(uint64_t calls, bool for_ever)
{
	unsigned k = 1;

	for (;; k++) {
		struct ctx_context *ctx = child_of(ctx_background());
		unsigned fds = test_count_fds();
		faults_arm(calls, k, for_ever, 0);
		int result = go_through(ctx, ctx);
		unsigned failed = faults_disarm();
		ck_assert_msg(result == 0 || result == -ENOMEM || result == -EMFILE || result == -EAGAIN ||
				      result == -ECONNRESET || result == -EOWNERDEAD,
			      "call %u: %d is not what the contract says", k, result);
		ctx_finish(ctx);
		ck_assert_uint_eq(test_count_fds(), fds);
		ck_assert_int_eq(waitpid(-1, NULL, __WALL), -1);
		ck_assert_int_eq(count_cgroups(), 0);
		if (!failed)
			break;
	}
	ck_assert_uint_gt(k, 5);
	struct ctx_context *ctx = child_of(ctx_background());
	ck_assert_ok(go_through(ctx, ctx));
	ctx_finish(ctx);
}

START_TEST(each_call_that_fails_is_told_and_leaves_nothing)
{
	each_failure(FAULTS_RESOURCES, false);
}
END_TEST

START_TEST(calls_that_fail_for_ever_leave_nothing)
{
	each_failure(FAULTS_RESOURCES, true);
}
END_TEST

START_TEST(interrupted_waits_go_on)
{
	each_failure(FAULT(SYS_CALL_POLL) | FAULT(SYS_CALL_READ) | FAULT(SYS_CALL_OPENAT) |
			     FAULT(SYS_CALL_MKDIRAT) | FAULT(SYS_CALL_PIDFD_SIGNAL),
		     false);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults of commands");
	TCase *commands = test_case(suite, "commands");

	tcase_add_test(commands, each_call_that_fails_is_told_and_leaves_nothing);
	tcase_add_test(commands, calls_that_fail_for_ever_leave_nothing);
	tcase_add_test(commands, interrupted_waits_go_on);
	return suite;
}
