/* SPDX-License-Identifier: MIT */
/*
 * Passes signals to ctxtool run on to its command. The signals are blocked, and a thread takes them by
 * sigtimedwait(2), which needs no descriptor.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "monotonic.h"
#include "run.h"
#include "signals.h"
#include "terminal.h"

#define NS_PER_SECOND 1000000000u

/* Adds the signals that end a program by default and are not faults of its own, and SIGWINCH. */
static void add_passed_signals(sigset_t *set)
{
	static const int wanted[] = {SIGTERM, SIGINT,  SIGQUIT,	 SIGHUP,   SIGUSR1, SIGUSR2,
				     SIGPIPE, SIGXCPU, SIGXFSZ,	 SIGPOLL,  SIGPWR,  SIGSTKFLT,
				     SIGPROF, SIGSYS,  SIGWINCH, SIGVTALRM};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(set, wanted[i]);
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		sigaddset(set, signo);
}

/*
 * Signals that are ignored, as SIGHUP is by nohup(1), or blocked are not taken and stay so. Two are taken
 * also when they are ignored: the signal that ends the command, and SIGALRM, which is the end of the time for
 * timeout(1).
 */
int run_listen(struct run *run)
{
	struct sigaction action;
	sigset_t blocked;

	sigemptyset(&run->heard);
	add_passed_signals(&run->heard);
	pthread_sigmask(SIG_BLOCK, NULL, &run->inherited);
	for (int signo = 1; signo <= SIGRTMAX; signo++) {
		bool ignored = !sigaction(signo, NULL, &action) && action.sa_handler == SIG_IGN;
		if (signo == run->options.signal)
			sigaddset(&run->heard, signo);
		else if (ignored)
			sigdelset(&run->heard, signo);
		if (sigismember(&run->inherited, signo) == 1)
			sigdelset(&run->heard, signo);
	}
	sigaddset(&run->heard, SIGALRM);
	blocked = run->heard;
	/* timeout(1) is not stopped together with a command that reads from a terminal in the background. */
	if (run->options.as_timeout) {
		sigaddset(&blocked, SIGTTIN);
		sigaddset(&blocked, SIGTTOU);
	}
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	struct timespec now = {0};
	sigset_t none;
	sigemptyset(&none);
	return sigtimedwait(&none, NULL, &now) < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

/* ---- sending signals to the command */

void run_say_signal(const struct run *run, int signo)
{
	char name[SIGNAL_NAME_SIZE], command[ESCAPED_SIZE];

	if (run->options.verbose)
		fprintf(stderr, "%s: sending signal %s to command '%s'\n", run->options.program,
			signal_name(signo, name), escape(run->options.command[0], command, sizeof(command)));
}

/*
 * Sends the signal to the command, and also to the group, if there is one. This process is in that group: it
 * ignores the signal, and hear_signal() leaves out what this process sent.
 */
static void send_signal(struct run *run, int signo)
{
	bool group = run_has_group(&run->options) && signo != SIGKILL;

	run_say_signal(run, signo);
	if (!group || getpgid(ctx_process_pid(run->process)) != getpgrp())
		ctx_process_signal(run->process, signo);
	if (!group)
		return;
	signal(signo, SIG_IGN);
	kill(0, signo);
	if (signo != SIGCONT)
		kill(0, SIGCONT);
}

static void say_end(struct run *run)
{
	if (!atomic_exchange(&run->told, true))
		run_say_signal(run, run->options.signal);
}

static void context_ended(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	say_end(data);
}

/* ---- taking signals */

static bool end_run(struct run *run, int error, const siginfo_t *info)
{
	char name[SIGNAL_NAME_SIZE];

	return !ctx_cancel_cause(run->ctx, error, "SIG%s from process %d, user %u",
				 signal_name(info->si_signo, name), info->si_pid, info->si_uid);
}

static void pass_signal(struct run *run, const siginfo_t *info)
{
	int signo = info->si_signo;

	/*
	 * The outer run sends SIGTERM at its deadline, which is this one's too. The deadline is the cause,
	 * even if this run's timer comes second.
	 */
	if (signo == SIGTERM && !ctx_err(run->ctx) && ctx_deadline_ns(run->ctx) <= monotonic_ns())
		return;
	/* The keeper has sent this signal to the group. */
	if (signo == run->options.signal && run_has_group(&run->options) &&
	    (ctx_err(run->ctx) || ctx_deadline_ns(run->ctx) <= monotonic_ns()))
		return;
	if (signo == SIGALRM) {
		run->alarmed |= end_run(run, -ETIME, info);
		return;
	}
	if (signo == SIGTERM && !run->options.as_timeout && end_run(run, -ECANCELED, info)) {
		run->terminated = true;
		return;
	}
	send_signal(run, signo);
	bool ends = signo == SIGTERM || signo == SIGINT || signo == SIGQUIT || signo == SIGHUP;
	if ((ends || run->options.as_timeout) && run->options.grace_given &&
	    run->options.grace_ns != CTX_FOREVER && run->kill_ns == CTX_FOREVER)
		run->kill_ns = monotonic_ns() + run->options.grace_ns;
}

/* Whether a terminal sent the signal to all processes in the foreground, the command among them. */
static bool is_of_terminal(const struct run *run, const siginfo_t *info)
{
	if (info->si_code != SI_KERNEL || getpgid(ctx_process_pid(run->process)) != getpgrp())
		return false;
	switch (info->si_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGHUP:
	case SIGTSTP:
	case SIGWINCH:
		return true;
	default:
		return false; /* such as SIGALRM, of an alarm(2) that was set before execve(2) */
	}
}

/*
 * Handles a signal. One from the terminal is not passed on, because the command is in the same group and has
 * it already. While the command is being started it may not have it, so it is passed on: twice is better than
 * never.
 */
static void hear_signal(struct run *run, const siginfo_t *info, bool starting)
{
	/* The only timer of this process sends it SIGCONT. */
	bool is_own = info->si_code == SI_TIMER || (info->si_code <= 0 && info->si_pid == getpid());

	pthread_mutex_lock(&run->lock);
	if (!run->over && !is_own && (starting || !is_of_terminal(run, info)))
		pass_signal(run, info);
	pthread_mutex_unlock(&run->lock);
}

/* Sends the SIGKILL that is due. Returns false when the command has ended. */
static bool kill_when_due(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	bool over = run->over;
	if (!over && run->kill_ns <= monotonic_ns()) {
		run->kill_ns = CTX_FOREVER;
		send_signal(run, SIGKILL);
	}
	pthread_mutex_unlock(&run->lock);
	return !over;
}

/* Returns the time until kill_ns, but at most an hour: the caller asks again. */
static struct timespec time_to_kill(const struct run *run)
{
	uint64_t now = monotonic_ns(), left = run->kill_ns > now ? run->kill_ns - now : 0;

	if (left > 3600ull * NS_PER_SECOND)
		left = 3600ull * NS_PER_SECOND;
	return (struct timespec){.tv_sec = (time_t)(left / NS_PER_SECOND),
				 .tv_nsec = (long)(left % NS_PER_SECOND)};
}

/* The thread that passes signals on. It alone writes kill_ns, so it reads that without the lock. */
static void *pass_signals(void *data)
{
	struct run *run = data;
	siginfo_t info;

	do {
		struct timespec wait = time_to_kill(run);
		if (sigtimedwait(&run->heard, &info, &wait) > 0)
			hear_signal(run, &info, false);
	} while (kill_when_due(run));
	return NULL;
}

int run_pass_signals(struct run *run)
{
	struct timespec now = {0};
	siginfo_t info;
	pthread_t thread;

	while (sigtimedwait(&run->heard, &info, &now) > 0)
		hear_signal(run, &info, true);
	int result = -pthread_create(&thread, NULL, pass_signals, run);
	if (result)
		return result;
	pthread_detach(thread);
	/* Without the callback run_stop_signals() names the signal. */
	if (run->options.verbose)
		ctx_callback_add(run->ctx, &run->on_end, context_ended, run, &run->on_end_id);
	return 0;
}

void run_stop_signals(struct run *run)
{
	ctx_callback_stop_wait(run->on_end_id);
	pthread_mutex_lock(&run->lock);
	run->over = true;
	if (run->outcome.how.stopped && !run->outcome.start_error)
		say_end(run);
	pthread_mutex_unlock(&run->lock);
}
