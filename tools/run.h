/* SPDX-License-Identifier: MIT */
/* ctxtool run: a command under a context. Called as timeout, it does what timeout(1) does. */
#ifndef TOOL_RUN_H
#define TOOL_RUN_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctxring.h"

/* timeout(1)'s */
enum run_exit {
	RUN_DEADLINE = 124,
	RUN_TROUBLE = 125, /* of run itself: usage, no process, no memory */
	RUN_NOT_EXECUTABLE = 126,
	RUN_NOT_FOUND = 127,
	RUN_KILLED = 137,
	RUN_CANCELLED = 143,
};

struct run_options {
	const char *program; /* what it is called */
	bool as_timeout;     /* called as timeout */
	uint64_t timeout_ns; /* 0: none */
	uint64_t grace_ns;   /* CTX_FOREVER: no SIGKILL */
	bool grace_given;    /* by an option */
	int signal;	     /* 0: none */
	const char *label;
	FILE *report; /* NULL: none */
	bool json, no_cgroup, foreground, preserve_status, verbose;
	bool is_number; /* the command begins as a duration does, and might have been meant as one */
	char **command;
};

/* -1: go on; else the exit code. */
int run_parse(struct run_options *options, int argc, char **argv);

/* As timeout(1) takes them. argv[0] is its name. */
int run_parse_timeout(struct run_options *options, int argc, char **argv);

/* What happened to the command. */
struct run_outcome {
	int start_error; /* negative errno: it was not started */
	pid_t pid;
	struct ctx_exit how;
	int error;	/* why it was stopped, as ctx_err; 0: it was not */
	bool by_signal; /* SIGTERM stopped it: it ends as the command does */
	uint64_t started_ns, ended_ns;
	int code; /* of ctxtool's exit */
};

struct run {
	struct run_options options;
	struct ctx_context *outer, *ctx; /* outer: NULL outside of another run */
	struct ctx_process *process;
	struct ctxd_client *client;
	bool frugal; /* few descriptors are left */
	struct run_outcome outcome;

	sigset_t heard, inherited; /* signals that are passed on; the mask from before */
	pthread_mutex_t lock;	   /* of the rest, and of the process while signals are heard */
	bool over;		   /* signals are passed on no more */
	bool alarmed;		   /* SIGALRM ended it */
	bool terminated;	   /* SIGTERM ended it */
	uint64_t kill_ns;	   /* SIGKILL after a signal that was passed on; CTX_FOREVER: none */
	_Atomic bool told;	   /* --verbose: of the first signal */
	struct ctx_callback on_end;
	uint64_t on_end_id;
};

/* Blocks those that are to be heard. 0 or -errno. */
int run_listen(struct run *run);

/* Passes on what came while the command was being started, and whatever comes from now on. 0 or -errno. */
int run_pass_signals(struct run *run);

/* The end of that, once the command has ended. */
void run_stop_signals(struct run *run);

/* As timeout(1) has one, for itself and the command, which is signalled as a whole. */
static inline bool run_has_group(const struct run_options *options)
{
	return options->as_timeout && !options->foreground;
}

/* "sending signal ..." of the option --verbose. */
void run_say_signal(const struct run *run, int signo);

/* One line, as text or JSON, to options->report. Returns false when that could not be written. */
bool run_report(const struct run_options *options, const struct run_outcome *outcome);

#endif
