/* SPDX-License-Identifier: MIT */
/*
 * Attempts to read and write that do not wait, on files that know no RWF_NOWAIT: FIFOs, terminals and some
 * other devices on every kernel, and before Linux 6.4 pipes, sockets and timerfds as well.
 *
 * O_NONBLOCK does it, but belongs to the open file, which other processes may share. So a pipe is opened once
 * more for the attempt, by its name in /proc/thread-self/fd, and whoever else has it sees nothing of that.
 * Where this cannot be, the open file has O_NONBLOCK for the moment of the attempt, and threads of this
 * process take turns.
 */
#ifndef CTX_BLOCKING_NOWAIT_H
#define CTX_BLOCKING_NOWAIT_H

#include "list.h"

struct blocking_nowait {
	int fd; /* for the attempt */
	int from;
	int flags;	  /* of from, to be put back */
	struct list link; /* in the list of those that have been opened, for a forked child */
};

/* Until it has been ended reads and writes of nowait->fd do not wait for data or room. 0, or -errno. */
int blocking_nowait_begin(struct blocking_nowait *nowait, int fd);
void blocking_nowait_end(struct blocking_nowait *nowait);

/* The same without another descriptor, for what the open file itself is needed for. */
int blocking_nowait_begin_own(struct blocking_nowait *nowait, int fd);

#endif
