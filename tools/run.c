/* SPDX-License-Identifier: MIT */
/* ctxtool run: makes the context, starts the command, waits for it, and ends as it did. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "monotonic.h"
#include "run.h"
#include "terminal.h"

/* How long to wait for a service that does not answer. The end of the command is not noticed meanwhile. */
#define SERVICE_TIMEOUT_NS 500000000u
/* With fewer free descriptors the run leaves out what it can do without. */
#define DESCRIPTORS_AMPLE 16

static int print_trouble(const struct run *run, const char *what, int error)
{
	bool refused = error == -EPERM || error == -ENOSYS;

	fprintf(stderr, "%s: %s: %s%s\n", run->options.program, what, strerror(-error),
		refused ? "; most likely a seccomp profile refuses a system call" : "");
	return RUN_TROUBLE;
}

/* ---- before the command */

static bool has_few_descriptors(void)
{
	int fds[DESCRIPTORS_AMPLE], count = 0;

	while (count < DESCRIPTORS_AMPLE && (fds[count] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
		count++;
	for (int i = 0; i < count; i++)
		close(fds[i]);
	return count < DESCRIPTORS_AMPLE;
}

/* Makes the context, below that of the run that this one is in. 0 or -errno. */
static int derive_context(struct run *run)
{
	const struct ctx_context *parent = ctx_background();
	uint64_t timeout_ns = run->options.timeout_ns;

	if (secure_getenv("CTXRING_CONTEXT")) {
		int result = ctx_from_environment(NULL, 0, "outer run", &run->outer);
		if (result == -EINVAL)
			fprintf(stderr, "%s: $CTXRING_CONTEXT is not understood and is ignored\n",
				run->options.program);
		else if (result)
			return result;
		if (run->outer)
			parent = run->outer;
	}
	return timeout_ns ? ctx_with_timeout(parent, timeout_ns, run->options.label, &run->ctx)
			  : ctx_with_cancel(parent, run->options.label, &run->ctx);
}

/*
 * Makes the context. Where few descriptors are left it has no table, which would take one. The environment of
 * the command stays as it was.
 */
static int make_context(struct run *run)
{
	const char *value = getenv("CTXRING_TABLE");
	char *before = value ? strdup(value) : NULL;

	if (run->frugal)
		setenv("CTXRING_TABLE", "0", 1);
	int result = derive_context(run);
	if (run->frugal && before)
		setenv("CTXRING_TABLE", before, 1);
	else if (run->frugal)
		unsetenv("CTXRING_TABLE");
	free(before);
	return result;
}

/*
 * Has SIGCONT sent to this process at the deadline. A command that reads from a terminal in the background is
 * stopped, and so is this process, which is in its group. The keeper ends the command at the deadline all the
 * same; this process then goes on to report it.
 */
static void continue_at_deadline(const struct run *run)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
	struct itimerspec when = {.it_interval = {.tv_sec = 1}};
	uint64_t deadline_ns = ctx_deadline_ns(run->ctx);
	timer_t timer;

	if (deadline_ns == CTX_FOREVER || run->options.as_timeout ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer))
		return;
	when.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u);
	when.it_value.tv_nsec = (long)(deadline_ns % 1000000000u);
	timer_settime(timer, TIMER_ABSTIME, &when, NULL);
}

/* ---- the command */

static int code_of_start(int error)
{
	switch (error) {
	case -ENOENT:
		return RUN_NOT_FOUND;
	case -EAGAIN:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -ETOOMANYREFS:
		return RUN_TROUBLE;
	case -ETIME:
		return RUN_DEADLINE;
	case -ECANCELED:
		return RUN_CANCELLED;
	default:
		return RUN_NOT_EXECUTABLE;
	}
}

static unsigned spawn_flags(const struct run *run)
{
	const struct run_options *options = &run->options;
	unsigned flags = CTX_SPAWN_SHELL;

	if (options->no_cgroup || run->frugal)
		flags |= CTX_SPAWN_NO_CGROUP;
	if (options->as_timeout)
		flags |= CTX_SPAWN_ALONE;
	if (run_has_group(options))
		flags |= CTX_SPAWN_GROUP;
	if (!options->signal)
		flags |= CTX_SPAWN_NO_SIGNAL;
	return flags;
}

static void explain_start(struct run *run, const struct ctx_spawn_options *spawn)
{
	const struct run_options *options = &run->options;
	int error = run->outcome.start_error;
	char words[2 * ESCAPED_SIZE], shown[4 * sizeof(words)];

	if (options->is_number && error == -ENOENT) {
		run->outcome.code = RUN_TROUBLE;
		snprintf(words, sizeof(words), "invalid time interval '%s', and there is no such command",
			 options->command[0]);
	} else if (options->as_timeout) {
		snprintf(words, sizeof(words), "failed to run command '%s': %s", options->command[0],
			 strerror(-error));
	} else {
		ctx_spawn_explain(error, spawn, words, sizeof(words));
	}
	/* A report in text on standard error says the same. */
	if (options->json || options->report != stderr)
		fprintf(stderr, "%s: %s\n", options->program, escape(words, shown, sizeof(shown)));
}

static void start_command(struct run *run)
{
	struct ctx_spawn_options spawn = {
		.argv = run->options.command,
		.flags = spawn_flags(run),
		.signal = run->options.signal,
		.grace_ns = run->options.grace_ns,
		.mask = &run->inherited,
	};
	struct run_outcome *outcome = &run->outcome;

	outcome->started_ns = outcome->ended_ns = monotonic_ns();
	outcome->start_error = ctx_spawn(run->ctx, &spawn, &run->process);
	outcome->pid = ctx_process_pid(run->process);
	if (!outcome->start_error)
		return;
	outcome->code = code_of_start(outcome->start_error);
	outcome->error = ctx_err(run->ctx);
	if (outcome->error)
		ctx_get_cause(run->ctx, &outcome->how.cause);
	explain_start(run, &spawn);
}

/*
 * Connects to the service, after the command has started so that it does not wait. The client tries again
 * until there is a service.
 */
static void connect_service(struct run *run)
{
	struct ctxd_options service = {.flags = CTXD_PUBLISH | CTXD_PATIENT,
				       .timeout_ns = SERVICE_TIMEOUT_NS};

	if (run->frugal || ctxd_connect(&service, &run->client))
		run->client = NULL;
}

static int code_of_end(const struct run *run)
{
	const struct run_outcome *outcome = &run->outcome;
	int status = outcome->how.status;
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	if (!outcome->error || outcome->by_signal || run->options.preserve_status || killed)
		return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return outcome->error == -ETIME ? RUN_DEADLINE : RUN_CANCELLED;
}

static void await_command(struct run *run)
{
	struct run_outcome *outcome = &run->outcome;
	int result = ctx_process_wait(ctx_background(), run->process, &outcome->how);

	outcome->ended_ns = monotonic_ns();
	if (result)
		outcome->start_error = result;
	run_stop_signals(run);
	if (result) {
		outcome->code = print_trouble(run,
					      result == -EOWNERDEAD
						      ? "the process that watches the command was killed"
						      : "the command cannot be waited for",
					      result);
		return;
	}
	if (outcome->how.stopped) {
		outcome->error = run->alarmed ? -ETIME : ctx_err(run->ctx);
		outcome->by_signal = run->terminated;
	}
	if (outcome->how.killed && outcome->how.stopped && run->options.signal != SIGKILL)
		run_say_signal(run, SIGKILL);
	outcome->code = code_of_end(run);
}

/* ---- the end */

/* Ends this process by the signal that ended the command, so that a shell ends its script after Ctrl-C. */
static void die_alike(const struct run *run)
{
	const struct run_outcome *outcome = &run->outcome;
	sigset_t set;

	if (outcome->start_error || !WIFSIGNALED(outcome->how.status))
		return;
	if (outcome->error && !outcome->by_signal) {
		/* timeout(1) sends SIGKILL to its group and so to itself. */
		if (outcome->how.killed && run_has_group(&run->options))
			kill(0, SIGKILL);
		return;
	}
	/* The command has dumped core, if the signal does that: one core file is enough. */
	prctl(PR_SET_DUMPABLE, 0);
	int signo = WTERMSIG(outcome->how.status);
	signal(signo, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	raise(signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * Opens /dev/null in place of standard descriptors that are closed, so that no other file gets their numbers.
 * They are closed again in the command.
 */
static void fill_standard_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

/*
 * Makes this process the leader of a group, because signals go to the whole group, which must not be that of
 * the shell. 0, also for the leader of a session, which has a group and cannot make another; or -errno.
 */
static int lead_group(void)
{
	if (!setpgid(0, 0))
		return 0;
	int error = -errno;
	pid_t pid = getpid();
	return pid > 0 && getpgrp() == pid ? 0 : error;
}

static int run_command(struct run *run)
{
	run->frugal = has_few_descriptors();
	int result = run_listen(run);
	if (result)
		return print_trouble(run, "cannot listen to signals (rt_sigtimedwait)", result);
	/* The keeper, which is not to be in the group, is started later. */
	result = run_has_group(&run->options) ? lead_group() : 0;
	if (result)
		return print_trouble(run, "cannot make a process group", result);
	result = make_context(run);
	if (result)
		return print_trouble(run, "cannot make a context and its thread (clone3, mmap, mprotect)",
				     result);
	continue_at_deadline(run);
	start_command(run);
	if (run->process) {
		result = run_pass_signals(run);
		if (result)
			return print_trouble(run, "cannot start a thread", result);
		connect_service(run);
		await_command(run);
	}
	if (!run->outcome.start_error && WCOREDUMP(run->outcome.how.status))
		fprintf(stderr, "%s: the monitored command dumped core\n", run->options.program);
	bool reported = run_report(&run->options, &run->outcome);
	return reported || run->outcome.code ? run->outcome.code : RUN_TROUBLE;
}

static int run_with(int (*parse)(struct run_options *options, int argc, char **argv), int argc, char **argv)
{
	/* This is static because the thread that takes signals uses it until the process ends. */
	static struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER, .kill_ns = CTX_FOREVER};

	fill_standard_descriptors();
	int code = parse(&run.options, argc, argv);
	if (code >= 0)
		return code;
	code = run_command(&run);
	ctx_process_free(run.process);
	ctxd_close(run.client);
	ctx_finish(run.ctx);
	ctx_finish(run.outer);
	die_alike(&run);
	return code;
}

int run_run(int argc, char **argv)
{
	return run_with(run_parse, argc, argv);
}

int run_timeout(int argc, char **argv)
{
	return run_with(run_parse_timeout, argc, argv);
}
