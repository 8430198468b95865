/* SPDX-License-Identifier: MIT */
/*
 * Commands under a context. Measured are starting /bin/true and waiting for it, beside posix_spawn(3) and
 * waitpid(2); and ending a tree of 50 processes that have a session each, in a cgroup and without one, beside
 * a parent that knows each of them and calls kill(2). The time is from the cancel until all processes are
 * gone.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ctxring.h"

#include "bench.h"

#define TREE 50

extern char **environ;
static unsigned rounds;

/* ---- start and wait */

static double by_posix_spawn(void *data)
{
	char *argv[] = {"/bin/true", NULL};
	uint64_t before_ns = bench_now_ns();
	int status;
	pid_t pid;

	(void)data;
	for (unsigned i = 0; i < rounds; i++) {
		bench_check(-posix_spawn(&pid, argv[0], NULL, NULL, argv, environ), "posix_spawn");
		waitpid(pid, &status, 0);
	}
	return (double)(bench_now_ns() - before_ns) / rounds;
}

static double by_ctx_spawn(void *data)
{
	char *argv[] = {"/bin/true", NULL};
	struct ctx_spawn_options options = {.argv = argv, .flags = *(unsigned *)data};
	struct ctx_context *ctx;
	struct ctx_process *process;

	bench_check(ctx_with_cancel(ctx_background(), "spawn", &ctx), "context");
	uint64_t before_ns = bench_now_ns();
	for (unsigned i = 0; i < rounds; i++) {
		bench_check(ctx_spawn(ctx, &options, &process), "ctx_spawn");
		bench_check(ctx_process_wait(ctx_background(), process, NULL), "ctx_process_wait");
		ctx_process_free(process);
	}
	double result = (double)(bench_now_ns() - before_ns) / rounds;
	ctx_finish(ctx);
	return result;
}

/* ---- ending a tree */

static void await_ready(int fd)
{
	char byte;

	for (int i = 0; i < TREE; i++)
		if (read(fd, &byte, 1) != 1)
			bench_fail("the tree does not start");
}

static void stay(int fd)
{
	setsid();
	if (write(fd, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* What this program does with --tree: makes the processes, each of which writes a byte when it is ready. */
static int be_tree(void)
{
	for (int i = 0; i < TREE - 1; i++)
		if (!fork())
			stay(STDOUT_FILENO);
	stay(STDOUT_FILENO);
	return 1;
}

static double end_by_hand(void *data)
{
	pid_t pids[TREE];
	int ready[2];

	(void)data;
	bench_check(pipe2(ready, O_CLOEXEC), "pipe2");
	for (int i = 0; i < TREE; i++) {
		pids[i] = fork();
		if (!pids[i])
			stay(ready[1]);
	}
	await_ready(ready[0]);
	uint64_t before_ns = bench_now_ns();
	for (int i = 0; i < TREE; i++)
		kill(pids[i], SIGTERM);
	for (int i = 0; i < TREE; i++)
		waitpid(pids[i], NULL, 0);
	double result = (double)(bench_now_ns() - before_ns);
	close(ready[0]);
	close(ready[1]);
	return result;
}

struct ending {
	unsigned flags;
	int signal;
};

static double end_by_context(void *data)
{
	struct ending *ending = data;
	char *argv[] = {"/proc/self/exe", "--tree", NULL};
	int ready[2];
	bench_check(pipe2(ready, O_CLOEXEC), "pipe2");
	int fds[3] = {-1, ready[1], STDERR_FILENO};
	struct ctx_spawn_options options = {
		.argv = argv, .fds = fds, .flags = ending->flags, .signal = ending->signal};
	struct ctx_context *ctx;
	struct ctx_process *process;

	bench_check(ctx_with_cancel(ctx_background(), "tree", &ctx), "context");
	bench_check(ctx_spawn(ctx, &options, &process), "ctx_spawn");
	await_ready(ready[0]);
	uint64_t before_ns = bench_now_ns();
	ctx_cancel(ctx);
	bench_check(ctx_process_wait(ctx_background(), process, NULL), "ctx_process_wait");
	double result = (double)(bench_now_ns() - before_ns);
	ctx_process_free(process);
	ctx_finish(ctx);
	close(ready[0]);
	close(ready[1]);
	return result;
}

int main(int count, char **arguments)
{
	static unsigned plain = CTX_SPAWN_NO_CGROUP, cgroup = 0;
	static struct ending term = {CTX_SPAWN_NO_CGROUP, 0}, term_cgroup = {0, 0};
	static struct ending kill_plain = {CTX_SPAWN_NO_CGROUP, SIGKILL}, kill_cgroup = {0, SIGKILL};
	static struct bench_turns turns;

	if (count == 2 && !strcmp(arguments[1], "--tree"))
		return be_tree();
	bench_start("spawn", count, arguments);
	rounds = bench.quick ? 20 : 100;
	unsigned turn_count = bench.quick ? 3 : 7;
	if (bench_wanted("start and wait")) {
		bench_take_turns(&turns, turn_count, 3,
				 (bench_side[]){by_posix_spawn, by_ctx_spawn, by_ctx_spawn},
				 (void *[]){NULL, &plain, &cgroup});
		bench_report("posix_spawn and waitpid of true", bench_turns_median(&turns, 0) / 1e3, "us",
			     NAN, NULL, NULL);
		bench_report("ctx_spawn and wait, no cgroup", bench_turns_median(&turns, 1) / 1e3, "us",
			     bench_turns_ratio(&turns, 1, 0), "posix_spawn and waitpid", NULL);
		bench_report("ctx_spawn and wait, a cgroup if it can be", bench_turns_median(&turns, 2) / 1e3,
			     "us", bench_turns_ratio(&turns, 2, 0), "posix_spawn and waitpid", NULL);
	}
	if (bench_wanted("end a tree of 50")) {
		bench_take_turns(&turns, turn_count, 5,
				 (bench_side[]){end_by_hand, end_by_context, end_by_context, end_by_context,
						end_by_context},
				 (void *[]){NULL, &term, &term_cgroup, &kill_plain, &kill_cgroup});
		bench_report("50 children: kill and waitpid", bench_turns_median(&turns, 0) / 1e6, "ms", NAN,
			     NULL, NULL);
		const char *const names[] = {
			"tree of 50: SIGTERM, no cgroup", "tree of 50: SIGTERM, a cgroup",
			"tree of 50: SIGKILL, no cgroup", "tree of 50: SIGKILL, a cgroup"};
		for (unsigned i = 0; i < 4; i++)
			bench_report(names[i], bench_turns_median(&turns, i + 1) / 1e6, "ms",
				     bench_turns_ratio(&turns, i + 1, 0), "kill and waitpid of 50", NULL);
	}
	return 0;
}
