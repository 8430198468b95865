/* SPDX-License-Identifier: MIT */
/*
 * A cgroup (version 2) for one program and all that it starts: made below the cgroup of this process where
 * that is allowed and the kernel can kill a cgroup at once (cgroup.kill, Linux 5.14).
 */
#ifndef CTX_CGROUP_H
#define CTX_CGROUP_H

#define CGROUP_NAME_MAX 40

struct cgroup {
	int parent_fd; /* -1: there is none */
	int fd;
	char name[CGROUP_NAME_MAX]; /* below the parent */
};

#define CGROUP_NONE ((struct cgroup){.parent_fd = -1, .fd = -1})

/* Makes one. CGROUP_NONE where that cannot be: it is an improvement, not a need. */
void cgroup_make(struct cgroup *ret_cgroup);

/* Closes the descriptors of it; the cgroup stays. */
void cgroup_close(struct cgroup *cgroup);

/* Opens the parent again, by which it was made. CGROUP_NONE if that cannot be. */
void cgroup_open(const char *name, struct cgroup *ret_cgroup);

/* Waits, at most a second, until nothing runs in it. */
void cgroup_await_empty(const struct cgroup *cgroup);

/* The next two make raw system calls only. */

/* SIGKILL to all in it, at once, also to those that are just being forked off. 0 or -errno. */
int cgroup_kill(const struct cgroup *cgroup);

/* Removes it, with cgroups that were made below it, when nothing runs there. 0 or -errno. */
int cgroup_remove(const struct cgroup *cgroup);

#endif
