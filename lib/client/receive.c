/* SPDX-License-Identifier: MIT */
/* The connection of a client: opening it, and handling the messages that come in. */
#include <string.h>
#include <sys/un.h>

#include "client.h"
#include "overflow.h"
#include "passed.h"
#include "sys.h"
#include "table.h"

/* One turn receives at most so many messages, so that other events are handled, too. */
#define RECEIVE_MAX 64

/* ---- opening */

/*
 * Checks who made the socket listen. The service sees our contexts and says which of them end, so only root
 * may be it, and the user that we act for. The environment may lead to anybody's socket. 0 or -EPERM.
 */
static int check_listener(int fd)
{
	struct ucred listener;
	socklen_t size = sizeof(listener);
	uid_t own = geteuid();
	int result = sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size);

	if (result || listener.uid == 0)
		return result;
	return listener.uid == own && own != overflow_uid() ? 0 : -EPERM;
}

/* Connects to the socket of that path. named: the program itself has named it, and is trusted to know whose
 * it is. */
static int open_at(struct ctxd_client *client, const char *path, bool named)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = sys_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return fd;
	strcpy(address.sun_path, path);
	int result = sys_connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (!result && !named)
		result = check_listener(fd);
	if (!result) {
		client->socket.fd = fd;
		result = client_poll(client, &client->socket, EPOLLIN);
	}
	if (result) {
		client->socket.fd = -1;
		sys_close(fd);
	}
	return result;
}

static int open_socket(struct ctxd_client *client)
{
	char path[108];
	int first = -ENOENT;

	if (client->path[0])
		return open_at(client, client->path, true);
	for (unsigned place = 0;; place++) {
		int result = wire_socket_path(place, path);
		if (!result)
			result = open_at(client, path, false);
		else if (result == -ENOENT)
			return first;
		if (!result)
			return 0;
		if (result != -ENOENT && first == -ENOENT)
			first = result; /* the first other error says more than -ENOENT */
	}
}

int link_open(struct ctxd_client *client)
{
	struct wire_message hello = {.type = WIRE_HELLO};
	int table = client->options.flags & CTXD_PUBLISH ? table_descriptor() : -ENOENT;

	client->refused = 0;
	if (!dispose_has_room())
		return -EPROTO;
	lock_acquire(&client->lock);
	int result = open_socket(client);
	if (!result) {
		client->state = CLIENT_GREETING;
		client->blocked = client->starved = false;
		hello.serial = client->hello_serial = ++client->serial;
		hello.hello = (struct wire_hello){.version_min = WIRE_VERSION, .version_max = WIRE_VERSION};
		if (table >= 0)
			hello.hello.flags = WIRE_PUBLISH;
		strncpy(hello.hello.process, program_invocation_short_name, sizeof(hello.hello.process) - 1);
		result = link_send(client, &hello, table);
	}
	lock_release(&client->lock);
	/* If the service hung up at once, its GOODBYE may say why. */
	if (result)
		link_receive(client);
	if (result && client->socket.fd >= 0)
		link_break(client);
	return client->refused ? client->refused : result;
}

void link_break(struct ctxd_client *client)
{
	static const struct ctxd_event away = {.kind = CTXD_EVENT_AWAY};
	bool was_ready = client->was_ready;

	lock_acquire(&client->lock);
	link_close(client);
	client->state = CLIENT_AWAY;
	calls_fail(client, -ENOTCONN);
	lock_release(&client->lock);
	bonds_forget(client);
	/* Nobody waits for a report any more. The next service would take its serial for one of its own. */
	orders_forget(client);
	client->was_ready = false;
	if (was_ready) {
		client->delay_ns = 0;
		client->come_back = true;
		client_tell(client, &away);
	}
	link_later(client);
}

/* ---- receiving */

static void take_welcome(struct ctxd_client *client, const struct wire_message *message)
{
	if (client->state != CLIENT_GREETING || message->serial != client->hello_serial ||
	    message->welcome.version != WIRE_VERSION) {
		client->refused = -EPROTO;
		link_break(client);
		return;
	}
	client->epoch = message->welcome.epoch;
	client->hello_serial = 0;
}

/* The terms follow the welcome: a client that is ready knows whether there is a fleet. */
static void take_terms(struct ctxd_client *client, const struct wire_terms *terms)
{
	lock_acquire(&client->lock);
	bool first = client->state == CLIENT_GREETING && !client->hello_serial;
	client->grace_ns = terms->grace_ns;
	memcpy(client->host, terms->host, sizeof(client->host));
	if (first)
		client->state = CLIENT_RESTORING;
	lock_release(&client->lock);
	if (!first)
		return;
	client->delay_ns = 0;
	bonds_restore(client);
}

/* An answer came that no call waits for any more: withdraws the share or join that it gave. */
static void withdraw_unwanted(struct ctxd_client *client, const struct wire_message *message)
{
	struct wire_message back = {0};

	if (message->type == WIRE_JOINED && !message->joined.ended) {
		back.type = WIRE_LEAVE;
		back.attach.id = message->joined.id;
	} else if (message->type == WIRE_RESULT && !message->result.error &&
		   !wire_id_is_none(message->result.id)) {
		back.type = WIRE_UNSHARE;
		back.id = message->result.id;
	} else if (message->type == WIRE_SHARED) {
		back.type = WIRE_UNSHARE;
		back.id = message->shared.id;
	} else {
		return;
	}
	lock_acquire(&client->lock);
	int result = link_send(client, &back, -1);
	lock_release(&client->lock);
	bool joined = back.type == WIRE_LEAVE;
	if (result == -EAGAIN)
		bond_give_back(client, joined ? back.attach.id : back.id, joined);
}

static void take_event(struct ctxd_client *client, const struct wire_event *from)
{
	struct ctxd_event event = {
		.kind = (enum ctxd_event_kind)from->kind, .lost = from->lost, .entry = from->entry};

	client_tell(client, &event);
}

/* Handles one message. True: the descriptors were taken over. */
static bool take_message(struct ctxd_client *client, const struct wire_message *message, const int *fds,
			 unsigned fd_count)
{
	switch (message->type) {
	case WIRE_WELCOME:
		take_welcome(client, message);
		return false;
	case WIRE_GOODBYE:
		client->refused = message->goodbye.error;
		link_break(client);
		return false;
	case WIRE_ORDER:
		order_take(client, message);
		return false;
	case WIRE_MOVED:
		join_moved(client, &message->move);
		return false;
	case WIRE_EVENT:
		take_event(client, &message->event);
		return false;
	case WIRE_TERMS:
		take_terms(client, &message->terms);
		return false;
	default:
		if (bonds_restored(client, message))
			return false;
		if (remote_answered(client, message, fds))
			return true;
		if (call_answer(client, message, fds, fd_count))
			return true;
		withdraw_unwanted(client, message);
		return false;
	}
}

/*
 * Handles a message whose descriptors are not all there, because this process has no room for them. How many
 * the sender meant is not known, so each number that fits is tried.
 */
static void take_truncated(struct ctxd_client *client, const uint8_t *bytes, size_t size)
{
	struct wire_message message;

	for (unsigned count = 0; count <= WIRE_FDS_MAX; count++) {
		if (wire_unpack(bytes, size, count, true, &message))
			continue;
		withdraw_unwanted(client, &message);
		call_fail(client, message.serial, -EMFILE);
		remote_failed(client, message.serial);
	}
}

/*
 * Closes descriptors that came with a message and are not used. Ends the connection to a service that sends
 * so many of them. Returns as receive_one does.
 */
static int close_unwanted(struct ctxd_client *client, const int *fds, unsigned fd_count)
{
	dispose(fds, fd_count);
	if (!fd_count || dispose_has_room())
		return 1;
	client->refused = -EPROTO;
	link_break(client);
	return 0;
}

/* Receives and handles one message. 1: it was handled; 0: there is none, or the connection is gone. */
static int receive_one(struct ctxd_client *client)
{
	uint8_t bytes[WIRE_SIZE_MAX + 1];
	union passed_room control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes)};
	struct wire_message message;
	int fds[PASSED_MAX];

	int size = sys_recvmsg(client->socket.fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/*
	 * The service hung up without reading all we sent: the socket tells that first, and then has what the
	 * service sent last.
	 */
	if (size == -ECONNRESET)
		size = sys_recvmsg(client->socket.fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size == -EAGAIN || size == -EINTR)
		return 0;
	/* An empty packet may have descriptors as well. */
	unsigned fd_count = size < 0 ? 0 : passed_take(&header, fds);
	if (size <= 0) {
		dispose(fds, fd_count);
		link_break(client);
		return 0;
	}
	if (header.msg_flags & MSG_CTRUNC) {
		take_truncated(client, bytes, (size_t)size);
		return close_unwanted(client, fds, fd_count);
	}
	int error = header.msg_flags & MSG_TRUNC ? -EPROTO
						 : wire_unpack(bytes, (size_t)size, fd_count, true, &message);
	if (error) {
		dispose(fds, fd_count);
		client->refused = error;
		link_break(client);
		return 0;
	}
	if (!descriptors_are_right(client, &message, fds)) {
		withdraw_unwanted(client, &message);
		call_fail(client, message.serial, -EPROTO);
		remote_failed(client, message.serial);
		return close_unwanted(client, fds, fd_count);
	}
	return take_message(client, &message, fds, fd_count) ? 1 : close_unwanted(client, fds, fd_count);
}

int link_receive(struct ctxd_client *client)
{
	int count = 0;

	while (client->socket.fd >= 0 && count < RECEIVE_MAX && receive_one(client))
		count++;
	return count;
}
