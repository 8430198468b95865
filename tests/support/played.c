/* SPDX-License-Identifier: MIT */
#include "support/played.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

void played_put(int fd, const struct wire_message *message, const int *fds, unsigned count)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	union {
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = bytes, .iov_len = wire_pack(message, bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (count) {
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *attached = CMSG_FIRSTHDR(&header);
		attached->cmsg_level = SOL_SOCKET;
		attached->cmsg_type = SCM_RIGHTS;
		attached->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(attached), fds, count * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(fd, &header, MSG_NOSIGNAL), (ssize_t)part.iov_len);
}

struct wire_message played_get(int fd)
{
	struct wire_message message;
	uint8_t bytes[WIRE_SIZE_MAX];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control)};
	ssize_t size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	struct cmsghdr *attached = size > 0 ? CMSG_FIRSTHDR(&header) : NULL;
	int came;

	ck_assert_int_gt(size, 0);
	if (attached) {
		memcpy(&came, CMSG_DATA(attached), sizeof(came));
		close(came);
	}
	ck_assert_ok(wire_unpack(bytes, (size_t)size, attached != NULL, false, &message));
	return message;
}

struct wire_message played_get_type(int fd, enum wire_type type)
{
	struct wire_message message = played_get(fd);

	ck_assert_int_eq(message.type, type);
	return message;
}

int played_greet(struct played *played)
{
	int fd = accept4(played->listener, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	struct wire_message hello = played_get_type(fd, WIRE_HELLO);
	struct wire_message welcome = {.type = WIRE_WELCOME,
				       .serial = hello.serial,
				       .welcome = {.version = WIRE_VERSION, .epoch = PLAYED_EPOCH}};
	struct wire_message terms = {.type = WIRE_TERMS, .terms = played->terms};
	played_put(fd, &welcome, NULL, 0);
	played_put(fd, &terms, NULL, 0);
	return fd;
}

static void *play(void *data)
{
	struct played *played = data;

	played->play(played);
	return NULL;
}

static void start(struct played *played)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_ptr_nonnull(mkdtemp(played->directory));
	snprintf(played->socket, sizeof(played->socket), "%s/s", played->directory);
	strcpy(address.sun_path, played->socket);
	played->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_ok(bind(played->listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(played->listener, 4));
	for (int i = 0; i < 2; i++)
		ck_assert_ok(pipe2(played->pipes[i], O_CLOEXEC | O_NONBLOCK));
	ck_assert_ok(pthread_create(&played->thread, NULL, play, played));
}

void played_start(struct played *played, void (*script)(struct played *played))
{
	*played = (struct played){.play = script, .directory = "/tmp/ctxd-played-XXXXXX", .obeyed = 1};
	played->terms.grace_ns = 30 * NS_PER_SECOND;
	start(played);
}

void played_start_fleet(struct played *played, uint64_t grace_ns, void (*script)(struct played *played))
{
	*played = (struct played){.play = script, .directory = "/tmp/ctxd-played-XXXXXX", .obeyed = 1};
	played->terms = (struct wire_terms){.grace_ns = grace_ns, .host = "here"};
	start(played);
}

void played_end(struct played *played)
{
	ck_assert_ok(pthread_join(played->thread, NULL));
	played_close(played);
}

void played_close(struct played *played)
{
	for (int i = 0; i < 2; i++)
		for (int end = 0; end < 2; end++)
			if (played->pipes[i][end] >= 0)
				close(played->pipes[i][end]);
	close(played->listener);
	unlink(played->socket);
	rmdir(played->directory);
}

struct ctxd_client *played_client(const struct played *played, unsigned flags,
				  void (*event)(struct ctxd_client *, const struct ctxd_event *, void *),
				  void *data)
{
	struct ctxd_options options = {.socket = played->socket,
				       .flags = flags,
				       .timeout_ns = 30 * NS_PER_SECOND,
				       .event = event,
				       .data = data};
	struct ctxd_client *client;

	ck_assert_ok(ctxd_connect(&options, &client));
	return client;
}

int played_pidfd(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
}
