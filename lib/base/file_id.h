/* SPDX-License-Identifier: MIT */
/*
 * Which file a descriptor refers to. A program that closes all descriptors, as daemons do when they start,
 * also closes the library's. The number may then refer to another file, which the library must not close or
 * use.
 */
#ifndef CTX_FILE_ID_H
#define CTX_FILE_ID_H

#include <stdbool.h>
#include <sys/stat.h>

struct file_id {
	dev_t device;
	ino_t inode;
};

/* The file of fd, a descriptor that was just made. */
static inline struct file_id file_id_of(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return (struct file_id){0};
	return (struct file_id){.device = status.st_dev, .inode = status.st_ino};
}

/* True while fd still refers to that file. */
static inline bool file_id_matches(struct file_id id, int fd)
{
	struct stat status;

	return !fstat(fd, &status) && status.st_dev == id.device && status.st_ino == id.inode;
}

#endif
