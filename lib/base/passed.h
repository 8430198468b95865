/* SPDX-License-Identifier: MIT */
/* Descriptors that come along with packets of a unix socket, for both ends of the service's protocol. */
#ifndef CTX_PASSED_H
#define CTX_PASSED_H

#include <stdbool.h>
#include <sys/socket.h>

/* So many may come along with one packet; what finds no room is closed by the kernel, on the thread that
 * receives, and for as long as that takes. */
#define PASSED_MAX 253

/* Room for all of them. */
union passed_room {
	char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
	struct cmsghdr align;
};

/* Those that header has received. How many; fds has room for PASSED_MAX. */
unsigned passed_take(struct msghdr *header, int *fds);

/* Whether nothing is queued at the socket fd that brings descriptors along: then closing it closes nothing
 * else. What else is queued is thrown away. Does not wait. */
bool passed_nothing(int fd);

#endif
