/* SPDX-License-Identifier: MIT */
#include "passed.h"

#include <string.h>

#include "sys.h"

unsigned passed_take(struct msghdr *header, int *fds)
{
	unsigned count = 0;

	for (struct cmsghdr *attached = CMSG_FIRSTHDR(header); attached;
	     attached = CMSG_NXTHDR(header, attached)) {
		if (attached->cmsg_level != SOL_SOCKET || attached->cmsg_type != SCM_RIGHTS)
			continue;
		size_t size = attached->cmsg_len - CMSG_LEN(0);
		memcpy(fds + count, CMSG_DATA(attached), size);
		count += (unsigned)(size / sizeof(int));
	}
	return count;
}

bool passed_nothing(int fd, unsigned packets_max)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	const int on = 1;

	/*
	 * With SO_PASSCRED every packet comes with the credentials of its sender, also an empty one. The end
	 * of the stream comes with none.
	 */
	if (sys_setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return false;
	for (unsigned i = 0; i <= packets_max; i++) {
		struct msghdr header = {.msg_control = control.bytes, .msg_controllen = sizeof(control)};
		struct msghdr nothing = {0};
		int size = sys_recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT);
		if (size < 0 && size != -ECONNRESET && size != -EINTR)
			return false;
		if (size < 0)
			continue;
		if (!header.msg_controllen)
			return true;
		if (header.msg_flags & MSG_CTRUNC || i == packets_max)
			return false;
		sys_recvmsg(fd, &nothing, MSG_DONTWAIT);
	}
	return false;
}
