/* SPDX-License-Identifier: MIT */
/* Receiving descriptors with packets of a unix socket (SCM_RIGHTS), for both ends of the protocol. */
#ifndef CTX_PASSED_H
#define CTX_PASSED_H

#include <stdbool.h>
#include <sys/socket.h>

/* How many descriptors the kernel lets one packet bring (SCM_MAX_FD). Descriptors for which the receiver has
 * no room are closed by the kernel on the receiving thread, which waits as long as that takes: so there is
 * always room for all. */
#define PASSED_MAX 253

/* A control buffer with room for all of them. */
union passed_room {
	char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
	struct cmsghdr align;
};

/* Copies the descriptors that header has received to fds, which has room for PASSED_MAX. Returns their
 * number. */
unsigned passed_take(struct msghdr *header, int *fds);

/* True when no packet with descriptors is queued at the socket fd: then close(2) of fd closes no other file,
 * which could take long. Packets without descriptors are read and thrown away. Does not wait. */
bool passed_nothing(int fd);

#endif
