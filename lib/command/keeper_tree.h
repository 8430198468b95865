/* SPDX-License-Identifier: MIT */
/*
 * The processes below the keeper, found through the parents that /proc names, and signals to them.
 *
 * Each is signalled by a pidfd that was opened before its whole line of parents was read again and found as
 * it was: a number that became another process's in between is never hit. All that a process leaves behind
 * stays below the keeper, which is a subreaper, so that what was found to be below it once is so for good.
 */
#ifndef CTX_KEEPER_TREE_H
#define CTX_KEEPER_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tree_process {
	pid_t pid, parent;
	bool zombie, keeper; /* keeper: of a command that was started in the tree; it ends what is below it */
	bool fresh;	     /* was not there at the last look */
	bool signalled;
	uint64_t started; /* with pid, its identity */
};

struct tree {
	pid_t top; /* the keeper */
	void (*reap)(struct tree *tree);
	int proc_fd;	/* -1: no usable /proc */
	unsigned count; /* of now */
	unsigned dead;
	unsigned unreached; /* had no signal in the last round, for a filter forbids pidfds */
	struct tree_process *now, *before;
};

/* bury is called now and then when children of the top wait for that. 0, -ENOMEM, or what getpid(2) says
 * where a filter forbids it. */
int tree_open(struct tree *tree, void (*reap)(struct tree *tree));

/* Opens /proc, before the first of what follows. Without a usable one it works, and finds nothing. 0; -EPERM
 * or -ENOSYS with the name of the call when a filter forbids to use it. */
int tree_find_processes(struct tree *tree, const char **ret_call);

/* Processes below the top that run, keepers left out. */
unsigned tree_count(struct tree *tree);

/*
 * Sends signo to all of them, then SIGCONT; also to those that are forked off meanwhile, as far as they can
 * be met and unless their parent has had it already: what that starts to clean up is not disturbed. SIGKILL
 * goes to all, also to keepers and what is below them.
 *
 * Where pidfds are forbidden it goes to the children of the top alone, whose numbers are nobody else's as
 * long as they are not waited for. What is below them has it from tree_signal_rest, when it has become a
 * child.
 */
void tree_signal(struct tree *tree, int signo);

/* Again, to those that had no signal by the last tree_signal. */
void tree_signal_rest(struct tree *tree, int signo);

#endif
