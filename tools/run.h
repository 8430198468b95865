/* SPDX-License-Identifier: MIT */
/* ctxtool run: a command under a context. */
#ifndef TOOL_RUN_H
#define TOOL_RUN_H

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
	uint64_t timeout_ns; /* 0: none */
	uint64_t grace_ns;   /* CTX_FOREVER: no SIGKILL */
	int signal;
	const char *label;
	FILE *report; /* NULL: none */
	bool json, no_cgroup;
	char **command;
};

/* -1: go on; else the exit code. */
int run_parse(struct run_options *options, int argc, char **argv);

/* What happened to the command. */
struct run_outcome {
	int start_error; /* negative errno: it was not started */
	pid_t pid;
	struct ctx_exit how;
	int error; /* ctx_err, when it was stopped */
	uint64_t started_ns, ended_ns;
	int code; /* of ctxtool's exit */
};

/* "TERM" */
const char *run_signal_name(int signo, char buffer[16]);

/* One line, as text or JSON, to options->report. Returns false when that could not be written. */
bool run_report(const struct run_options *options, const struct run_outcome *outcome);

int run_run(int argc, char **argv);

#endif
