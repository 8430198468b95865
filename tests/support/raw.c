/* SPDX-License-Identifier: MIT */
#include "support/raw.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union control {
	char bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

const struct wire_message raw_hello = {
	.type = WIRE_HELLO,
	.serial = 1,
	.hello = {.version_min = WIRE_VERSION, .version_max = WIRE_VERSION, .process = "raw"}};

int raw_dial(const struct service *service)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	strcpy(address.sun_path, service->socket);
	ck_assert_ok(connect(fd, (struct sockaddr *)&address, sizeof(address)));
	return fd;
}

void raw_send(int fd, const void *bytes, size_t size, const int *fds, unsigned count)
{
	union control control;
	struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	memset(&control, 0, sizeof(control));
	if (count) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *attached = CMSG_FIRSTHDR(&header);
		attached->cmsg_level = SOL_SOCKET;
		attached->cmsg_type = SCM_RIGHTS;
		attached->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(attached), fds, count * sizeof(int));
	}
	(void)!sendmsg(fd, &header, MSG_NOSIGNAL);
}

void raw_send_message(int fd, const struct wire_message *message, const int *fds, unsigned count)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	raw_send(fd, bytes, wire_pack(message, bytes), fds, count);
}

/* Takes the first max descriptors, and closes the others. Returns how many there were. */
static unsigned take_attached(struct msghdr *header, int *fds, unsigned max)
{
	unsigned count = 0;

	for (struct cmsghdr *attached = CMSG_FIRSTHDR(header); attached;
	     attached = CMSG_NXTHDR(header, attached))
		for (size_t i = 0; i < (attached->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, count++) {
			int taken;
			memcpy(&taken, CMSG_DATA(attached) + i * sizeof(int), sizeof(taken));
			if (count < max)
				fds[count] = taken;
			else
				close(taken);
		}
	return count;
}

static bool receive(int fd, bool from_service, struct wire_message *ret_message, int *fds, unsigned max)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	union control control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control)};
	struct pollfd input = {.fd = fd, .events = POLLIN};

	ck_assert_int_eq(poll(&input, 1, 30000), 1);
	ssize_t size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	if (size < 0 && errno == ECONNRESET)
		size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	if (size <= 0)
		return false;
	unsigned count = take_attached(&header, fds, max);
	ck_assert_ok(wire_unpack(bytes, (size_t)size, count, from_service, ret_message));
	return true;
}

bool raw_receive(int fd, struct wire_message *ret_message)
{
	return receive(fd, true, ret_message, NULL, 0);
}

bool raw_receive_fds(int fd, struct wire_message *ret_message, int fds[WIRE_FDS_MAX])
{
	return receive(fd, true, ret_message, fds, WIRE_FDS_MAX);
}

bool raw_receive_from_client(int fd, struct wire_message *ret_message)
{
	return receive(fd, false, ret_message, NULL, 0);
}

void raw_thrown_out(int fd, int error)
{
	struct wire_message message;
	int said = 0;

	while (raw_receive(fd, &message))
		if (message.type == WIRE_GOODBYE)
			said = message.goodbye.error;
	ck_assert_int_eq(said, error);
	close(fd);
}

int raw_greeted(const struct service *service)
{
	struct wire_message message;
	int fd = raw_dial(service);

	raw_send_message(fd, &raw_hello, NULL, 0);
	ck_assert(raw_receive(fd, &message));
	ck_assert_int_eq(message.type, WIRE_WELCOME);
	ck_assert(raw_receive(fd, &message));
	ck_assert_int_eq(message.type, WIRE_TERMS);
	return fd;
}
