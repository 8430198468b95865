/* SPDX-License-Identifier: MIT */
/*
 * lib/command: programs that end with a context, and all that they start with them. It may use base, core,
 * uring and propagate.
 *
 * The keeper: a small process between the calling program and a program that it starts.
 *
 * The keeper is a subreaper: a process of the program's tree that loses its parent becomes the keeper's
 * child. So the tree is gone when wait4(2) says that the keeper has no child. The keeper ends the tree when
 * the context's done pipe hangs up, when the deadline is over, when it is told to, or when the calling
 * process dies. The calling process's end of the socket hangs up then; where a forked child has a copy of
 * that end, the pidfd of the calling process tells it.
 *
 * The keeper is cloned by the bare system call and without an exit signal: no fork handler runs, the calling
 * program gets no SIGCHLD, and its waitpid(-1) does not see the keeper. The keeper has a copy of the
 * program's memory, in which other threads may have held any lock. So from keeper_start on it calls only
 * raw.h. Once the program was started it keeps open no descriptor of the calling program but those in its
 * setup.
 */
#ifndef CTX_KEEPER_H
#define CTX_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "cgroup.h"

/* All that the keeper needs, made before it is cloned. */
struct keeper_setup {
	char *const *paths; /* the files to try to execute, in order; ends with NULL */
	char *const *argv, *const *environment;
	char **script;	       /* argv for a shell, whose [1] becomes the file; NULL: no shell is tried */
	const char *directory; /* NULL: the caller's */
	const int *fds;	       /* three, or NULL for the caller's */
	bool new_group;
	bool alone;	  /* only the program itself is signalled and waited for */
	bool whole_group; /* with alone: the first signal goes to its process group */
	int signal;	  /* 0: no signal before SIGKILL */
	uint64_t mask;	  /* the program's signal mask, in the kernel's form */
	uint64_t grace_ns;
	uint64_t deadline_ns; /* CTX_FOREVER: there is none, or it may be moved */
	int control_fd;	      /* the keeper's end of the socket; it closes the caller's */
	int done_fd;	      /* -1: the context never ends */
	pid_t caller;
	struct cgroup cgroup;
};

/* The keeper's first message. If error is 0 a pidfd of the program comes with it. */
struct keeper_started {
	int error;
	pid_t pid;
	/* "", or the name of the system call that failed with that error because a filter forbids it. */
	char refused[24];
};

/* The keeper's last message, after which it exits. */
struct keeper_report {
	int status;
	bool stopped, killed;
	unsigned left_behind;
	struct rusage usage;
};

/*
 * A message to the keeper has one byte: KEEPER_KILL, to end the tree with SIGKILL now, or the number of a
 * signal for the program.
 */
#define KEEPER_KILL 255

/* Clones the keeper. All signals must be blocked. 0 or -errno. */
int keeper_start(const struct keeper_setup *setup, int *ret_pidfd);

/*
 * In the keeper: starts the program, in *cgroup if there is one; *cgroup becomes CGROUP_NONE if it cannot be
 * used. 0, with the program's pid and pidfd; or -errno, with the name of the system call if it was not
 * execve(2).
 */
int keeper_execute(const struct keeper_setup *setup, struct cgroup *cgroup, pid_t *ret_pid, int *ret_pidfd,
		   const char **ret_call);

/*
 * In the keeper, when it needs its setup no more: unmaps memory that is shared with the caller. It would keep
 * the files behind it open, an io_uring for example.
 */
void keeper_unmap_shared(int proc_fd);

#endif
