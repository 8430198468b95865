/* SPDX-License-Identifier: MIT */
/* The socket to ctxd: connecting, sending, receiving. What messages mean, receive.c knows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "parts.h"
#include "passed.h"

#define DELAY_FIRST_NS (10 * MILLISECOND_NS)
#define DELAY_MAX_NS (250 * MILLISECOND_NS)
/* The time until sending is tried again after the kernel had no memory. */
#define STARVED_NS (10 * MILLISECOND_NS)
/* So many requests may have no answer: their answers are queued at ctxd. */
#define WAITING_MAX 128
/* Nothing is received while answers of so many bytes wait to be sent. */
#define QUEUED_MAX (256 * 1024u)

/* An answer that the socket did not take yet. */
struct packet {
	struct list link;
	int fd; /* -1: none */
	size_t size;
	uint8_t bytes[];
};

void service_init(struct bridge *bridge, const char *path)
{
	bridge->service = (struct service){.fd = -1, .path = path, .due_ns = bridge->now_ns};
	list_init(&bridge->service.queue);
}

uint64_t service_wake_ns(const struct bridge *bridge)
{
	return bridge->service.is_broken ? 0 : bridge->service.due_ns;
}

/* ---- the connection */

/*
 * Whether the one who listens may be ctxd: root, or the user of the bridge. The environment may lead to
 * anybody's socket.
 */
static int check_listener(int fd)
{
	struct ucred listener;
	socklen_t size = sizeof(listener);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size))
		return -errno;
	return listener.uid == 0 || listener.uid == geteuid() ? 0 : -EPERM;
}

/* named: a person has given the path, and is trusted to know whose it is. The descriptor, or -errno. */
static int connect_to(const char *path, bool named)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	int result = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (!result && !named)
		result = check_listener(fd);
	if (!result)
		return fd;
	close(fd);
	return result;
}

static int connect_to_any(const struct service *service)
{
	char path[108];
	int first = -ENOENT;

	if (service->path)
		return connect_to(service->path, true);
	for (unsigned place = 0;; place++) {
		int result = wire_socket_path(place, path);
		if (result == -ENOENT)
			return first;
		if (!result)
			result = connect_to(path, false);
		if (result >= 0)
			return result;
		if (result != -ENOENT && first == -ENOENT)
			first = result; /* The first other error says more. */
	}
}

static void connect_later(struct bridge *bridge)
{
	struct service *service = &bridge->service;

	service->due_ns = clock_after_ns(bridge->now_ns, service->delay_ns);
	service->delay_ns = service->delay_ns ? service->delay_ns * 2 : DELAY_FIRST_NS;
	if (service->delay_ns > DELAY_MAX_NS)
		service->delay_ns = DELAY_MAX_NS;
}

static void send_hello(struct bridge *bridge)
{
	struct wire_message hello = {.type = WIRE_HELLO, .serial = (uint64_t)REQUEST_HELLO << 56};

	hello.hello = (struct wire_hello){.version_min = WIRE_VERSION, .version_max = WIRE_VERSION};
	strcpy(hello.hello.process, "ctxd-fleet");
	/* The kernel may have no memory. */
	if (service_send(bridge, &hello, -1))
		bridge->service.is_broken = true;
}

static void open_connection(struct bridge *bridge)
{
	struct service *service = &bridge->service;
	int fd = connect_to_any(service);
	int result = fd < 0 ? fd : watch_add(bridge, WATCHED_SERVICE, 0, fd, EPOLLIN);

	if (result) {
		if (fd >= 0)
			close(fd);
		report_event(&bridge->reports, REPORT_AWAY, bridge->now_ns, LOG_LEVEL_WARNING, "service",
			     "state=away error=%s", strerrorname_np(-result));
		connect_later(bridge);
		return;
	}
	service->fd = fd;
	service->state = SERVICE_GREETING;
	service->due_ns = UINT64_MAX;
	send_hello(bridge);
}

void service_close(struct bridge *bridge)
{
	struct service *service = &bridge->service;

	while (!list_empty(&service->queue)) {
		struct packet *packet = container_of(service->queue.next, struct packet, link);
		list_remove(&packet->link);
		if (packet->fd >= 0)
			close(packet->fd);
		free(packet);
	}
	if (service->fd >= 0)
		close(service->fd);
	service->fd = -1;
	service->queued = 0;
	service->waiting = 0;
	service->is_broken = service->is_blocked = false;
	if (service->state == SERVICE_READY)
		service->delay_ns = 0;
	service->state = SERVICE_AWAY;
	connect_later(bridge);
}

void service_tick(struct bridge *bridge)
{
	struct service *service = &bridge->service;

	if (bridge->now_ns < service->due_ns)
		return;
	if (service->state == SERVICE_AWAY) {
		open_connection(bridge);
		return;
	}
	service->is_blocked = false;
	service->due_ns = UINT64_MAX;
}

/* ---- sending */

uint64_t service_serial(struct service *service, enum request request, uint32_t slot, uint32_t *ret_tag)
{
	service->last_tag = (service->last_tag + 1) & 0xffffff;
	if (!service->last_tag)
		service->last_tag = 1;
	*ret_tag = service->last_tag;
	return (uint64_t)request << 56 | (uint64_t)service->last_tag << 32 | slot;
}

bool service_has_room(const struct service *service)
{
	return service->waiting < WAITING_MAX;
}

bool service_is_full(const struct service *service)
{
	return service->queued >= QUEUED_MAX;
}

static void watch_socket(struct bridge *bridge)
{
	const struct service *service = &bridge->service;
	uint32_t events = 0;

	/* After a lack of memory the time says when to try again. */
	if (service->is_blocked && service->due_ns == UINT64_MAX)
		events |= EPOLLOUT;
	if (!service_is_full(service))
		events |= EPOLLIN;
	watch_change(bridge, WATCHED_SERVICE, 0, service->fd, events);
}

static int send_bytes(struct bridge *bridge, uint8_t *bytes, size_t size, int fd)
{
	struct service *service = &bridge->service;
	struct iovec part = {.iov_base = bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	union passed_one room;

	if (service->fd < 0 || service->is_broken)
		return -ENOTCONN;
	if (service->is_blocked)
		return -EAGAIN;
	if (fd >= 0)
		passed_attach(&header, &room, &fd, 1);
	if (sendmsg(service->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	switch (errno) {
	case ENOBUFS:
	case ENOMEM:
	case ETOOMANYREFS:
		/* That passes, but the socket does not tell when. */
		service->due_ns = clock_after_ns(bridge->now_ns, STARVED_NS);
		break;
	case EAGAIN:
	case EINTR:
		break;
	default:
		/* What ctxd has sent last is received first: it may say why. Nothing is received behind a
		 * full queue, which never gets shorter now. */
		service->is_broken |= service_is_full(service);
		return -ENOTCONN;
	}
	service->is_blocked = true;
	watch_socket(bridge);
	return -EAGAIN;
}

int service_send(struct bridge *bridge, const struct wire_message *message, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	return send_bytes(bridge, bytes, wire_pack(message, bytes), fd);
}

void service_answer(struct bridge *bridge, const struct wire_message *message, int fd)
{
	struct service *service = &bridge->service;
	uint8_t bytes[WIRE_SIZE_MAX];
	size_t size = wire_pack(message, bytes);
	int result = list_empty(&service->queue) ? send_bytes(bridge, bytes, size, fd) : -EAGAIN;
	struct packet *packet = result == -EAGAIN ? malloc(sizeof(*packet) + size) : NULL;

	if (!packet) {
		/* ctxd would wait for an answer that is lost for want of memory. */
		if (result == -EAGAIN)
			service->is_broken = true;
		if (fd >= 0)
			close(fd);
		return;
	}
	packet->fd = fd;
	packet->size = size;
	memcpy(packet->bytes, bytes, size);
	list_append(&service->queue, &packet->link);
	service->queued += size;
	if (service_is_full(service))
		watch_socket(bridge);
}

void service_writable(struct bridge *bridge)
{
	bridge->service.is_blocked = false;
	watch_socket(bridge);
}

bool service_flush(struct bridge *bridge)
{
	struct service *service = &bridge->service;

	while (!list_empty(&service->queue)) {
		struct packet *packet = container_of(service->queue.next, struct packet, link);
		bool was_full = service_is_full(service);
		if (send_bytes(bridge, packet->bytes, packet->size, packet->fd))
			return false;
		list_remove(&packet->link);
		service->queued -= packet->size;
		if (packet->fd >= 0)
			close(packet->fd);
		free(packet);
		if (was_full && !service_is_full(service))
			watch_socket(bridge);
	}
	return true;
}

/* ---- receiving */

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/*
 * Reads a message whose descriptors are not all there, because this process has no room for them. How many
 * the sender meant is not known, so each number that fits is tried.
 */
static bool unpack_cut(const uint8_t *bytes, size_t size, struct wire_message *ret_message)
{
	for (unsigned count = 1; count <= WIRE_FDS_MAX; count++)
		if (!wire_unpack(bytes, size, count, true, ret_message))
			return true;
	return false;
}

int service_receive(struct bridge *bridge, struct wire_message *ret_message, int ret_fds[WIRE_FDS_MAX],
		    unsigned *ret_fd_count, bool *ret_is_cut)
{
	struct service *service = &bridge->service;
	uint8_t bytes[WIRE_SIZE_MAX + 1];
	union passed_room control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes)};
	int fds[PASSED_MAX];

	ssize_t size = recvmsg(service->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/* ctxd hung up without reading all we sent: the socket tells that first, and then has what ctxd sent
	 * last. */
	if (size < 0 && errno == ECONNRESET) {
		header.msg_controllen = sizeof(control.bytes);
		size = recvmsg(service->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	}
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	unsigned count = size < 0 ? 0 : passed_take(&header, fds);
	*ret_is_cut = size > 0 && header.msg_flags & MSG_CTRUNC;
	bool is_read =
		size > 0 && (*ret_is_cut ? unpack_cut(bytes, (size_t)size, ret_message)
					 : !wire_unpack(bytes, (size_t)size, count, true, ret_message));
	if (*ret_is_cut || !is_read || count > WIRE_FDS_MAX) {
		close_all(fds, count);
		count = 0;
	}
	if (!is_read) {
		if (size > 0)
			report_event(&bridge->reports, REPORT_SERVICE, bridge->now_ns, LOG_LEVEL_ERROR,
				     "service", "reason=\"a message cannot be understood\" bytes=%zd", size);
		service->is_broken = true;
		return 0;
	}
	memcpy(ret_fds, fds, count * sizeof(*fds));
	*ret_fd_count = count;
	return 1;
}
