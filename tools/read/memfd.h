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

/*
 * Opens the memfd with that inode by a descriptor that a process has of it; directory is the process's in
 * /proc, name the one of the memfd, access O_RDONLY or O_RDWR. Returns a descriptor, or -errno: -ENOENT when
 * the process has none.
 */
int memfd_open_of(int directory, const char *name, uint64_t inode, int access);

#endif
