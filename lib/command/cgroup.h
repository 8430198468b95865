/* SPDX-License-Identifier: MIT */
/*
 * A cgroup (version 2) for one program and all that it starts. It is made below the cgroup of this process,
 * where that is allowed and the kernel can kill a whole cgroup (cgroup.kill, Linux 5.14). Where it cannot be
 * made, the keeper finds the processes in /proc.
 */
#ifndef CTX_CGROUP_H
#define CTX_CGROUP_H

#define CGROUP_NAME_MAX 40

struct cgroup {
	int parent_fd; /* -1: there is no cgroup */
	int fd;
	char name[CGROUP_NAME_MAX]; /* of the directory below the parent's */
};

#define CGROUP_NONE ((struct cgroup){.parent_fd = -1, .fd = -1})

/* Makes a cgroup. CGROUP_NONE where that fails, which is no error. */
void cgroup_make(struct cgroup *ret_cgroup);

/* Closes the descriptors; the cgroup stays. */
void cgroup_close(struct cgroup *cgroup);

/* Opens a cgroup that cgroup_make has made, by its name. CGROUP_NONE if the parent cannot be opened. */
void cgroup_open(const char *name, struct cgroup *ret_cgroup);

/* Waits until nothing runs in the cgroup, but at most a second. */
void cgroup_await_empty(const struct cgroup *cgroup);

/* The keeper calls the next two, which make raw system calls only. */

/* Kills all processes in the cgroup at once, also those that are being forked off. 0 or -errno. */
int cgroup_kill(const struct cgroup *cgroup);

/* Removes the cgroup and those made below it, if nothing runs there. 0 or -errno. */
int cgroup_remove(const struct cgroup *cgroup);

#endif
