/* SPDX-License-Identifier: MIT */
/* The socket at which clients connect. */
#ifndef CTXD_LISTENER_H
#define CTXD_LISTENER_H

#include "connection.h"

#define LISTENER_NAME_SIZE 109

struct listener {
	struct loop_group group; /* First in the structure, for casts. */
	struct loop_entry accepting;
	struct connections *connections;
	int fd;
	char path[108]; /* Empty: the socket was given to the service, which then removes nothing. */
	uint64_t file_device, file_inode;
	/* No descriptors were free: nothing is accepted before that time. 0: not paused. */
	uint64_t paused_until_ns;
	bool starved; /* That no descriptors are free has been logged. */
};

/*
 * Opens the socket: the one that systemd gave; else one at path; for NULL, at the first place of
 * wire_socket_path() where one can be. 0, or -errno with the reason in words.
 */
int listener_open(struct listener *listener, const char *path, char *reason, size_t reason_size);

/* Where the socket listens, as the kernel says: a path, or "@NAME" for an abstract address. Returns name. */
const char *listener_name(const struct listener *listener, char name[LISTENER_NAME_SIZE]);

void listener_start(struct listener *listener, struct connections *connections);

/* Takes no more clients. Removes the file of the socket if it is still ours. */
void listener_stop(struct listener *listener);

/* Accepts again, since descriptors have become free. */
void listener_resume(struct listener *listener);
void listener_tick(struct listener *listener, uint64_t now_ns);

#endif
