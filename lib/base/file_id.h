/* SPDX-License-Identifier: MIT */
/*
 * Which file a descriptor names. A program that closes every descriptor, as daemons do when they
 * start, closes ours too, and the number may then be another file's: that one is not ours to close.
 */
#ifndef CTX_FILE_ID_H
#define CTX_FILE_ID_H

#include <stdbool.h>
#include <sys/stat.h>

struct file_id {
	dev_t device;
	ino_t inode;
};

/* Of a descriptor that was just made. */
static inline struct file_id file_id_of(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return (struct file_id){0};
	return (struct file_id){.device = status.st_dev, .inode = status.st_ino};
}

/* True while fd still names the file. */
static inline bool file_id_matches(struct file_id id, int fd)
{
	struct stat status;

	return !fstat(fd, &status) && status.st_dev == id.device && status.st_ino == id.inode;
}

#endif
