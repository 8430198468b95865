/* SPDX-License-Identifier: MIT */
#include "cgroup.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "feature.h"
#include "lock.h"
#include "memory.h"
#include "raw.h"
#include "sys.h"
#include "text_file.h"

/*
 * Where cgroup2 is mounted, and which part of the hierarchy is visible there. It is read once, for it seldom
 * changes.
 */
static struct {
	struct lock lock;
	bool known;
	char point[PATH_MAX]; /* "": cgroup2 is not mounted */
	char root[PATH_MAX];
} mount;

static _Atomic unsigned names_made;

/* ---- finding the cgroup of this process */

/* Undoes the escapes of mountinfo, where a blank is written as \040. */
static void unescape_path(char *text)
{
	char *to = text;

	for (; *text; text++, to++) {
		*to = *text;
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
			text += 3;
		}
	}
	*to = '\0';
}

/*
 * Reads a line as "30 22 0:27 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw", see proc_pid_mountinfo(5).
 */
static bool parse_mount(char *line)
{
	char *fields[5], *rest = line;
	const char *type = strstr(line, " - ");

	if (!type || strncmp(type, " - cgroup2 ", 11) != 0)
		return false;
	for (int i = 0; i < 5; i++)
		fields[i] = strsep(&rest, " ");
	if (!rest || strlen(fields[3]) >= sizeof(mount.root) || strlen(fields[4]) >= sizeof(mount.point))
		return false;
	unescape_path(fields[3]);
	unescape_path(fields[4]);
	strcpy(mount.root, fields[3]);
	strcpy(mount.point, fields[4]);
	return true;
}

/* Finds the mount of cgroup2. The lock is held. */
static void find_mount(void)
{
	char *text, *line;

	if (text_file_load("/proc/self/mountinfo", &text))
		return;
	mount.known = true;
	char *rest = text;
	while ((line = strsep(&rest, "\n")) && !parse_mount(line))
		;
	memory_release(text);
}

/* The path of this process's cgroup in the hierarchy, from the line "0::/path" of /proc/self/cgroup. */
static bool own_path(char path[PATH_MAX])
{
	char *text, *line;
	bool found = false;

	if (text_file_load("/proc/self/cgroup", &text))
		return false;
	char *rest = text;
	while (!found && (line = strsep(&rest, "\n"))) {
		found = strncmp(line, "0::/", 4) == 0 && strncmp(line, "0::/..", 6) != 0 &&
			strlen(line + 3) < PATH_MAX;
		if (found)
			strcpy(path, line + 3);
	}
	memory_release(text);
	return found;
}

/* A descriptor of the directory of this process's cgroup, or -errno. */
static int open_own_cgroup(void)
{
	char path[PATH_MAX], directory[2 * PATH_MAX];
	int result = -ENOENT;

	if (!own_path(path))
		return result;
	lock_acquire(&mount.lock);
	if (!mount.known)
		find_mount();
	size_t root = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
	if (mount.point[0] && strncmp(path, mount.root, root) == 0 && (path[root] == '/' || !path[root])) {
		snprintf(directory, sizeof(directory), "%s%s", mount.point, path + root);
		result = sys_openat(AT_FDCWD, directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	lock_release(&mount.lock);
	return result;
}

static bool can_kill(int fd)
{
	int file = -ENOENT;

	if (feature_allowed(FEATURE_CGROUP_KILL))
		file = sys_openat(fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	if (file >= 0)
		sys_close(file);
	return file >= 0;
}

/* ---- removing what dead processes have left */

static bool is_empty_cgroup(int parent_fd, const char *name)
{
	char path[NAME_MAX + sizeof("/cgroup.events")], text[256];

	snprintf(path, sizeof(path), "%.*s/cgroup.events", NAME_MAX, name);
	int fd = sys_openat(parent_fd, path, O_RDONLY | O_CLOEXEC);
	int size = fd < 0 ? fd : sys_read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		sys_close(fd);
	text[size > 0 ? size : 0] = '\0';
	return strstr(text, "populated 0") != NULL;
}

/* Whether the name is one that make_below() gives, in a process that is dead. */
static bool is_of_the_dead(const char *name)
{
	int pid, length = 0;
	unsigned number;

	return sscanf(name, "ctxring-%d-%u%n", &pid, &number, &length) == 2 && !name[length] && pid > 0 &&
	       kill(pid, 0) && errno == ESRCH;
}

static void remove_if_left_over(int parent_fd, const char *name)
{
	struct cgroup cgroup = {.parent_fd = parent_fd, .fd = -1};

	if (strlen(name) >= sizeof(cgroup.name) || !is_of_the_dead(name) || !is_empty_cgroup(parent_fd, name))
		return;
	strcpy(cgroup.name, name);
	cgroup_remove(&cgroup);
}

/*
 * Removes the cgroups of processes that were killed together with their keepers. Does so once in a process.
 */
static void remove_leftovers(int parent_fd)
{
	static _Atomic uint32_t removed_in; /* 1 + fork count of the process that has done so */
	_Alignas(struct dirent64) char entries[4096];
	int size;

	if (atomic_exchange(&removed_in, thread_fork_count + 1) == thread_fork_count + 1)
		return;
	int fd = sys_openat(parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && (size = raw_getdents(fd, entries, sizeof(entries))) > 0)
		for (int at = 0; at < size;) {
			struct dirent64 *entry = (struct dirent64 *)(entries + at);
			at += entry->d_reclen;
			remove_if_left_over(parent_fd, entry->d_name);
		}
	if (fd >= 0)
		sys_close(fd);
}

/* ---- making */

static int make_below(struct cgroup *cgroup)
{
	int result;

	do {
		/*
		 * The name may exist: an earlier process with this number was killed together with its
		 * keeper.
		 */
		snprintf(cgroup->name, sizeof(cgroup->name), "ctxring-%d-%u", (int)getpid(),
			 atomic_fetch_add(&names_made, 1));
		result = sys_mkdirat(cgroup->parent_fd, cgroup->name, 0755);
	} while (result == -EEXIST);
	return result;
}

void cgroup_make(struct cgroup *ret_cgroup)
{
	struct cgroup cgroup = {.parent_fd = open_own_cgroup(), .fd = -1};

	*ret_cgroup = CGROUP_NONE;
	if (cgroup.parent_fd < 0)
		return;
	remove_leftovers(cgroup.parent_fd);
	if (make_below(&cgroup)) {
		sys_close(cgroup.parent_fd);
		return;
	}
	cgroup.fd = sys_openat(cgroup.parent_fd, cgroup.name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cgroup.fd >= 0 && can_kill(cgroup.fd)) {
		*ret_cgroup = cgroup;
		return;
	}
	cgroup_remove(&cgroup);
	cgroup_close(&cgroup);
}

void cgroup_open(const char *name, struct cgroup *ret_cgroup)
{
	*ret_cgroup = CGROUP_NONE;
	ret_cgroup->parent_fd = open_own_cgroup();
	if (ret_cgroup->parent_fd < 0) {
		*ret_cgroup = CGROUP_NONE;
		return;
	}
	snprintf(ret_cgroup->name, sizeof(ret_cgroup->name), "%s", name);
	ret_cgroup->fd = sys_openat(ret_cgroup->parent_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void cgroup_await_empty(const struct cgroup *cgroup)
{
	struct pollfd changed = {.fd = sys_openat(cgroup->fd, "cgroup.events", O_RDONLY | O_CLOEXEC)};
	struct timespec pause = {.tv_nsec = 50000000};
	char text[256];

	for (int i = 0; changed.fd >= 0 && i < 20; i++) {
		lseek(changed.fd, 0, SEEK_SET);
		int size = sys_read(changed.fd, text, sizeof(text) - 1);
		text[size > 0 ? size : 0] = '\0';
		if (!strstr(text, "populated 1"))
			break;
		changed.events = POLLPRI;
		sys_poll(&changed, 1, &pause);
	}
	if (changed.fd >= 0)
		sys_close(changed.fd);
}

void cgroup_close(struct cgroup *cgroup)
{
	if (cgroup->fd >= 0)
		sys_close(cgroup->fd);
	if (cgroup->parent_fd >= 0)
		sys_close(cgroup->parent_fd);
	*cgroup = CGROUP_NONE;
}
