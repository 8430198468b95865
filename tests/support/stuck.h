/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are closed slowly, or never: sockets with SO_LINGER whose peer takes nothing, and files of
 * a FUSE file system that does not answer.
 */
#ifndef TEST_STUCK_H
#define TEST_STUCK_H

#include <stdbool.h>
#include <sys/types.h>

/* Whoever closes the last copy of it waits longer than any test does, until peer is closed. */
struct lingering {
	int fd, peer;
};
struct lingering lingering_open(void);
/* Without a wait, if only fd and peer are left. */
void lingering_close(struct lingering *lingering);

/*
 * A FUSE file system with one file, in a mount namespace that the calling process moves to: it is served by a
 * process that answers everything but that the file is closed or read. False, and the reason in words: this
 * cannot be had here.
 */
struct silent_fs {
	pid_t server;
	char directory[64], file[80];
};
bool silent_fs_mount(struct silent_fs *fs, const char **ret_reason);
/* Whoever waits for it goes on. */
void silent_fs_end(struct silent_fs *fs);

#endif
