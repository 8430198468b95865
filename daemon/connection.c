/* SPDX-License-Identifier: MIT */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client_socket.h"
#include "clock.h"
#include "log.h"
#include "passed.h"

/* The most that is queued for one client. */
#define QUEUE_MAX (256 * 1024)
/* How many packets that a process sent before it died are still received. */
#define LAST_WORDS_MAX 32
/* What sending a queued packet and hanging up on a client cost, in the units of broker_work(). */
#define WORK_FLUSH 32
#define WORK_HANG_UP 256
/* After this time a socket is tried again that has room in its queue while the kernel has none. */
#define RETRY_NS 10000000ull

/* A packet that is queued because the socket did not take it. */
struct packet {
	struct packet *next;
	bool is_owed; /* The broker does not keep what it says. */
	unsigned fd_count;
	int fds[WIRE_FDS_MAX];
	size_t size;
	uint8_t bytes[];
};

struct connection {
	struct loop_group group; /* This is first in the structure, for casts. */
	struct list link;	 /* In all->list. */
	struct list turn;	 /* In all->fresh or all->busy, or linked to itself. */
	struct list of_failing, of_slow, of_retries;
	struct connections *all;
	struct peer *peer; /* NULL: there was none, or it is gone. */
	int fd;
	int pidfd; /* A copy of the client's pidfd, for watching its process. */
	uid_t uid; /* For the log, and the user whose closer closes the socket. */
	pid_t pid;
	struct loop_entry input, output, process_end;
	struct packet *queue, **queue_end;
	uint64_t queued_bytes;
	uint64_t slow_ns; /* Since when no packet of the queue was sent. 0: the queue is empty. */
	/* The time at which the queue is tried again. 0: when the socket has room. */
	uint64_t retry_ns;
	int error;		 /* The client is told this error before the service hangs up. */
	bool waits_busy;	 /* turn is in all->busy and not in all->fresh. */
	bool readable, writable; /* What is to be done in the next turn. */
	bool failing;		 /* The connection is to be closed. */
	bool full;		 /* The output said -EAGAIN: peer_writable() is to be called. */
	bool died;
	unsigned last_words; /* The number of packets received since the process died. */
};

/* ---- sending */

/*
 * The descriptors are copies of some that a client gave, and may be the last ones, so a closer closes them.
 */
static void packet_free(struct connection *connection, struct packet *packet)
{
	for (unsigned i = 0; i < packet->fd_count; i++)
		closers_close(connection->all->closers, connection->uid, packet->fds[i], true);
	free(packet);
}

static uint64_t packet_cost(size_t size)
{
	return sizeof(struct packet) + size;
}

/* Has the connection closed in its next turn. The client is told error before that, unless it is 0. */
static void connection_fail(struct connection *connection, int error)
{
	if (connection->failing || connection->group.ending)
		return;
	connection->failing = true;
	connection->error = error;
	list_append(&connection->all->failing, &connection->of_failing);
}

/* Sets since when no packet of the queue was sent. 0: the queue is empty. */
static void set_slow(struct connection *connection, uint64_t slow_ns)
{
	connection->slow_ns = slow_ns;
	list_remove(&connection->of_slow);
	if (slow_ns)
		list_append(&connection->all->slow, &connection->of_slow);
}

static struct packet *packet_new(struct connection *connection, const void *bytes, size_t size,
				 const int *fds, unsigned fd_count)
{
	struct packet *packet = malloc(sizeof(*packet) + size);

	if (!packet)
		return NULL;
	*packet = (struct packet){.size = size};
	memcpy(packet->bytes, bytes, size);
	for (unsigned i = 0; i < fd_count; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (copy < 0) {
			packet_free(connection, packet);
			return NULL;
		}
		packet->fds[packet->fd_count++] = copy;
	}
	return packet;
}

/* Has the queue tried again, after socket_send() returned result, -EAGAIN or -ENOBUFS. */
static void await_room(struct connection *connection, int result)
{
	if (result == -ENOBUFS) {
		connection->retry_ns = clock_now_ns() + RETRY_NS;
		list_remove(&connection->of_retries);
		list_append(&connection->all->retries, &connection->of_retries);
	} else if (!connection->retry_ns) {
		loop_arm(&connection->output, POLLOUT);
	}
}

static int enqueue_packet(struct connection *connection, const void *bytes, size_t size, const int *fds,
			  unsigned fd_count, bool is_owed)
{
	uint64_t cost = packet_cost(size);

	/*
	 * Half of the queue is kept for answers. It is enough, since nothing is received from a client with a
	 * queue.
	 */
	if (!is_owed && connection->queued_bytes + cost > QUEUE_MAX / 2) {
		connection->full = true;
		return -EAGAIN;
	}
	if (connection->queued_bytes + cost > QUEUE_MAX ||
	    !peer_charge_queued(connection->peer, cost, fd_count)) {
		connection->full = true;
		if (is_owed)
			connection_fail(connection, -EDQUOT);
		return -EAGAIN;
	}
	struct packet *packet = packet_new(connection, bytes, size, fds, fd_count);
	if (!packet) {
		peer_return_queued(connection->peer, cost, fd_count);
		connection_fail(connection, -ENOMEM);
		return -ENOMEM;
	}
	if (!connection->queue)
		set_slow(connection, clock_now_ns());
	packet->is_owed = is_owed;
	connection->all->owed += is_owed;
	*connection->queue_end = packet;
	connection->queue_end = &packet->next;
	connection->queued_bytes += cost;
	return 0;
}

static int send_packet(struct connection *connection, const struct wire_message *message, const int *fds,
		       unsigned fd_count, bool is_owed)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	size_t size = wire_pack(message, bytes);
	int result = -EAGAIN;

	if (connection->failing || connection->group.ending)
		return -ESHUTDOWN;
	if (!connection->queue)
		result = socket_send(connection->fd, bytes, size, fds, fd_count);
	if (result == -EAGAIN || result == -ENOBUFS) {
		/* This is needed also if the packet cannot be queued, since nothing else would try again. */
		await_room(connection, result);
		return enqueue_packet(connection, bytes, size, fds, fd_count, is_owed);
	}
	if (result)
		connection_fail(connection, 0);
	return result;
}

static int send_message(void *link, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	return send_packet(link, message, fds, fd_count, true);
}

static int offer_message(void *link, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	return send_packet(link, message, fds, fd_count, false);
}

static void free_first_packet(struct connection *connection)
{
	struct packet *packet = connection->queue;
	uint64_t cost = packet_cost(packet->size);

	connection->queue = packet->next;
	if (!connection->queue) {
		connection->queue_end = &connection->queue;
		set_slow(connection, 0);
	}
	connection->queued_bytes -= cost;
	connection->all->owed -= packet->is_owed;
	peer_return_queued(connection->peer, cost, packet->fd_count);
	packet_free(connection, packet);
}

/* Sends packets of the queue until the socket is full or the turn ends. */
static void flush_queue(struct connection *connection, uint64_t end)
{
	while (connection->queue) {
		struct packet *packet = connection->queue;
		if (broker_work(connection->all->broker) >= end) {
			connection->writable = true;
			return;
		}
		broker_worked(connection->all->broker, WORK_FLUSH);
		int result = socket_send(connection->fd, packet->bytes, packet->size, packet->fds,
					 packet->fd_count);
		if (result == -EAGAIN || result == -ENOBUFS) {
			await_room(connection, result);
			return;
		}
		if (result) {
			connection_fail(connection, 0);
			return;
		}
		free_first_packet(connection);
		if (connection->queue)
			set_slow(connection, clock_now_ns());
	}
}

/* ---- closing */

static void say_goodbye(struct connection *connection)
{
	struct wire_message message = {.type = WIRE_GOODBYE, .goodbye = {.error = connection->error}};
	uint8_t bytes[WIRE_SIZE_MAX];

	if (connection->error && !connection->queue)
		socket_send(connection->fd, bytes, wire_pack(&message, bytes), NULL, 0);
}

static void connection_gone(struct loop_group *group)
{
	struct connection *connection = (struct connection *)group;
	struct connections *all = connection->all;

	/* Closing the socket also closes the descriptors in packets that were never received. */
	closers_hang_up(all->closers, connection->uid, connection->fd);
	if (connection->pidfd >= 0)
		close(connection->pidfd);
	list_remove(&connection->link);
	all->count--;
	free(connection);
	all->closed(all);
}

static void connection_hang_up(struct connection *connection)
{
	if (connection->group.ending)
		return;
	say_goodbye(connection);
	if (connection->error && connection->error != -ESHUTDOWN &&
	    log_admits(LOG_LEVEL_WARNING, connection->uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_WARNING, "disconnect", "uid=%u pid=%d error=%s", connection->uid,
			  connection->pid, strerrorname_np(-connection->error));
	while (connection->queue)
		free_first_packet(connection);
	lanes_remove(connection->waits_busy ? &connection->all->busy : &connection->all->fresh,
		     &connection->turn);
	list_remove(&connection->of_retries);
	shutdown(connection->fd, SHUT_RDWR);
	loop_group_end(&connection->group, connection_gone);
	struct peer *peer = connection->peer;
	connection->peer = NULL;
	if (peer)
		peer_free(peer, connection->died, clock_now_ns());
}

/* ---- receiving */

/* Whether this process may have fewer than PASSED_MAX descriptors free. */
static bool is_short_of_fds(const struct connections *all)
{
	return broker_fds(all->broker) + closers_fds(all->closers) + OWN_FDS + PASSED_MAX > all->fds_limit;
}

/*
 * Receives one packet and hands it to the broker. False: there was none, or the connection is to be closed.
 */
static bool receive_one(struct connection *connection)
{
	uint8_t bytes[WIRE_SIZE_MAX + 1];
	union passed_room control;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes)};
	int fds[PASSED_MAX];

	ssize_t size = socket_receive(connection->fd, &header, is_short_of_fds(connection->all));
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* An empty packet can bring descriptors as well. */
	unsigned fd_count = size < 0 ? 0 : passed_take(&header, fds);
	int error = 0;
	if (size <= 0 || header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		error = size < 0 || (size == 0 && !fd_count) ? 0
			: header.msg_flags & MSG_CTRUNC	     ? -EMFILE
							     : -EPROTO;
		peer_close_given(connection->peer, fds, fd_count);
		connection_fail(connection, error);
		return false;
	}
	error = peer_receive(connection->peer, bytes, (size_t)size, fds, fd_count, clock_now_ns());
	if (error)
		connection_fail(connection, error);
	return !error && !connection->failing;
}

/* ---- turns */

static void await_turn(struct connection *connection, bool busy)
{
	if (connection->group.ending || !list_empty(&connection->turn))
		return;
	connection->waits_busy = busy;
	lanes_add(busy ? &connection->all->busy : &connection->all->fresh, connection->uid,
		  &connection->turn);
}

static void input_ready(struct loop_entry *entry, short revents)
{
	struct connection *connection = (struct connection *)entry->group;

	(void)revents;
	connection->readable = true;
	await_turn(connection, false);
}

static void output_ready(struct loop_entry *entry, short revents)
{
	struct connection *connection = (struct connection *)entry->group;

	(void)revents;
	connection->writable = true;
	await_turn(connection, false);
}

/* The client's process has ended. A child of it may still hold the socket. */
static void process_ended(struct loop_entry *entry, short revents)
{
	struct connection *connection = (struct connection *)entry->group;

	(void)revents;
	connection->died = true;
	await_turn(connection, false);
}

static void write_some(struct connection *connection, uint64_t end)
{
	connection->writable = false;
	flush_queue(connection, end);
	if (connection->full && connection->queued_bytes < QUEUE_MAX / 4 && !connection->failing) {
		connection->full = false;
		peer_writable(connection->peer);
	}
	/* If packets are left in the queue, it is tried again, and the client is read from after that. */
	connection->readable |= !connection->queue;
}

static void read_some(struct connection *connection, uint64_t end)
{
	connection->readable = false;
	while (!connection->queue && receive_one(connection))
		if (broker_work(connection->all->broker) >= end) {
			connection->readable = true;
			return;
		}
	/* Nothing is received from a client that does not take its answers. */
	if (!connection->queue && !connection->failing)
		loop_arm(&connection->input, POLLIN);
}

/* Receives what the process sent before it died. */
static void read_last_words(struct connection *connection, uint64_t end)
{
	while (connection->last_words++ < LAST_WORDS_MAX && receive_one(connection))
		if (broker_work(connection->all->broker) >= end)
			return;
	connection_fail(connection, 0);
}

static void take_turn(struct connection *connection)
{
	uint64_t end = broker_work(connection->all->broker) + WORK_TURN;
	struct rlimit limit;

	connection->all->fds_limit = getrlimit(RLIMIT_NOFILE, &limit) ? 0 : limit.rlim_cur;
	if (connection->failing)
		return;
	if (connection->writable)
		write_some(connection, end);
	if (connection->died && !connection->failing)
		read_last_words(connection, end);
	else if (connection->readable && !connection->failing)
		read_some(connection, end);
	if (connection->readable || connection->writable || (connection->died && !connection->failing))
		await_turn(connection, true);
}

static bool take_turn_of(struct lanes *lanes)
{
	struct list *link = lanes_take(lanes);

	if (link)
		take_turn(container_of(link, struct connection, turn));
	return link != NULL;
}

/* Closes one connection on which something went wrong. False: there is none. */
static bool close_failed(struct connections *all)
{
	struct list *link = all->failing.next;

	if (link == &all->failing)
		return false;
	list_remove(link);
	broker_worked(all->broker, WORK_HANG_UP);
	connection_hang_up(container_of(link, struct connection, of_failing));
	return true;
}

static void take_turns(struct connections *all)
{
	uint64_t end = broker_work(all->broker) + WORK_ROUND;

	for (bool more = true; more && broker_work(all->broker) < end;) {
		more = take_turn_of(&all->fresh);
		more |= take_turn_of(&all->busy);
		more |= close_failed(all);
	}
}

/* ---- opening */

static int connection_set_up(struct connection *connection, const struct identity *identity)
{
	struct peer_output output = {.send = send_message, .offer = offer_message, .link = connection};
	char label[CTX_LABEL_MAX + 1];
	int error = 0;

	connection->pidfd = -1;
	if (identity->pidfd >= 0) {
		connection->pidfd = fcntl(identity->pidfd, F_DUPFD_CLOEXEC, 3);
		error = connection->pidfd < 0 ? -errno : 0;
	}
	snprintf(label, sizeof(label), "client %d", identity->pid);
	if (!error)
		error = loop_group_begin(connection->all->loop, &connection->group, label);
	if (error) {
		free(identity->groups);
		if (identity->pidfd >= 0)
			close(identity->pidfd);
		if (connection->pidfd >= 0)
			close(connection->pidfd);
		return error;
	}
	return peer_new(connection->all->broker, identity, &output, clock_now_ns(), &connection->peer);
}

/* Tells the client at fd why it is refused, and closes fd. */
static void refuse_client(struct connections *all, int fd, uid_t uid, int error)
{
	struct wire_message message = {.type = WIRE_GOODBYE, .goodbye = {.error = error}};
	uint8_t bytes[WIRE_SIZE_MAX];

	socket_send(fd, bytes, wire_pack(&message, bytes), NULL, 0);
	if (log_admits(LOG_LEVEL_INFO, uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_INFO, "refused", "error=%s", strerrorname_np(-error));
	shutdown(fd, SHUT_RDWR);
	closers_hang_up(all->closers, uid, fd);
}

void connection_refuse(struct connections *all, int fd, int error)
{
	struct ucred credentials = {.uid = getuid()};
	socklen_t size = sizeof(credentials);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
	refuse_client(all, fd, credentials.uid, error);
}

void connection_open(struct connections *all, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct identity identity = {.uid = getuid()};
	int error = connection ? socket_identify(fd, &identity) : -ENOMEM;

	if (error) {
		refuse_client(all, fd, identity.uid, error);
		free(connection);
		return;
	}
	connection->all = all;
	connection->fd = fd;
	connection->uid = identity.uid;
	connection->pid = identity.pid;
	connection->queue_end = &connection->queue;
	struct list *links[] = {&connection->link, &connection->turn, &connection->of_failing,
				&connection->of_slow, &connection->of_retries};
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		list_init(links[i]);
	error = connection_set_up(connection, &identity);
	if (error && !connection->group.loop) {
		refuse_client(all, fd, identity.uid, error);
		free(connection);
		return;
	}
	list_append(&all->list, &connection->link);
	all->count++;
	loop_entry_init(&connection->input, &connection->group, fd, input_ready);
	loop_entry_init(&connection->output, &connection->group, fd, output_ready);
	loop_entry_init(&connection->process_end, &connection->group, connection->pidfd, process_ended);
	if (error) {
		connection->error = error;
		connection_hang_up(connection);
		return;
	}
	loop_arm(&connection->input, POLLIN);
	if (connection->pidfd >= 0)
		loop_arm(&connection->process_end, POLLIN);
}

void connections_init(struct connections *all)
{
	struct list *lists[] = {&all->list, &all->failing, &all->slow, &all->retries};

	lanes_init(&all->fresh);
	lanes_init(&all->busy);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
}

/* Closes all connections at once, for the end of the service. */
void connections_end(struct connections *all, int error)
{
	for (struct list *link = all->list.next; link != &all->list; link = link->next)
		connection_fail(container_of(link, struct connection, link), error);
	while (close_failed(all))
		;
}

/* Costs one step for each connection that is due, and nothing for the others. */
void connections_tick(struct connections *all, uint64_t now_ns)
{
	while (!list_empty(&all->slow)) {
		struct connection *connection = container_of(all->slow.next, struct connection, of_slow);
		if (now_ns < connection->slow_ns + all->config->slow_ns)
			break;
		list_remove(&connection->of_slow);
		connection_fail(connection, -ETIMEDOUT);
	}
	while (!list_empty(&all->retries)) {
		struct connection *connection =
			container_of(all->retries.next, struct connection, of_retries);
		if (now_ns < connection->retry_ns)
			break;
		list_remove(&connection->of_retries);
		connection->retry_ns = 0;
		loop_arm(&connection->output, POLLOUT);
	}
	take_turns(all);
}

uint64_t connections_next_ns(const struct connections *all)
{
	uint64_t next_ns = UINT64_MAX;

	if (all->fresh.count || all->busy.count || !list_empty(&all->failing))
		return 0;
	if (!list_empty(&all->slow))
		next_ns = container_of(all->slow.next, struct connection, of_slow)->slow_ns +
			  all->config->slow_ns;
	if (!list_empty(&all->retries)) {
		uint64_t retry_ns = container_of(all->retries.next, struct connection, of_retries)->retry_ns;
		next_ns = retry_ns < next_ns ? retry_ns : next_ns;
	}
	return next_ns;
}
