/* SPDX-License-Identifier: MIT */
/*
 * Attempts to read and write that do not wait, on files that know no RWF_NOWAIT: FIFOs, terminals and some
 * other devices on every kernel, and before Linux 6.4 pipes, sockets and timerfds as well.
 *
 * O_NONBLOCK makes such an attempt possible, but belongs to the open file, which other processes may share.
 * So a pipe is opened a second time for the attempt, by its name in /proc/thread-self/fd, and nobody else
 * sees anything of that. Where this is not possible the open file has O_NONBLOCK for the moment of the
 * attempt, and the threads of this process take turns.
 */
#ifndef CTX_BLOCKING_NOWAIT_H
#define CTX_BLOCKING_NOWAIT_H

#include "list.h"

struct blocking_nowait {
	int fd; /* the descriptor for the attempt */
	int from;
	int flags;	  /* the flags of from, to be restored */
	struct list link; /* in the list of pipes opened a second time, which a forked child closes */
};

/*
 * Between these two calls reads and writes of nowait->fd do not wait for data or room. blocking_nowait_begin
 * returns 0 or -errno.
 */
int blocking_nowait_begin(struct blocking_nowait *nowait, int fd);
void blocking_nowait_end(struct blocking_nowait *nowait);

/* The same on fd itself, for calls that need the very open file. */
int blocking_nowait_begin_own(struct blocking_nowait *nowait, int fd);

#endif
