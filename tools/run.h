/* SPDX-License-Identifier: MIT */
/*
 * The parts of ctxtool run, which runs a command under a context. run.c runs it, run_options.c reads the
 * command line, run_signals.c passes signals on, run_report.c says how it ended. Called as timeout, ctxtool
 * does what timeout(1) does.
 */
#ifndef TOOL_RUN_H
#define TOOL_RUN_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctxring.h"

/* The exit codes of timeout(1), and one of our own. */
enum run_exit {
	RUN_DEADLINE = 124,
	RUN_TROUBLE = 125, /* the run itself failed: wrong usage, no process, no memory */
	RUN_NOT_EXECUTABLE = 126,
	RUN_NOT_FOUND = 127,
	RUN_KILLED = 137,
	RUN_CANCELLED = 143, /* the context was cancelled; timeout(1) has no such code */
};

struct run_options {
	const char *program; /* the name in messages */
	bool as_timeout;     /* ctxtool was called as timeout */
	uint64_t timeout_ns; /* 0: none */
	uint64_t grace_ns;   /* CTX_FOREVER: no SIGKILL */
	bool grace_given;    /* an option gave grace_ns */
	int signal;	     /* 0: none */
	const char *label;
	FILE *report; /* NULL: none */
	bool json, no_cgroup, foreground, preserve_status, verbose;
	bool is_number; /* the command begins as a duration does, and may have been meant as one */
	char **command;
};

/* Reads the command line of ctxtool run. -1: go on; else the exit code. */
int run_parse(struct run_options *options, int argc, char **argv);

/* Reads the command line of timeout(1); argv[0] is the name in messages. -1: go on; else the exit code. */
int run_parse_timeout(struct run_options *options, int argc, char **argv);

/* What happened to the command. */
struct run_outcome {
	int start_error; /* 0; or -errno: the command was not started, or could not be waited for */
	pid_t pid;
	struct ctx_exit how;
	int error;	/* why the run stopped the command, as ctx_err(3) says; 0: it did not */
	bool by_signal; /* SIGTERM to the run stopped the command, so the run ends as the command did */
	uint64_t started_ns, ended_ns;
	int code; /* the exit code of the run */
};

struct run {
	struct run_options options;
	struct ctx_context *outer; /* the context of the run that this one is in; NULL: it is in none */
	struct ctx_context *ctx;   /* the context of this run */
	struct ctx_process *process;
	struct ctxd_client *client;
	bool frugal; /* few descriptors are left: no table, no service, no cgroup */
	struct run_outcome outcome;

	sigset_t heard;	      /* the signals that the run takes */
	sigset_t inherited;   /* the signal mask that the run was started with */
	pthread_mutex_t lock; /* guards what follows, and process while signals are passed on */
	bool over;	      /* the command has ended: signals are passed on no more */
	bool alarmed;	      /* SIGALRM ended the run */
	bool terminated;      /* SIGTERM ended the run */
	uint64_t kill_ns;     /* time of the SIGKILL after a signal that was passed on; CTX_FOREVER: none */
	/* --verbose has named the first signal. Two threads call say_end(), which exchanges this. */
	_Atomic bool told;
	struct ctx_callback on_end;
	uint64_t on_end_id;
};

/* Blocks the signals that the run is to take. 0 or -errno. */
int run_listen(struct run *run);

/*
 * Passes on the signals that came while the command was being started, and starts the thread that passes on
 * all later ones. 0 or -errno.
 */
int run_pass_signals(struct run *run);

/* Stops passing signals on. To be called when the command has ended. */
void run_stop_signals(struct run *run);

/* Whether run and command have a process group of their own, to which signals go, as with timeout(1). */
static inline bool run_has_group(const struct run_options *options)
{
	return options->as_timeout && !options->foreground;
}

/* With --verbose, says on standard error that the signal is sent. */
void run_say_signal(const struct run *run, int signo);

/* Writes one line, text or JSON, to options->report, unless that is NULL. False: writing failed. */
bool run_report(const struct run_options *options, const struct run_outcome *outcome);

#endif
