/* SPDX-License-Identifier: MIT */
#include "client_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "passed.h"
#include "wire.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define GROUPS_MAX 65536

/*
 * Gets a pidfd of the process that connected. 0 with the pidfd, or with -1: the process is gone, or is not in
 * our pid namespace. -errno: there is no descriptor or no memory now.
 */
static int open_pidfd(int fd, pid_t pid, int *ret_pidfd)
{
	socklen_t size = sizeof(*ret_pidfd);

	*ret_pidfd = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, ret_pidfd, &size) == 0)
		return 0;
	/*
	 * Kernels before 6.5 have no SO_PEERPIDFD. The pid may have been used again by now, but only if the
	 * process that connected is dead. Then nobody holds the other end, unless a child of it does, which
	 * cannot be told apart from it.
	 */
	if (errno == ENOPROTOOPT && pid > 0)
		*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*ret_pidfd >= 0)
		return 0;
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
}

int socket_identify(int fd, struct identity *ret_identity)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	gid_t *groups = NULL;
	socklen_t groups_size = 0;
	int pidfd, error;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size))
		return -errno;
	ret_identity->uid = credentials.uid; /* The caller needs the uid also if the rest fails. */
	error = open_pidfd(fd, credentials.pid, &pidfd);
	if (error)
		return error;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &groups_size) && errno == ERANGE &&
	    groups_size <= GROUPS_MAX * sizeof(gid_t)) {
		groups = malloc(groups_size);
		if (!groups) {
			if (pidfd >= 0)
				close(pidfd);
			return -ENOMEM;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_size))
			groups_size = 0;
	}
	*ret_identity = (struct identity){
		.pid = credentials.pid,
		.uid = credentials.uid,
		.gid = credentials.gid,
		.groups = groups,
		.group_count = groups ? (unsigned)(groups_size / sizeof(gid_t)) : 0,
		.pidfd = pidfd,
	};
	return 0;
}

int socket_send(int fd, const void *bytes, size_t size, const int *fds, unsigned fd_count)
{
	union {
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd_count)
		passed_attach(&header, control.bytes, fds, fd_count);
	ssize_t sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0)
		return 0;
	/* ETOOMANYREFS: the user has too many descriptors in sockets. It passes when others are received. */
	return errno == ETOOMANYREFS ? -ENOBUFS : errno == EINTR ? -EAGAIN : -errno;
}

ssize_t socket_receive(int fd, struct msghdr *header, bool short_of_fds)
{
	int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;

	if (!short_of_fds)
		return recvmsg(fd, header, flags);
	ssize_t size = recvmsg(fd, header, flags | MSG_PEEK);
	if (size >= 0 && !(header->msg_flags & MSG_CTRUNC))
		recv(fd, NULL, 0, MSG_DONTWAIT);
	return size;
}
