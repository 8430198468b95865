/* SPDX-License-Identifier: MIT */
/* The socket that clients connect to. */
#ifndef CTXD_LISTENER_H
#define CTXD_LISTENER_H

#include "connection.h"

#define LISTENER_NAME_SIZE 109

struct listener {
	struct loop_group group; /* first */
	struct loop_entry entry;
	struct connections *connections;
	int fd;
	char path[108]; /* "": it was given to us */
	uint64_t file_device, file_inode;
	uint64_t paused_until_ns; /* no descriptors: 0: not paused */
	bool starved;		  /* has been logged */
};

/*
 * Opens the socket: the one that systemd gave; else at path; else, for NULL, at the first place of
 * wire_socket_path() that can be. 0, or a negative errno and the reason in words.
 */
int listener_open(struct listener *listener, const char *path, char *reason, size_t reason_size);

/* Where it listens, as the kernel says: a path, or "@NAME" of an abstract address. Returns name. */
const char *listener_name(const struct listener *listener, char name[LISTENER_NAME_SIZE]);

void listener_start(struct listener *listener, struct connections *connections);

/* No more clients. The file goes, if it is still ours. */
void listener_stop(struct listener *listener);

/* A descriptor may be free again. */
void listener_resume(struct listener *listener);
void listener_tick(struct listener *listener, uint64_t now_ns);

#endif
