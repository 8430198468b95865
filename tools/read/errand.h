/* SPDX-License-Identifier: MIT */
/*
 * Calls on /proc/PID that the process looked at can hold up: whoever has a file system of his own can make
 * the kernel wait for it while it holds the lock of his memory, and whoever asks for the maps then waits for
 * him. Each such call is made on a thread, which is left to itself when it does not come back in time.
 */
#ifndef TOOL_ERRAND_H
#define TOOL_ERRAND_H

#include <stdint.h>

/* The waits for processes that do not answer, together. When it is used up, each gets a moment only. */
struct patience {
	uint64_t left_ns;
};
#define PATIENCE ((struct patience){.left_ns = 1000000000u})

/* The text of a file in the open directory, which the caller frees; NULL: -errno is in ret_error, -ETIMEDOUT
 * among them. */
char *errand_read(struct patience *patience, int directory, const char *name, int *ret_error);

/* Opens what is behind a link without touching it: an O_PATH descriptor, or -errno, -ETIMEDOUT among them. */
int errand_open_path(struct patience *patience, int directory, const char *name);

#endif
