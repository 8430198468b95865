/* SPDX-License-Identifier: MIT */
/* Sockets of one network namespace by inode: protocol, addresses, state. */
#ifndef TOOL_SOCKETS_H
#define TOOL_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct socket_entry {
	uint64_t inode;
	char *text;
};

/* Read from /proc/PID/net when first asked. Zeroed: not read yet. */
struct sockets {
	struct socket_entry *entries; /* sorted by inode */
	size_t count, room;
	bool read;
};

/* "tcp 127.0.0.1:80 -> 127.0.0.1:4312 ESTABLISHED"; NULL when it is not known. */
const char *socket_text(struct sockets *sockets, int proc_directory, uint64_t inode);

void sockets_release(struct sockets *sockets);

#endif
