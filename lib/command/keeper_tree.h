/* SPDX-License-Identifier: MIT */
/*
 * The processes below the keeper, found by the parents that /proc names, and signals to them.
 *
 * A process is signalled by a pidfd. After opening it, the whole line of its parents is read again, and has
 * to be as before: so a number that another process has got in between is never hit. All that a process
 * leaves behind stays below the keeper, which is a subreaper, so what was once found to be below it is so for
 * good.
 */
#ifndef CTX_KEEPER_TREE_H
#define CTX_KEEPER_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tree_process {
	pid_t pid, parent;
	bool zombie, keeper; /* keeper: of another ctx_spawn in the tree; it ends what is below it */
	bool fresh;	     /* the last look did not show it */
	bool signalled;
	uint64_t started; /* start time; with pid, the identity of the process */
};

struct tree {
	pid_t top; /* the keeper itself */
	void (*reap)(struct tree *tree);
	int proc_fd;	/* -1: there is no usable /proc */
	unsigned count; /* of now[] */
	unsigned dead;
	/* Processes that the last round could not signal, because a filter forbids pidfds. */
	unsigned unreached;
	struct tree_process *now, *before;
};

/*
 * Begins a tree below the calling process. reap is called when many children of that process wait to be
 * reaped. 0; -ENOMEM; or what getpid(2) says where a filter forbids it.
 */
int tree_open(struct tree *tree, void (*reap)(struct tree *tree));

/*
 * Opens /proc; to be called before the functions below. Without a usable /proc these work and find nothing.
 * 0; -EPERM or -ENOSYS with the name of the system call that a filter forbids.
 */
int tree_find_processes(struct tree *tree, const char **ret_call);

/* Counts the running processes below the top, without keepers. */
unsigned tree_count(struct tree *tree);

/*
 * Sends signo to all processes below the top, then SIGCONT. Processes that are forked off meanwhile are
 * signalled as well, as far as they can be met. But those whose parent has had the signal before are left
 * alone, because most likely the parent started them to clean up. SIGKILL goes to all, also to keepers and
 * what is below them.
 *
 * Where pidfds are forbidden, only the children of the top are signalled: their numbers are not given to
 * others while they are not reaped. What is below them gets the signal from tree_signal_rest, when it has
 * become a child of the top.
 */
void tree_signal(struct tree *tree, int signo);

/* Signals those that had no signal by the last tree_signal. */
void tree_signal_rest(struct tree *tree, int signo);

#endif
