/* SPDX-License-Identifier: MIT */
#include "soak/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "soak/verdict.h"

static int listener_new(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, 4),
	     "no listener: %d", errno);
	return fd;
}

/* Answers at once, or the handshake goes on. */
static int connect_to(int listener)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	must(fd >= 0 && !getsockname(listener, (struct sockaddr *)&address, &size), "no socket: %d", errno);
	if (connect(fd, (struct sockaddr *)&address, size))
		must(errno == EINPROGRESS || errno == ECONNREFUSED || errno == EADDRNOTAVAIL, "connect: %d",
		     errno);
	return fd;
}

static void tcp_new(int fds[2])
{
	int listener = listener_new();

	fds[1] = connect_to(listener);
	fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(fds[0] >= 0, "accept: %d", errno);
	close(listener);
}

static int timer_new(void)
{
	struct itimerspec times = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	must(fd >= 0 && !timerfd_settime(fd, 0, &times, NULL), "no timer: %d", errno);
	return fd;
}

void channel_open(struct channel *channel, enum channel_kind kind)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	int fds[2] = {-1, -1}, small = 4608;

	switch (kind) {
	case CHANNEL_UNIX:
	case CHANNEL_SEQPACKET:
	case CHANNEL_DATAGRAM:
		must(!socketpair(AF_UNIX, types[kind] | SOCK_CLOEXEC, 0, fds), "no sockets: %d", errno);
		break;
	case CHANNEL_TCP:
		tcp_new(fds);
		break;
	case CHANNEL_PIPE:
	case CHANNEL_OUTWARD:
		must(!pipe2(fds, O_CLOEXEC), "no pipe: %d", errno);
		fcntl(fds[0], F_SETPIPE_SZ, 4096);
		break;
	case CHANNEL_EVENT:
		fds[0] = eventfd(0, EFD_CLOEXEC);
		break;
	case CHANNEL_TIMER:
		fds[0] = timer_new();
		break;
	default:
		fds[0] = listener_new();
		break;
	}
	*channel = kind == CHANNEL_OUTWARD ? (struct channel){kind, fds[1], fds[0]}
					   : (struct channel){kind, fds[0], fds[1]};
	must(channel->near >= 0, "no descriptor: %d", errno);
	/* So that what is sent soon waits. */
	if (channel_is_socket(channel))
		setsockopt(channel->near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if (channel->far >= 0)
		fcntl(channel->far, F_SETFL, O_NONBLOCK);
}

void channel_close_far(struct channel *channel)
{
	if (channel->far >= 0)
		close(channel->far);
	channel->far = -1;
}

void channel_feed(struct chance *chance, struct channel *channel)
{
	static const char bytes[600];
	char taken[4096];
	uint64_t one = 1;
	ssize_t moved = 0;

	if (channel->kind == CHANNEL_EVENT) {
		moved = write(channel->near, &one, sizeof(one));
	} else if (channel->kind == CHANNEL_LISTENER) {
		channel_close_far(channel);
		channel->far = connect_to(channel->near);
	} else if (channel->far < 0) {
		return;
	} else if (chance_one_in(chance, 60)) {
		channel_close_far(channel);
	} else if (channel->kind != CHANNEL_OUTWARD && !chance_one_in(chance, 4)) {
		moved = write(channel->far, bytes, 1 + chance_below(chance, sizeof(bytes)));
	} else if (channel->kind != CHANNEL_PIPE) {
		moved = read(channel->far, taken, sizeof(taken));
	}
	(void)moved; /* what does not go now does not go */
}
