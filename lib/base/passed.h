/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are sent and received with packets of a unix socket, for both ends of the service's
 * protocol and for the keeper.
 */
#ifndef CTX_PASSED_H
#define CTX_PASSED_H

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/*
 * The most descriptors that one packet can have. Those for which there is no room the kernel closes, in the
 * thread that receives, and for as long as that takes.
 */
#define PASSED_MAX 253

/* Room for one. */
union passed_one {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* Room for so many. */
union passed_room {
	char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
	struct cmsghdr align;
};

/*
 * Attaches count descriptors to a message that is to be sent. room is aligned as struct cmsghdr, and has
 * CMSG_SPACE(count * sizeof(int)) bytes or more. It is inline because the keeper calls it, whose objects no
 * sanitizer instruments.
 */
static inline void passed_attach(struct msghdr *header, void *room, const int *fds, unsigned count)
{
	size_t size = count * sizeof(int);

	memset(room, 0, CMSG_SPACE(size));
	header->msg_control = room;
	header->msg_controllen = CMSG_SPACE(size);
	struct cmsghdr *attached = CMSG_FIRSTHDR(header);
	attached->cmsg_level = SOL_SOCKET;
	attached->cmsg_type = SCM_RIGHTS;
	attached->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(attached), fds, size);
}

/*
 * Takes the descriptors out of a message that was received. Returns how many; fds has room for as many as the
 * message had room for. The two ends of the protocol give it a union passed_room, so that none goes unseen.
 * Whether a message of the protocol brings the right number is asked later, by wire_unpack().
 */
unsigned passed_take(struct msghdr *header, int *fds);

/*
 * Whether no packet with descriptors is queued at the socket fd: then closing the socket closes nothing else.
 * Other packets in the queue are thrown away, at most packets_max, and with more in it the answer is false.
 * Does not wait.
 */
bool passed_nothing(int fd, unsigned packets_max);

#endif
