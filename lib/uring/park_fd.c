/* SPDX-License-Identifier: MIT */
/*
 * How the library knows whether descriptors are ready: by one edge-triggered epoll set for all of them.
 *
 * A multishot poll for each descriptor would be the other way, but such a poll keeps its file open: after
 * close(2) alone the peer saw no end of file, where with the set it did at once. To take one descriptor of
 * 4,096 away took 2 to 4 us either way, but a poll is found in the kernel by a search that grows, to 15 to 40
 * us among 60,000. Polls are not faster, either: a message to one of 64, 512 or 4,096 unix connections,
 * writer included, took 0.95, 1.02 and 0.98 of the time with the set (0.93, 1.12 and 0.97 where the set is
 * polled; Linux 6.18, DEFER_TASKRUN), because the events are asked for in the same io_uring_enter(2) that
 * submits the attempts.
 *
 * The rules that keep wake-ups from being lost:
 *  - A descriptor counts as not ready only after -EAGAIN, or in the one case below. Where nothing is known an
 *    attempt is made. So an end of file and errors, which are reported once, are not missed.
 *  - Even -EAGAIN does not count if an event came since the attempt was given to the kernel: the event may be
 *    the newer of the two.
 *  - A descriptor is put into the set before events of it are waited for; epoll reports at once what is
 * ready.
 *  - A receive that brought less than it had room for has left nothing behind only on a stream socket of TCP
 * or unix, when the kernel counts what is left (IORING_CQE_F_SOCK_NONEMPTY) and has counted nothing, and
 * there was neither urgent data, whose mark ends a receive, nor an end of file. Then -EAGAIN is not waited
 * for.
 */
#include "park_fd.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "feature.h"
#include "memory.h"

#ifndef SO_INQ
#define SO_INQ 84 /* Linux 6.17: unix sockets count what is left */
#endif

#define CHUNKS_FIRST 16u
#define STATE_NEW (PARK_READY << WAY_IN | PARK_READY << WAY_OUT)

/* ---- the table ---- */

static bool chunks_grow(struct park *park, unsigned chunk)
{
	unsigned count = park->chunk_count ? park->chunk_count : CHUNKS_FIRST;

	if (chunk < park->chunk_count)
		return true;
	while (count <= chunk)
		count *= 2;
	struct park_fd **chunks = memory_allocate(count * sizeof(struct park_fd *));
	if (!chunks)
		return false;
	memset(chunks, 0, count * sizeof(struct park_fd *));
	if (park->chunk_count)
		memcpy(chunks, park->chunks, park->chunk_count * sizeof(struct park_fd *));
	memory_release(park->chunks);
	park->chunks = chunks;
	park->chunk_count = count;
	return true;
}

static struct park_fd *chunk_new(unsigned index)
{
	struct park_fd *chunk = memory_allocate(PARK_CHUNK * sizeof(struct park_fd));

	for (unsigned i = 0; chunk && i < PARK_CHUNK; i++) {
		struct park_fd *p = &chunk[i];
		*p = (struct park_fd){.fd = (int32_t)(index * PARK_CHUNK + i), .state = STATE_NEW};
		list_init(&p->queue[WAY_IN]);
		list_init(&p->queue[WAY_OUT]);
		list_init(&p->due);
	}
	return chunk;
}

struct park_fd *park_fd_new(struct park *park, int fd)
{
	unsigned index = (unsigned)fd / PARK_CHUNK;

	if (fd < 0 || (unsigned)fd >= PARK_FDS_MAX || !chunks_grow(park, index))
		return NULL;
	park->chunks[index] = chunk_new(index);
	return park_fd_find(park, fd);
}

void park_fds_free(struct park *park)
{
	for (unsigned i = 0; i < park->chunk_count; i++)
		memory_release(park->chunks[i]);
	memory_release(park->chunks);
}

void park_fd_reset(struct park_fd *p)
{
	uint32_t issued = p->state & (PARK_ISSUED << WAY_IN | PARK_ISSUED << WAY_OUT);

	p->generation++;
	p->state = STATE_NEW | issued | issued * (PARK_STALE / PARK_ISSUED);
}

/* ---- the epoll set ---- */

static int epoll_change(const struct park *park, int operation, const struct park_fd *p, bool out)
{
	struct epoll_event event = {
		.events = EPOLLET | EPOLLIN | EPOLLPRI | EPOLLRDHUP | (out ? EPOLLOUT : 0u),
		.data.u64 = (uint64_t)p->generation << 32 | (uint32_t)p->fd,
	};

	return sys_epoll_ctl(park->epoll_fd, operation, p->fd, &event);
}

static inline uint32_t wanted_for(const struct park_fd *p, enum way way)
{
	return PARK_WATCHED | (way == WAY_OUT ? PARK_WATCHED_OUT : p->state & PARK_WATCHED_OUT);
}

static inline bool is_watched(const struct park_fd *p, enum way way)
{
	return (p->state & wanted_for(p, way)) == wanted_for(p, way);
}

int park_fd_watch(struct park *park, struct park_fd *p, enum way way)
{
	uint32_t wanted = wanted_for(p, way);

	if (is_watched(p, way))
		return 0;
	int operation = p->state & PARK_WATCHED ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int error = epoll_change(park, operation, p, wanted & PARK_WATCHED_OUT);
	/* The program closed the descriptor without telling us, and the number is in use again. */
	if (error == -EEXIST || error == -ENOENT)
		error = epoll_change(park, error == -EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, p,
				     wanted & PARK_WATCHED_OUT);
	if (error)
		return error;
	p->state |= wanted;
	park->watches = true;
	return 0;
}

/*
 * No operation waits for p to be writable any more: takes that out of the epoll set, because on a unix socket
 * each message that the peer reads would be an event. From here on nothing reports it, so that the next
 * operation has to be attempted.
 */
static void unwatch_out(const struct park *park, struct park_fd *p)
{
	if (!epoll_change(park, EPOLL_CTL_MOD, p, false))
		park_fd_clear(p, PARK_WATCHED_OUT);
	park_fd_set(p, PARK_READY << WAY_OUT);
}

void park_fd_unwatch(const struct park *park, struct park_fd *p)
{
	if (!list_empty(&p->queue[WAY_OUT]))
		return;
	sys_epoll_ctl(park->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
	park_fd_clear(p, PARK_WATCHED | PARK_WATCHED_OUT);
	park_fd_set(p, PARK_READY << WAY_IN | PARK_READY << WAY_OUT);
}

void park_fd_forget(struct park *park, struct park_fd *p)
{
	if (p->state & PARK_WATCHED) /* a copy of the descriptor would keep the file open, and reported */
		sys_epoll_ctl(park->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
	park_fd_reset(p);
}

/* The epoll set has pairs of number and file: another file under the same number can be added, while the same
 * one is refused with -EEXIST. */
bool park_fd_differs(struct park *park, struct park_fd *p)
{
	if (!(p->state & PARK_WATCHED)) {
		park_fd_watch(park, p, WAY_IN);
		return false;
	}
	int error = epoll_change(park, EPOLL_CTL_ADD, p, p->state & PARK_WATCHED_OUT);
	return !error || error == -EPERM; /* EPERM: the new file is of a kind that epoll does not take */
}

/* ---- readiness ---- */

/* True when unix sockets count what is left. Kernels where they do have an option, SO_INQ, which is tried on
 * a socket of the library's own. */
static bool unix_counts(struct park *park)
{
	const int on = 1;

	if (park->unix_known)
		return park->unix_counts;
	int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
	if (fd < 0)
		return false;
	park->unix_counts =
		feature_allowed(FEATURE_UNIX_INQ) && !sys_setsockopt(fd, SOL_SOCKET, SO_INQ, &on, sizeof(on));
	park->unix_known = true;
	sys_close(fd);
	return park->unix_counts;
}

bool park_fd_learn_type(struct park_fd *p)
{
	socklen_t size = sizeof(int);
	int type = 0;

	if (p->state & PARK_TYPED)
		return true;
	if (sys_getsockopt(p->fd, SOL_SOCKET, SO_TYPE, &type, &size))
		return false;
	park_fd_set(p, PARK_TYPED | (type == SOCK_STREAM || type == SOCK_SEQPACKET ? PARK_CONNECTED : 0));
	return true;
}

/* PARK_SHORT_PROVES is not set with an upper layer such as kTLS: there a receive ends at a record, and may be
 * short with more to read. */
void park_fd_learn(struct park *park, struct park_fd *p)
{
	int domain = 0, type = 0, protocol = 0;
	char layer[16] = "";
	socklen_t size = sizeof(int), layer_size = sizeof(layer);

	park_fd_set(p, PARK_KNOWN);
	if (sys_getsockopt(p->fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
	    sys_getsockopt(p->fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    sys_getsockopt(p->fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size))
		return;
	if (type != SOCK_STREAM)
		return;
	if ((domain == AF_INET || domain == AF_INET6) && protocol == IPPROTO_TCP &&
	    !sys_getsockopt(p->fd, IPPROTO_TCP, TCP_ULP, layer, &layer_size) && !layer_size)
		park_fd_set(p, PARK_SHORT_PROVES);
	if (domain == AF_UNIX && unix_counts(park))
		park_fd_set(p, PARK_SHORT_PROVES);
}

/* Returns what poll(2) answers for POLLIN; all bits if it fails. */
static short ask_poll(const struct park_fd *p)
{
	struct pollfd poll = {.fd = p->fd, .events = POLLIN};
	const struct timespec at_once = {.tv_sec = 0};

	return sys_poll(&poll, 1, &at_once) < 0 ? SHRT_MAX : poll.revents;
}

/*
 * At the urgent mark TCP answers -EAGAIN, also when there is data behind it, while task work is pending,
 * because task work looks like a signal where a ring is not DEFER_TASKRUN (Linux 6.18). So poll(2) is asked
 * after urgent data. Only POLLIN counts: an error queue, which may look urgent as well (SO_SELECT_ERR_QUEUE),
 * has POLLERR until it is read by MSG_ERRQUEUE.
 */
void park_fd_not_ready(struct park *park, struct park_fd *p, enum way way)
{
	if (way == WAY_IN && (p->state & PARK_URGENT) && (ask_poll(p) & POLLIN))
		park_fd_set(p, PARK_FRESH << way);
	if (!park_fd_has(p, PARK_FRESH << way) && (is_watched(p, way) || !park_fd_watch(park, p, way)))
		park_fd_clear(p, PARK_READY << way);
}

/* True when the kernel answers a read at once: the file has O_NONBLOCK, or is not open for reading. */
static bool answers_at_once(const struct park_fd *p)
{
	int flags = sys_get_flags(p->fd);

	return flags < 0 || (flags & O_NONBLOCK) || (flags & O_ACCMODE) == O_WRONLY;
}

bool park_fd_ask(struct park *park, struct park_fd *p, bool of_file)
{
	if (park_fd_watch(park, p, WAY_IN) || ask_poll(p))
		return true;
	if (of_file ? answers_at_once(p) : !park_fd_learn_type(p))
		return true;
	park_fd_clear(p, PARK_READY << WAY_IN);
	return false;
}

struct park_fd *park_fd_note_event(struct park *park, const struct epoll_event *event)
{
	const uint32_t lasting = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
	struct park_fd *p = park_fd_find(park, (int)(uint32_t)event->data.u64);

	if (!p || p->generation != (uint16_t)(event->data.u64 >> 32))
		return NULL;
	if (event->events & (EPOLLIN | lasting))
		park_fd_set(p, (PARK_READY | PARK_FRESH) << WAY_IN);
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		park_fd_set(p, (PARK_READY | PARK_FRESH) << WAY_OUT);
	if (event->events & lasting)
		park_fd_set(p, PARK_LINGERS | (event->events & EPOLLPRI ? PARK_URGENT : 0));
	if ((p->state & PARK_WATCHED_OUT) && list_empty(&p->queue[WAY_OUT]) &&
	    !park_fd_has(p, PARK_ISSUED << WAY_OUT))
		unwatch_out(park, p);
	return p;
}
