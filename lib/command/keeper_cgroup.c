/* SPDX-License-Identifier: MIT */
/* The parts of a cgroup's life that the keeper can do with raw system calls. */
#include "cgroup.h"
#include "raw.h"

/*
 * REMOVE_MAX is more than anybody nests cgroups, and a bound for a program that makes them faster than they
 * are removed.
 */
#define LEAVING_MS 10
#define REMOVE_MAX 10000

int cgroup_kill(const struct cgroup *cgroup)
{
	int file = raw_openat(cgroup->fd, "cgroup.kill", O_WRONLY);

	if (file < 0)
		return file;
	int result = raw_write(file, "1", 1);
	raw_close(file);
	return result < 0 ? result : 0;
}

/* The first directory in the directory fd. 1 with its name; 0: there is none. */
static int first_directory(int fd, char name[NAME_MAX + 1])
{
	_Alignas(struct dirent64) char entries[2048];
	int size;

	while ((size = raw_getdents(fd, entries, sizeof(entries))) > 0) {
		for (int at = 0; at < size;) {
			struct dirent64 *entry = (struct dirent64 *)(entries + at);
			at += entry->d_reclen;
			if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
				continue;
			strcpy(name, entry->d_name);
			return 1;
		}
	}
	return size;
}

/*
 * Goes down from name to the first cgroup without others in it, and removes that. 1; 0 when that was name
 * itself.
 */
static int remove_one(int parent_fd, const char *name)
{
	char current[NAME_MAX + 1], below[NAME_MAX + 1];
	int directory = raw_fcntl(parent_fd, F_DUPFD_CLOEXEC, 0), depth = 0, result;

	if (directory < 0)
		return directory;
	strcpy(current, name);
	for (;;) {
		int next = raw_openat(directory, current, O_RDONLY | O_DIRECTORY);
		if (next < 0) {
			result = next;
			break;
		}
		if (first_directory(next, below) <= 0) {
			raw_close(next);
			result = raw_rmdir(directory, current);
			break;
		}
		raw_close(directory);
		directory = next;
		strcpy(current, below);
		depth++;
	}
	raw_close(directory);
	return result ? result : depth > 0;
}

int cgroup_remove(const struct cgroup *cgroup)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int result = raw_rmdir(cgroup->parent_fd, cgroup->name);

	/* The process that was reaped last may not have left the cgroup yet. */
	for (int i = 0; i < LEAVING_MS && result == -EBUSY; i++) {
		raw_poll(NULL, 0, &pause); /* counts pause down */
		pause = (struct timespec){.tv_nsec = 1000000};
		result = raw_rmdir(cgroup->parent_fd, cgroup->name);
	}
	if (result != -EBUSY && result != -ENOTEMPTY)
		return result;
	for (int i = 0; i < REMOVE_MAX; i++) {
		result = remove_one(cgroup->parent_fd, cgroup->name);
		if (result <= 0)
			break;
	}
	return result;
}
