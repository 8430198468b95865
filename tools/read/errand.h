/* SPDX-License-Identifier: MIT */
/*
 * Calls on /proc/PID that the process looked at can hold up.
 *
 * A process with a file system of its own can make the kernel wait for it while the kernel holds the lock of
 * the process's memory. A reader of its maps then waits for that lock. Each such call is therefore made on a
 * thread, the errand. The caller stops waiting after a while, and the thread stays stuck until the kernel
 * returns.
 *
 * A process whose errand is stuck is not asked again until that errand has returned, so each process holds at
 * most one thread. In all no more than ERRANDS_STUCK_MAX are stuck: beyond that no process is asked.
 */
#ifndef TOOL_ERRAND_H
#define TOOL_ERRAND_H

#include <stdint.h>

#define ERRANDS_STUCK_MAX 256

/*
 * How long each errand of a survey is waited for. It is used up by the first one that does not come back;
 * later ones are waited for a moment only.
 */
struct patience {
	uint64_t left_ns;
};
#define PATIENCE ((struct patience){.left_ns = 1000000000u})

/*
 * Both look into directory, an open /proc/PID. Errors besides those of the call itself: -ETIMEDOUT when the
 * process does not answer, or still has an errand that is stuck; -EBUSY when too many errands are stuck;
 * -EAGAIN when no thread can be started.
 */

/* Returns the text of a file in directory, which the caller frees; NULL: ret_error has -errno. */
char *errand_read(struct patience *patience, int directory, const char *name, int *ret_error);

/* Opens the target of a link with O_PATH, which does not touch it. A descriptor, or -errno. */
int errand_open_path(struct patience *patience, int directory, const char *name);

#endif
