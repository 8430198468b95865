/* SPDX-License-Identifier: MIT */
/* Opens a memfd of another process, and nothing else that its owner may have put in its place. */
#ifndef TOOL_MEMFD_H
#define TOOL_MEMFD_H

#include <stdint.h>

/*
 * Opens for reading what path_fd, from open(2) with O_PATH, stands for, and closes path_fd. Returns a
 * descriptor, or -errno: -ENOENT when it is anything but the memfd with that inode. A FIFO, a device or a
 * file system of the owner's is not opened and does not notice.
 */
int memfd_reopen(int path_fd, uint64_t inode);
/* The same for reading and writing. */
int memfd_reopen_to_write(int path_fd, uint64_t inode);

#endif
