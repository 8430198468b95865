/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long a service that does not answer may keep us from hearing signals. */
#define SERVICE_TIMEOUT_NS 500000000u

struct run {
	struct run_options options;
	struct ctx_context *outer, *ctx; /* outer: NULL outside of another run */
	struct ctx_process *process;
	struct ctxd_client *client;
	int signals; /* signalfd */
	struct run_outcome outcome;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int trouble(const char *what, int error)
{
	fprintf(stderr, "ctxtool run: %s: %s\n", what, strerror(-error));
	return RUN_TROUBLE;
}

/* ---- before the command */

/* Those that are passed on; what is ignored, as by nohup(1), stays so. */
static int listen_to_signals(void)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH};
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!sigaction(wanted[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&set, wanted[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Below the run that this one is in. */
static int make_context(struct run *run)
{
	const struct ctx_context *parent = ctx_background();
	uint64_t timeout_ns = run->options.timeout_ns;

	if (secure_getenv("CTXRING_CONTEXT")) {
		int result = ctx_from_environment(NULL, 0, "outer run", &run->outer);
		if (result == -EINVAL)
			fputs("ctxtool run: $CTXRING_CONTEXT is not understood, and ignored\n", stderr);
		else if (result)
			return result;
		if (run->outer)
			parent = run->outer;
	}
	return timeout_ns ? ctx_with_timeout(parent, timeout_ns, run->options.label, &run->ctx)
			  : ctx_with_cancel(parent, run->options.label, &run->ctx);
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
		return RUN_TROUBLE;
	case -ETIME:
		return RUN_DEADLINE;
	case -ECANCELED:
		return RUN_CANCELLED;
	default:
		return RUN_NOT_EXECUTABLE;
	}
}

static void start(struct run *run)
{
	struct ctx_spawn_options spawn = {
		.argv = run->options.command,
		.flags = run->options.no_cgroup ? CTX_SPAWN_NO_CGROUP : 0,
		.signal = run->options.signal,
		.grace_ns = run->options.grace_ns,
	};
	struct run_outcome *outcome = &run->outcome;
	char words[400];

	outcome->started_ns = outcome->ended_ns = now_ns();
	outcome->start_error = ctx_spawn(run->ctx, &spawn, &run->process);
	outcome->pid = ctx_process_pid(run->process);
	if (!outcome->start_error)
		return;
	outcome->code = code_of_start(outcome->start_error);
	outcome->error = ctx_err(run->ctx);
	if (outcome->error)
		ctx_get_cause(run->ctx, &outcome->how.cause);
	ctx_spawn_explain(outcome->start_error, &spawn, words, sizeof(words));
	/* A report says it as well. */
	if (run->options.json || run->options.report != stderr)
		fprintf(stderr, "ctxtool run: %s\n", words);
}

/* Only now, so that the command does not wait for it; where there is no service it goes on trying. */
static void publish(struct run *run)
{
	struct ctxd_options service = {.flags = CTXD_PUBLISH | CTXD_PATIENT,
				       .timeout_ns = SERVICE_TIMEOUT_NS};

	if (ctxd_connect(&service, &run->client))
		run->client = NULL;
}

static void pass_on(struct run *run, const struct signalfd_siginfo *info)
{
	int signo = (int)info->ssi_signo;

	/* Of the run around it, whose deadline is this one's: that is the cause, though its timer comes
	 * second. */
	if (signo == SIGTERM && !ctx_err(run->ctx) && ctx_deadline_ns(run->ctx) <= now_ns())
		return;
	if (signo != SIGTERM || ctx_cancel_cause(run->ctx, -ECANCELED, "SIGTERM from process %u, user %u",
						 info->ssi_pid, info->ssi_uid))
		ctx_process_signal(run->process, signo);
}

/* Those that a terminal sends to all of the foreground's group. */
static bool is_the_terminals(const struct run *run, const struct signalfd_siginfo *info)
{
	if (info->ssi_code != SI_KERNEL || getpgid(ctx_process_pid(run->process)) != getpgrp())
		return false;
	switch (info->ssi_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGHUP:
	case SIGTSTP:
	case SIGWINCH:
		return true;
	default:
		return false; /* of an alarm, for instance, that was set before */
	}
}

/*
 * A signal of the terminal's has reached the command as well, which is in the same group: unless it came
 * before there was a command. What came while that was being started is passed on, for better twice than
 * never.
 */
static void hear(struct run *run, bool starting)
{
	struct signalfd_siginfo info;

	while (read(run->signals, &info, sizeof(info)) == sizeof(info))
		if (starting || !is_the_terminals(run, &info))
			pass_on(run, &info);
}

static void await_end(struct run *run)
{
	struct pollfd fds[] = {{.fd = ctx_process_fd(run->process), .events = POLLIN},
			       {.fd = run->signals, .events = POLLIN}};

	while (!fds[0].revents)
		if (poll(fds, 2, -1) > 0)
			hear(run, false);
}

static int code_of_end(const struct run_outcome *outcome)
{
	int status = outcome->how.status;

	if (outcome->error) {
		if (outcome->how.killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			return RUN_KILLED;
		return outcome->error == -ETIME ? RUN_DEADLINE : RUN_CANCELLED;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void collect(struct run *run)
{
	struct run_outcome *outcome = &run->outcome;
	int result = ctx_process_wait(ctx_background(), run->process, &outcome->how);

	outcome->ended_ns = now_ns();
	if (result) {
		outcome->start_error = result;
		outcome->code = trouble("the process that watches the command was killed", result);
		return;
	}
	if (outcome->how.stopped)
		outcome->error = ctx_err(run->ctx);
	outcome->code = code_of_end(outcome);
}

/* ---- the end */

/* As the command: so that a shell sees that Ctrl-C ended it, and ends its script too. */
static void die_alike(const struct run_outcome *outcome)
{
	sigset_t set;
	int signo = WTERMSIG(outcome->how.status);

	if (outcome->start_error || outcome->error || !WIFSIGNALED(outcome->how.status))
		return;
	/* One core is enough. */
	prctl(PR_SET_DUMPABLE, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	raise(signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* What is opened here must not become the command's input or output because those were closed. */
static void fill_standard_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

int run_run(int argc, char **argv)
{
	struct run run = {0};
	fill_standard_descriptors();
	int code = run_parse(&run.options, argc, argv);

	if (code >= 0)
		return code;
	run.signals = listen_to_signals();
	if (run.signals < 0)
		return trouble("cannot listen to signals", run.signals);
	int result = make_context(&run);
	if (result)
		return trouble("cannot make a context", result);
	start(&run);
	if (run.process) {
		hear(&run, true);
		publish(&run);
		await_end(&run);
		collect(&run);
	}
	code = run.outcome.code;
	if (!run_report(&run.options, &run.outcome) && code == 0)
		code = RUN_TROUBLE;
	ctx_process_free(run.process);
	ctxd_close(run.client);
	ctx_finish(run.ctx);
	ctx_finish(run.outer);
	die_alike(&run.outcome);
	return code;
}
