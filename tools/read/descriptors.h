/* SPDX-License-Identifier: MIT */
/* File descriptors of another process as text: a path, or the protocol and addresses of a socket. */
#ifndef TOOL_DESCRIPTORS_H
#define TOOL_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

#include "sockets.h"

/* The texts of one process, each looked up when first asked for and then kept. */
struct descriptors {
	int directory; /* open /proc/PID, owned: it never means another process with that pid; -1: none */
	struct descriptor_entry *entries; /* a hash table with open addressing; room is a power of two */
	size_t room, count;
	struct sockets sockets;
};

/* Returns the text for fd, escaped and valid until descriptors_free; "" when nothing is known of it. */
const char *descriptor_text(struct descriptors *descriptors, int fd);

void descriptors_free(struct descriptors *descriptors);

#endif
