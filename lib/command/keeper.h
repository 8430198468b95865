/* SPDX-License-Identifier: MIT */
/*
 * lib/command: programs that end with a context, and all that they start with them. It may use base, core,
 * uring and propagate.
 *
 * The keeper: a small process between the calling program and a program that it starts.
 *
 * It is a subreaper, so that whatever of the program's tree loses its parent becomes the keeper's child, and
 * the tree is gone when wait4(2) says that the keeper has no child. It ends the tree when the context's done
 * pipe says so, when the deadline is over, when it is told to, or when the calling process dies: then its end
 * of the socket hangs up, and its pidfd says so even where a forked child has a copy of that end.
 *
 * It is cloned off by the system call itself, without an exit signal: no fork handler runs, the calling
 * program gets no SIGCHLD, and its waitpid(-1) does not see it. It has a copy of the program's memory, in
 * which other threads may have held any lock: from keeper_start on only raw.h is called. It holds no
 * descriptor of the program but those in its plan once the program was started.
 */
#ifndef CTX_KEEPER_H
#define CTX_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "cgroup.h"

/* All that it needs, made before it is cloned off. */
struct keeper_setup {
	char *const *paths; /* what to execute: the first that can be; ends with NULL */
	char *const *argv, *const *environment;
	char **script;	       /* argv for a shell, of which [1] is to be the file; NULL: none is to run it */
	const char *directory; /* NULL: as it is */
	const int *fds;	       /* three, or NULL */
	bool new_group;
	bool alone;	  /* nothing but the program is signalled and waited for */
	bool whole_group; /* then: the first signal goes to its process group */
	int signal;	  /* 0: none before SIGKILL */
	uint64_t mask;	  /* the program's, as the kernel has it */
	uint64_t grace_ns;
	uint64_t deadline_ns; /* CTX_FOREVER: none that the keeper may rely on */
	int control_fd;	      /* its end of the socket, the caller's is closed in it */
	int done_fd;	      /* -1: none */
	pid_t caller;
	struct cgroup cgroup;
};

/* Its first message. With error 0 a pidfd of the program goes with it. */
struct keeper_started {
	int error;
	pid_t pid;
	char refused[24]; /* "", or the system call that a filter forbids, with that error */
};

/* Its last one, after which it exits. */
struct keeper_report {
	int status;
	bool stopped, killed;
	unsigned left_behind;
	struct rusage usage;
};

/* A message to it, of one byte: end the tree with SIGKILL now; or the number of a signal, for the program. */
#define KEEPER_KILL 255

/* Clones it off. All signals must be blocked. 0, or -errno. */
int keeper_start(const struct keeper_setup *setup, int *ret_pidfd);

/* In the keeper: starts the program. 0 with its pid and pidfd, or -errno, with the name of the call when it
 * was not execve(2); entered in *cgroup if it is there. */
int keeper_execute(const struct keeper_setup *setup, struct cgroup *cgroup, pid_t *ret_pid, int *ret_pidfd,
		   const char **ret_call);

/* In the keeper, when it needs none of the plan any more: unmaps what is shared with the caller, which would
 * hold open the files behind it, an io_uring say. */
void keeper_unmap_shared(int proc_fd);

#endif
