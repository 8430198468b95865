/* SPDX-License-Identifier: MIT */
/* The sockets of one network namespace by inode, each as protocol, addresses and state. */
#ifndef TOOL_SOCKETS_H
#define TOOL_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct socket_entry {
	uint64_t inode;
	char *text;
};

/* Filled from /proc/PID/net by the first socket_text(). Zeroed: not read yet. */
struct sockets {
	struct socket_entry *entries; /* sorted by inode */
	size_t count, room;
	bool read;
};

/* Returns text as "tcp 127.0.0.1:80 -> 127.0.0.1:4312 ESTABLISHED"; NULL when the socket is not known. */
const char *socket_text(struct sockets *sockets, int proc_directory, uint64_t inode);

void sockets_free(struct sockets *sockets);

#endif
