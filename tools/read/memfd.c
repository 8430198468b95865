/* SPDX-License-Identifier: MIT */
/*
 * Every memfd is a file of one file system that the kernel keeps for them, and nobody can make a file of
 * another kind there. So a regular file on the same device as a memfd of our own is a memfd. statx(2) with
 * AT_STATX_DONT_SYNC does not ask the server of a FUSE file system; fstat(2) and fstatfs(2) do.
 */
#include "memfd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_status(int fd, struct statx *ret_status)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, ret_status) ? -errno
												     : 0;
}

/* Gets the status of a memfd of our own, whose device is that of all memfds. 0 or -errno. */
static int find_device(struct statx *ret_own)
{
	static struct statx own;
	static bool known;

	if (!known) {
		int fd = memfd_create("ctxtool", MFD_CLOEXEC);
		if (fd < 0)
			return -errno;
		int error = read_status(fd, &own);
		close(fd);
		if (error)
			return error;
		known = true;
	}
	*ret_own = own;
	return 0;
}

/* 1: fd is the memfd with that inode; 0: it is not; or -errno. */
static int is_memfd(int fd, uint64_t inode)
{
	struct statx own, other;
	int error = find_device(&own);

	if (!error)
		error = read_status(fd, &other);
	if (error)
		return error;
	return other.stx_dev_major == own.stx_dev_major && other.stx_dev_minor == own.stx_dev_minor &&
	       S_ISREG(other.stx_mode) && other.stx_ino == inode;
}

static int reopen(int path_fd, uint64_t inode, int access)
{
	char path[32];
	int result = is_memfd(path_fd, inode);

	if (result > 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
		/* Without O_NONBLOCK the kernel waits for a process that has a lease on the file. */
		result = open(path, access | O_NONBLOCK | O_CLOEXEC);
		result = result < 0 ? -errno : result;
	} else if (!result) {
		result = -ENOENT;
	}
	close(path_fd);
	return result;
}

int memfd_reopen(int path_fd, uint64_t inode)
{
	return reopen(path_fd, inode, O_RDONLY);
}

int memfd_open_of(int directory, const char *name, uint64_t inode, int access)
{
	int fds = openat(directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = -ENOENT;
	DIR *list = fds < 0 ? NULL : fdopendir(fds);
	char wanted[64], target[64];
	const struct dirent *entry;
	size_t length = (size_t)snprintf(wanted, sizeof(wanted), "/memfd:%s", name);

	if (!list) {
		result = -errno;
		if (fds >= 0)
			close(fds);
		return result;
	}
	while (result < 0 && (entry = readdir(list))) {
		ssize_t read = readlinkat(dirfd(list), entry->d_name, target, sizeof(target));

		if (read < (ssize_t)length || memcmp(target, wanted, length) != 0)
			continue;
		/* The descriptor may name another file by now; reopen() checks. */
		int fd = openat(dirfd(list), entry->d_name, O_PATH | O_CLOEXEC);
		int opened = fd < 0 ? -errno : reopen(fd, inode, access);
		if (opened != -ENOENT)
			result = opened;
	}
	closedir(list);
	return result;
}
