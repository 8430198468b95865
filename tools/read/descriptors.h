/* SPDX-License-Identifier: MIT */
/* What a file descriptor of another process is: a path, or a socket with its addresses. */
#ifndef TOOL_DESCRIPTORS_H
#define TOOL_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

#include "sockets.h"

/* Looked up when asked for and kept, for one process. Set directory to -1 where there is none to ask. */
struct descriptors {
	int directory; /* of /proc/PID, owned: it stays the same process when the pid is used again */
	struct descriptor_entry *entries; /* open addressing, a power of two */
	size_t room, count;
	struct sockets sockets;
};

/* The text for fd, escaped, valid until descriptors_release; "" when nothing can be said. */
const char *descriptor_text(struct descriptors *descriptors, int fd);

void descriptors_release(struct descriptors *descriptors);

#endif
