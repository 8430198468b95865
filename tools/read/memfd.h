/* SPDX-License-Identifier: MIT */
/* Opening a memfd of another process, and nothing else that he may have put in its place. */
#ifndef TOOL_MEMFD_H
#define TOOL_MEMFD_H

#include <stdint.h>

/*
 * Opens for reading the memfd with that inode which path_fd, from open(2) with O_PATH, stands for; closes
 * path_fd. A descriptor, or -errno: -ENOENT when it is anything else. A FIFO, a device or a file system of
 * its owner's never comes to know of it.
 */
int memfd_reopen(int path_fd, uint64_t inode);

#endif
