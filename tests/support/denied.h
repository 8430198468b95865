/* SPDX-License-Identifier: MIT */
/*
 * Programs of which one system call is denied, as by a seccomp profile: which calls a program makes, and what
 * becomes of it and of all that it has started when one of them answers with an error.
 */
#ifndef TEST_DENIED_H
#define TEST_DENIED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DENIED_CALLS_MAX 160
#define DENIED_TOGETHER_MAX 4

/* One call, or some that stand for each other. */
struct denied_call {
	char name[48];
	unsigned count, numbers[DENIED_TOGETHER_MAX];
};

struct denied_run {
	/* What is to be denied, with which errno. 0: nothing. */
	const struct denied_call *call;
	int error;
	/* The program, and what is done to it while it runs: channel is the other end of its standard input
	 * and output, pidfd is readable when it has ended. */
	char *const *argv;
	void (*drive)(struct denied_run *run, pid_t pid, int channel, int pidfd);
	bool failed;	/* for drive: what it tried with the program was in vain */
	char place[64]; /* a directory for its files; $CTXD_SOCKET of the program is ctxd.sock in it */
	/* What became of it. */
	bool traced;	  /* to be traced into place/trace */
	bool is_left;	  /* something did not end, and was killed */
	int status;	  /* of the program, as of wait(2) */
	uint64_t cpu_ms;  /* of all that it has started as well */
	char words[2048]; /* on standard error */
};

/* Runs them in processes of their own, some at a time, and returns when nothing of them is left. */
void denied_run_all(struct denied_run *runs, unsigned count);

/* The calls of a program, and of what it forks off until that executes another program, after the loader has
 * done its work; how many. By number in *calls. */
unsigned denied_calls_of(struct denied_run *run, struct denied_call calls[DENIED_CALLS_MAX]);

/* Waits, bounded, until fd is readable or the program has ended: whether fd is. */
bool denied_await(int fd, int pidfd);

#endif
