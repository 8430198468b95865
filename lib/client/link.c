/* SPDX-License-Identifier: MIT */
/* The socket of a client: sending, closing, and when to connect again. */
#include "client.h"
#include "clock.h"
#include "passed.h"
#include "sys.h"

/* The time until sending is tried again after the kernel had no room. */
#define STARVED_NS (10 * 1000000ull)
#define DELAY_FIRST_NS (10 * 1000000ull)
#define DELAY_MAX_NS (250 * 1000000ull)

/* ---- when to connect again */

void link_later(struct ctxd_client *client)
{
	if (!client->delay_ns) {
		client->delay_ns = DELAY_FIRST_NS;
		client_timer_after(client, TIMER_CONNECT,
				   client->options.flags & CLIENT_LATER ? 0 : DELAY_FIRST_NS);
		return;
	}
	/*
	 * A part of the delay is random, so that the clients of a service that has ended do not all come at
	 * the same moment.
	 */
	uint64_t jitter_ns = clock_now_ns() % (client->delay_ns / 4 + 1);
	client_timer_after(client, TIMER_CONNECT, client->delay_ns - jitter_ns);
	client->delay_ns = client->delay_ns * 2 > DELAY_MAX_NS ? DELAY_MAX_NS : client->delay_ns * 2;
}

void link_close(struct ctxd_client *client)
{
	int fd = client->socket.fd;

	if (fd >= 0 && file_id_matches(client->socket.file, fd)) {
		epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		dispose_socket(fd);
	}
	client->socket.fd = -1;
}

/* ---- sending */

int link_send(struct ctxd_client *client, const struct wire_message *message, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	struct iovec part = {.iov_base = bytes, .iov_len = wire_pack(message, bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union passed_one room;

	if (client->socket.fd < 0 || !file_id_matches(client->socket.file, client->socket.fd))
		return -ENOTCONN;
	if (fd >= 0)
		passed_attach(&header, &room, &fd, 1);
	int result = sys_sendmsg(client->socket.fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	/*
	 * Too many descriptors are in flight, or there is no memory. That passes, but the socket does not
	 * tell when.
	 */
	client->starved = result == -ENOBUFS || result == -ETOOMANYREFS || result == -ENOMEM;
	if (client->starved) {
		client_timer_set(client, TIMER_SEND, clock_now_ns() + STARVED_NS);
		return -EAGAIN;
	}
	if (result == -EAGAIN || result == -EINTR) {
		link_block(client);
		return -EAGAIN;
	}
	return result < 0 ? -ENOTCONN : 0;
}

static void link_ask_for(struct ctxd_client *client, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = &client->socket};

	epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, client->socket.fd, &event);
}

void link_block(struct ctxd_client *client)
{
	if (client->blocked)
		return;
	client->blocked = true;
	link_ask_for(client, EPOLLIN | EPOLLOUT);
}

void link_unblock(struct ctxd_client *client)
{
	lock_acquire(&client->lock);
	if (client->blocked && client->socket.fd >= 0) {
		client->blocked = false;
		link_ask_for(client, EPOLLIN);
	}
	lock_release(&client->lock);
}
