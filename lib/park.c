/* SPDX-License-Identifier: MIT */
/*
 * Parked operations. One that would only wait in the kernel costs it 860 bytes, costs a microsecond to
 * cancel, and its buffer is the kernel's until that is done. Here it waits in a queue of its descriptor, in
 * the ring's memory, and the kernel is told of it when there is something to do: as an attempt that does not
 * wait (MSG_DONTWAIT, RWF_NOWAIT, IORING_ACCEPT_DONTWAIT), whose -EAGAIN puts it back.
 *
 * Readiness comes from one edge-triggered epoll set for all descriptors, which the ring waits for by
 * IORING_OP_EPOLL_WAIT (Linux 6.15; before that by a poll of the set), and not from a multishot poll for
 * each descriptor. Such a poll holds its file: after close(2) alone the peer saw no end, where with the set
 * it did at once. Taking away one of 4,096 took 2 to 4 us either way, but a poll in the kernel is found by a
 * search that grows, to 15 to 40 us among 60,000. And speed does not speak for it: a message to one of 64,
 * 512 or 4,096 unix connections, writer included, took 0.95, 1.02 and 0.98 of the time with the set
 * (0.93, 1.12 and 0.97 with the poll of it; Linux 6.18, DEFER_TASKRUN), because the events are asked for in
 * the same io_uring_enter(2) that carries the attempts. A single connection pays for the second turn.
 *
 * The rules that keep it from losing a wake-up:
 *  - Nothing is taken for not ready but what has said so: -EAGAIN, or the one case below. What is not known
 *    is attempted. That also keeps end-of-file and errors, which are announced once.
 *  - Not even -EAGAIN counts if an event was seen since the attempt was given to the kernel: the event may be
 *    the newer of the two.
 *  - A descriptor is watched before it is relied upon to be watched; epoll reports at once what is ready.
 *  - A receive that brought less than it had room for leaves nothing behind only on a stream of TCP or unix
 *    sockets, when the kernel counts what is left (IORING_CQE_F_SOCK_NONEMPTY) and does not see anything,
 *    there was no urgent data, whose mark ends a receive, and no end: then -EAGAIN is not waited for.
 *
 * Operations on one descriptor and direction are served in order, one attempt at a time. Where nothing can be
 * relied upon to say when (epoll has no room for one more, a datagram socket says writable all the time), the
 * attempt is one that waits in the kernel, and those behind it wait for its end: the kernel itself serves
 * several that wait on one socket in any order.
 */
#include "park.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "memory.h"
#include "record.h"

#ifndef IORING_ACCEPT_DONTWAIT
#define IORING_ACCEPT_DONTWAIT (1U << 1) /* Linux 6.10 */
#endif
#ifndef IORING_RECVSEND_POLL_FIRST
#define IORING_RECVSEND_POLL_FIRST (1U << 0)
#endif
#define ACCEPT_POLL_FIRST (1U << 2) /* Linux 6.10 */
#define OP_EPOLL_WAIT 59	    /* IORING_OP_EPOLL_WAIT, Linux 6.15 */
#ifndef SO_INQ
#define SO_INQ 84 /* Linux 6.17: unix sockets count what is left */
#endif

#define CHUNK 64u
#define FDS_MAX (1u << 24)
#define EVENTS_MAX 256

/*
 * So many events that said writable when it was not: so it is with datagram sockets that are not connected,
 * whose readiness is not that of the receiver. Then the kernel may wait.
 */
#define ATTEMPTS_MAX 16

enum way {
	WAY_IN,
	WAY_OUT,
	WAYS,
	WAY_NONE
};

enum park_state {
	/* these three shifted by the way */
	READY = 1 << 0,	 /* not known to be not ready */
	FRESH = 1 << 2,	 /* an event came since the attempt was given to the kernel */
	ISSUED = 1 << 4, /* an attempt is under way */
	WATCHED = 1 << 6,
	WATCHED_OUT = 1 << 7,	/* also for being writable */
	UNPARKABLE = 1 << 8,	/* its operations go the usual way */
	LINGERS = 1 << 9,	/* has seen an end, an error or urgent data */
	KNOWN = 1 << 10,	/* SHORT_PROVES has been looked up */
	CONNECTED = 1 << 11,	/* MSG_WAITALL means something */
	SHORT_PROVES = 1 << 12, /* a short receive leaves nothing behind */
	URGENT = 1 << 13,	/* has seen urgent data */
	TYPED = 1 << 14,	/* CONNECTED has been looked up */
};
#define STATE_NEW (READY << WAY_IN | READY << WAY_OUT)

struct park_fd {
	struct list queue[WAYS]; /* of operations, by park */
	struct list due;	 /* park->due */
	int32_t fd;
	uint16_t generation; /* of this use of the number */
	uint16_t state;
	uint32_t pending; /* operations the usual way, in the kernel */
};

struct park_identity {
	dev_t device;
	ino_t inode;
};

struct park_chunk {
	struct park_fd fds[CHUNK];
	struct park_identity identities[]; /* with park->check */
};

struct park {
	int epoll_fd;
	bool armed;		      /* the wait for readiness is under way */
	bool by_poll;		      /* this kernel has no IORING_OP_EPOLL_WAIT */
	bool check;		      /* CTXRING_FEATURES=park-check */
	bool unix_known, unix_counts; /* unix sockets say what is left */
	unsigned watched;	      /* ever: so there is something to wait for */
	unsigned attempts;	      /* under way */
	bool uncounted;		      /* there was no memory to count an operation in the kernel */
	struct list due;	      /* where an attempt is to be made */
	struct park_chunk **chunks;
	unsigned chunk_count;
	struct epoll_event events[EVENTS_MAX]; /* the kernel's while armed */
};

int park_open(struct ctx_ring *ring)
{
	struct park *park;

	if (ring->park)
		return 0;
	park = memory_allocate(sizeof(*park));
	if (!park)
		return -ENOMEM;
	memset(park, 0, sizeof(*park));
	park->epoll_fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (park->epoll_fd < 0) {
		int error = park->epoll_fd;
		memory_release(park);
		return error;
	}
	park->by_poll = !features_allowed();
	park->check = features_park_check();
	list_init(&park->due);
	ring->park = park;
	return 0;
}

/* The kernel writes to park->events until its wait has ended. */
void park_close(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (park && park->armed) {
		struct io_uring_sqe *sqe = ring_internal_sqe(ring);
		if (!sqe)
			return;
		io_uring_prep_cancel64(sqe, ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK, 0), 0);
		sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
		int error = ring_wait(ring, CTX_FOREVER);
		complete_harvest(ring);
		if (error < 0 && error != -EINTR && error != -EBUSY)
			return;
	}
}

void park_free(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	if (!park)
		return;
	ring->park = NULL;
	close(park->epoll_fd);
	for (unsigned i = 0; i < park->chunk_count; i++)
		memory_release(park->chunks[i]);
	memory_release(park->chunks);
	/* Not seen to end: the ring is gone, but the kernel may be about to write. */
	if (!park->armed || ring->orphaned || ring->fork_count != thread_fork_count)
		memory_release(park);
}

/* ---- descriptors ---- */

static struct park_fd *fd_find(const struct ctx_ring *ring, int fd)
{
	const struct park *park = ring->park;
	unsigned chunk = (unsigned)fd / CHUNK;

	if (!park || fd < 0 || chunk >= park->chunk_count || !park->chunks[chunk])
		return NULL;
	return &park->chunks[chunk]->fds[(unsigned)fd % CHUNK];
}

static bool chunks_grow(struct park *park, unsigned chunk)
{
	unsigned count = park->chunk_count ? park->chunk_count : 16;

	if (chunk < park->chunk_count)
		return true;
	while (count <= chunk)
		count *= 2;
	struct park_chunk **chunks = memory_allocate(count * sizeof(struct park_chunk *));
	if (!chunks)
		return false;
	memset(chunks, 0, count * sizeof(struct park_chunk *));
	if (park->chunk_count)
		memcpy(chunks, park->chunks, park->chunk_count * sizeof(struct park_chunk *));
	memory_release(park->chunks);
	park->chunks = chunks;
	park->chunk_count = count;
	return true;
}

/* NULL: no memory. */
static struct park_fd *fd_make(struct ctx_ring *ring, int fd)
{
	struct park *park = ring->park;
	struct park_fd *known = fd_find(ring, fd);
	unsigned index = (unsigned)fd / CHUNK;

	if (known || fd < 0 || (unsigned)fd >= FDS_MAX)
		return known;
	if (!chunks_grow(park, index))
		return NULL;
	struct park_chunk *chunk =
		memory_allocate(sizeof(*chunk) + (park->check ? CHUNK * sizeof(struct park_identity) : 0));
	if (!chunk)
		return NULL;
	for (unsigned i = 0; i < CHUNK; i++) {
		struct park_fd *p = &chunk->fds[i];
		*p = (struct park_fd){.fd = (int32_t)(index * CHUNK + i), .state = STATE_NEW};
		list_init(&p->queue[WAY_IN]);
		list_init(&p->queue[WAY_OUT]);
		list_init(&p->due);
	}
	if (park->check)
		memset(chunk->identities, 0, CHUNK * sizeof(struct park_identity));
	park->chunks[index] = chunk;
	return &chunk->fds[(unsigned)fd % CHUNK];
}

static void set(struct park_fd *p, int bits)
{
	p->state = (uint16_t)(p->state | bits);
}

static void clear(struct park_fd *p, int bits)
{
	p->state = (uint16_t)(p->state & ~bits);
}

/* Nothing that was known of it holds any more. */
static void fd_reset(struct park_fd *p)
{
	p->generation++;
	p->state = (uint16_t)(STATE_NEW | (p->state & (ISSUED << WAY_IN | ISSUED << WAY_OUT)));
}

static void fd_end_parked(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end)
{
	for (enum way way = WAY_IN; way < WAYS; way++)
		for (struct list *link = p->queue[way].next, *next; link != &p->queue[way]; link = next) {
			struct operation *op = container_of(link, struct operation, park);
			next = link->next;
			if (!op->group->parked_ended) /* else it is in ring->ready */
				park_end(ring, op, res, end);
		}
}

/* Cancels what the kernel holds on fd with these marks. */
static void cancel_marked(struct ctx_ring *ring, int fd, unsigned marks)
{
	for (uint32_t i = 1; i < ring->slot_count; i++) {
		struct operation *op = ring->slots[i].op;
		if (!op || op->phase != OP_KERNEL || op->sqe.fd != fd || (op->sqe.flags & IOSQE_FIXED_FILE) ||
		    (op->marks & OP_SEEN) || (op->marks & marks) != marks)
			continue;
		ctx_op_cancel(ring, op_public(op));
	}
}

/* The file is another than the one that operations were parked on: those will hear of nothing any more. One
 * that is being attempted on the old file is not to be parked on the new one, or to hold up those there. */
static void fd_replaced(struct ctx_ring *ring, struct park_fd *p)
{
	fd_end_parked(ring, p, -EBADF, CTX_OP_FINISHED);
	if (p->state & (ISSUED << WAY_IN | ISSUED << WAY_OUT))
		cancel_marked(ring, p->fd, OP_ATTEMPT);
	fd_reset(p);
}

void park_returned(struct ctx_ring *ring, int fd)
{
	struct park_fd *p = fd_find(ring, fd);

	if (p)
		fd_replaced(ring, p);
}

static void check_identity(struct ctx_ring *ring, struct park_fd *p)
{
	unsigned fd = (unsigned)p->fd;
	struct park_identity *known = &ring->park->chunks[fd / CHUNK]->identities[fd % CHUNK];
	struct stat now;

	if (sys_fstat(p->fd, &now) < 0)
		return;
	if (known->inode && (known->inode != now.st_ino || known->device != now.st_dev))
		fd_replaced(ring, p);
	*known = (struct park_identity){.device = now.st_dev, .inode = now.st_ino};
}

/* Has epoll report readiness of p, in this direction as well. 0, or -errno: then it is not to be relied on.
 */
static int watch(struct ctx_ring *ring, struct park_fd *p, enum way way)
{
	int wanted = WATCHED | (way == WAY_OUT || (p->state & WATCHED_OUT) ? WATCHED_OUT : 0);
	struct epoll_event event = {
		.events = EPOLLET | EPOLLIN | EPOLLPRI | EPOLLRDHUP | (wanted & WATCHED_OUT ? EPOLLOUT : 0u),
		.data.u64 = (uint64_t)p->generation << 32 | (uint32_t)p->fd,
	};

	if ((p->state & wanted) == wanted)
		return 0;
	int error = sys_epoll_ctl(ring->park->epoll_fd, p->state & WATCHED ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
				  p->fd, &event);
	if (error == -EEXIST || error == -ENOENT) /* the number was closed behind our back, and is back */
		error = sys_epoll_ctl(ring->park->epoll_fd, error == -EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
				      p->fd, &event);
	if (error)
		return error;
	set(p, wanted);
	ring->park->watched++;
	return 0;
}

/* Nobody waits for it to be writable any more: on a unix socket each message that is read would say so. */
static void unwatch_out(struct ctx_ring *ring, struct park_fd *p)
{
	struct epoll_event event = {
		.events = EPOLLET | EPOLLIN | EPOLLPRI | EPOLLRDHUP,
		.data.u64 = (uint64_t)p->generation << 32 | (uint32_t)p->fd,
	};

	if (!sys_epoll_ctl(ring->park->epoll_fd, EPOLL_CTL_MOD, p->fd, &event))
		clear(p, WATCHED_OUT);
}

/* Do unix sockets say what is left? What shows it is an option, which is tried on a socket of our own. */
static bool unix_counts(struct park *park)
{
	const int on = 1;

	if (park->unix_known)
		return park->unix_counts;
	int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
	if (fd < 0)
		return false;
	park->unix_counts = !sys_setsockopt(fd, SOL_SOCKET, SO_INQ, &on, sizeof(on));
	park->unix_known = true;
	close(fd);
	return park->unix_counts;
}

/* Is it of those where MSG_WAITALL means something? False: there is no knowing. */
static bool learn_type(struct park_fd *p)
{
	socklen_t size = sizeof(int);
	int type = 0;

	if (p->state & TYPED)
		return true;
	if (sys_getsockopt(p->fd, SOL_SOCKET, SO_TYPE, &type, &size))
		return false;
	set(p, TYPED | (type == SOCK_STREAM || type == SOCK_SEQPACKET ? CONNECTED : 0));
	return true;
}

/* What kind of socket it is; an upper layer such as kTLS has records, whose ends nobody counts. */
static void learn(struct ctx_ring *ring, struct park_fd *p)
{
	int domain = 0, type = 0, protocol = 0;
	char layer[16] = "";
	socklen_t size = sizeof(int), layer_size = sizeof(layer);

	set(p, KNOWN);
	if (sys_getsockopt(p->fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
	    sys_getsockopt(p->fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    sys_getsockopt(p->fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size))
		return;
	if (type != SOCK_STREAM)
		return;
	if ((domain == AF_INET || domain == AF_INET6) && protocol == IPPROTO_TCP &&
	    !sys_getsockopt(p->fd, IPPROTO_TCP, TCP_ULP, layer, &layer_size) && !layer_size)
		set(p, SHORT_PROVES);
	if (domain == AF_UNIX && unix_counts(ring->park))
		set(p, SHORT_PROVES);
}

/* ---- what can be parked ---- */

static bool buffer_selected(const struct operation *op)
{
	return op->sqe.flags & IOSQE_BUFFER_SELECT;
}

/* Goes on after part of it is done. Of messages the rest would have to be described anew: the kernel does. */
static bool wants_all(const struct operation *op)
{
	return (op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_SEND) &&
	       (op->sqe.msg_flags & MSG_WAITALL);
}

static enum way way_of(const struct operation *op)
{
	const struct io_uring_sqe *sqe = &op->sqe;
	const unsigned unwaiting = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;
	unsigned all = sqe->msg_flags & MSG_WAITALL;

	switch (sqe->opcode) {
	case IORING_OP_RECV:
		all = all && (buffer_selected(op) || (sqe->msg_flags & MSG_PEEK));
		/* fall through */
	case IORING_OP_RECVMSG:
		return all || (sqe->msg_flags & unwaiting) || (sqe->ioprio & IORING_RECV_MULTISHOT) ? WAY_NONE
												    : WAY_IN;
	case IORING_OP_ACCEPT:
		return sqe->ioprio & IORING_ACCEPT_MULTISHOT ? WAY_NONE : WAY_IN;
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
		return sqe->rw_flags & RWF_NOWAIT ? WAY_NONE : WAY_IN;
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND:
		return (all && sqe->opcode == IORING_OP_SENDMSG) || (sqe->msg_flags & MSG_DONTWAIT) ? WAY_NONE
												    : WAY_OUT;
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
		return sqe->rw_flags & RWF_NOWAIT ? WAY_NONE : WAY_OUT;
	default:
		return WAY_NONE;
	}
}

/* For any kind of file, and not only for sockets. */
static bool is_file_op(unsigned opcode)
{
	switch (opcode) {
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_ACCEPT:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return false;
	default:
		return true;
	}
}

/* ---- queues ---- */

static void make_due(struct ctx_ring *ring, struct park_fd *p)
{
	if (list_empty(&p->due))
		list_append(&ring->park->due, &p->due);
}

/* The first that is not about to be delivered as cancelled; NULL: none. */
static struct operation *first_waiting(const struct park_fd *p, enum way way)
{
	for (struct list *link = p->queue[way].next; link != &p->queue[way]; link = link->next) {
		struct operation *op = container_of(link, struct operation, park);
		if (!op->group->ended)
			return op;
	}
	return NULL;
}

static bool attempt_is_due(const struct park_fd *p, enum way way)
{
	return (p->state & (READY << way)) && !(p->state & (ISSUED << way)) && !list_empty(&p->queue[way]);
}

/* Waits from now on, behind place in its queue. */
static void enqueue(struct ctx_ring *ring, struct operation *op, struct list *place)
{
	op->phase = OP_PARKED;
	list_insert(place, &op->park);
	list_append(&op->group->parked, &op->link);
	op->group->parked_count++;
	op->group->partial_count += op->marks & OP_RESULT ? 1 : 0;
	ring->parked++;
}

static void dequeue(struct ctx_ring *ring, struct operation *op)
{
	list_unlink(&op->park);
	op->chain_prev = op->chain_next = NULL;
	ring->parked--;
}

/* The same before its group's parked ones were ended. The caller takes it out of the list. */
static void unpark(struct ctx_ring *ring, struct operation *op)
{
	dequeue(ring, op);
	op->group->parked_count--;
	op->group->partial_count -= op->marks & OP_RESULT ? 1 : 0;
}

/* How long op may still take by its own timeout, for when it goes the usual way after all. */
static void undo_timeout(struct ctx_ring *ring, struct operation *op)
{
	uint64_t now_ns;

	if (!(op->marks & OP_HAS_TIMEOUT))
		return;
	now_ns = clock_now_ns();
	op->timeout_ns = op->timeout_ns > now_ns ? op->timeout_ns - now_ns : 0;
	op_timer_stop(ring, op);
}

/* Back to where operations wait to be given to the kernel; it is in no list. */
static void go_usual(struct ctx_ring *ring, struct operation *op)
{
	undo_timeout(ring, op);
	slot_release(ring, op);
	op_unmark(op, OP_ATTEMPT);
	op_mark(op, OP_USUAL);
	op->attempts = 0;
	op->chain_prev = op->chain_next = NULL;
	op->phase = OP_STAGED;
	list_insert(&ring->waiting, &op->link);
}

/* Its descriptor turns out not to be one for parking. */
static void all_go_usual(struct ctx_ring *ring, struct park_fd *p)
{
	set(p, UNPARKABLE);
	for (enum way way = WAY_IN; way < WAYS; way++)
		while (!list_empty(&p->queue[way])) {
			struct operation *op = container_of(p->queue[way].prev, struct operation, park);
			if (op->group->parked_ended) /* delivered anyhow */
				break;
			unpark(ring, op);
			list_remove(&op->link);
			go_usual(ring, op);
		}
}

/* What it needs besides a place: a slot, and its times. */
static int reserve(struct ctx_ring *ring, struct operation *op)
{
	struct group *group = op->group;
	int error = slot_take(ring, op);

	if (error)
		return error;
	if (op->marks & OP_HAS_TIMEOUT) {
		op->timeout_ns = clock_after_ns(clock_now_ns(), op->timeout_ns);
		error = op_timer_start(ring, op, op->timeout_ns);
		if (error) {
			slot_release(ring, op);
			return error;
		}
	}
	if (context_deadline(group->watch.ctx) != CTX_FOREVER && !heap_contains(&group->deadline.node))
		ring_timer_set(ring, &group->deadline, context_deadline(group->watch.ctx));
	return 0;
}

int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns)
{
	enum way way = way_of(op);

	if ((op->marks & OP_HAS_TIMEOUT) && !op->timeout_ns)
		return 0; /* of no time at all: there is nothing to wait for */
	if (ring->adopted || (op->marks & OP_USUAL) || (op->sqe.flags & (IOSQE_FIXED_FILE | IOSQE_ASYNC)))
		return 0;
	if (op->sqe.opcode == IORING_OP_RECV && (op->sqe.msg_flags & MSG_OOB)) {
		struct park_fd *urgent = fd_find(ring, op->sqe.fd);
		if (urgent)
			set(urgent, LINGERS);
	}
	if (way == WAY_NONE || park_open(ring))
		return 0;
	struct park_fd *p = fd_make(ring, op->sqe.fd);
	if (!p) /* in the kernel it would be out of order with those that find memory */
		return op->sqe.fd < 0 || (unsigned)op->sqe.fd >= FDS_MAX ? 0 : -ENOMEM;
	if (ring->park->check)
		check_identity(ring, p);
	if (p->state & UNPARKABLE)
		return 0;
	if (wants_all(op) && !learn_type(p))
		op_mark(op, OP_WAITS);
	if (is_file_op(op->sqe.opcode)) {
		/* Of a regular file an attempt may bring less than there is: those cannot be watched. */
		int error = watch(ring, p, way);
		if (error == -EPERM) {
			set(p, UNPARKABLE);
			return 0;
		}
		if (error)
			op_mark(op, OP_WAITS);
	}
	int error = reserve(ring, op);
	if (error)
		return error;
	op->opcode = op->sqe.opcode;
	op_unmark(op, OP_TIMED | OP_DEADLINE); /* no linked timeout follows it */
	list_unlink(&op->link);
	enqueue(ring, op, p->queue[way].prev);
	record_operation(ring, op, now_ns, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED);
	if (attempt_is_due(p, way))
		make_due(ring, p);
	return 1;
}

void park_count(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p;

	if (!ring->park || (op->sqe.flags & IOSQE_FIXED_FILE))
		return;
	p = fd_make(ring, op->sqe.fd);
	if (!p) {
		ring->park->uncounted = true;
		return;
	}
	p->pending++;
	op_mark(op, OP_COUNTED);
}

void park_uncount(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p = fd_find(ring, op->sqe.fd);

	op_unmark(op, OP_COUNTED);
	if (p)
		p->pending--;
}

/* ---- attempts ---- */

/* The SQE of op, so that it does not wait unless it is to. */
static void prepare(const struct operation *op, struct io_uring_sqe *sqe)
{
	memcpy(sqe, &op->sqe, sizeof(*sqe));
	sqe->flags = (uint8_t)(sqe->flags & ~IOSQE_CQE_SKIP_SUCCESS);
	if (op->marks & OP_RESULT) {
		sqe->addr += (unsigned)op->res;
		sqe->len -= (unsigned)op->res;
	}
	if (op->marks & OP_WAITS)
		return;
	if (op->opcode == IORING_OP_ACCEPT) {
		sqe->ioprio = (uint16_t)((sqe->ioprio & ~ACCEPT_POLL_FIRST) | IORING_ACCEPT_DONTWAIT);
		return;
	}
	if (is_file_op(op->opcode)) {
		sqe->rw_flags |= RWF_NOWAIT;
		return;
	}
	sqe->ioprio = (uint16_t)(sqe->ioprio & ~IORING_RECVSEND_POLL_FIRST);
	sqe->msg_flags = (sqe->msg_flags & ~(unsigned)MSG_WAITALL) | MSG_DONTWAIT;
}

static void attempt(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	struct io_uring_sqe *sqe = uring_next_sqe(ring->uring);
	struct ctx_table_operation *record = ring->slots[op->slot].record;
	struct group *group = op->group;

	prepare(op, sqe);
	sqe->user_data = ring_user_data(ring, KIND_OP, op->slot, op->generation);
	unpark(ring, op);
	list_unlink(&op->link);
	op->phase = OP_KERNEL;
	op->order = ++ring->order;
	op_mark(op, OP_ATTEMPT);
	if (op->marks & OP_WAITS)
		park_count(ring, op);
	list_insert(&group->pending, &op->link);
	group->in_kernel++;
	ring->in_kernel++;
	ring->park->attempts++;
	clear(p, FRESH << way);
	set(p, ISSUED << way);
	if (record)
		__atomic_store_n(&record->flags, CTX_TABLE_OP_IN_FLIGHT, __ATOMIC_RELAXED);
}

static bool room(struct ctx_ring *ring, unsigned entries)
{
	return uring_space(ring->uring) >= entries ||
	       (ring_flush(ring) >= 0 && uring_space(ring->uring) >= entries);
}

static int arm(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	if (park->armed || !park->watched)
		return 0;
	if (!room(ring, 1))
		return -EAGAIN;
	struct io_uring_sqe *sqe = uring_blank_sqe(ring->uring);
	if (park->by_poll) {
		io_uring_prep_poll_add(sqe, park->epoll_fd, POLLIN);
	} else {
		sqe->opcode = OP_EPOLL_WAIT;
		sqe->fd = park->epoll_fd;
		sqe->addr = (uint64_t)(uintptr_t)park->events;
		sqe->len = EVENTS_MAX;
	}
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_PARK, 0);
	park->armed = true;
	return 0;
}

bool park_is_due(const struct ctx_ring *ring)
{
	return !list_empty(&ring->park->due);
}

int park_push(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	while (!list_empty(&park->due)) {
		if (!room(ring, WAYS))
			return -EAGAIN;
		if (list_empty(&park->due))
			break; /* making room may have ended it */
		struct park_fd *p = container_of(park->due.next, struct park_fd, due);
		list_remove(&p->due);
		for (enum way way = WAY_IN; way < WAYS; way++) {
			struct operation *op = attempt_is_due(p, way) ? first_waiting(p, way) : NULL;
			if (op)
				attempt(ring, p, way, op);
		}
	}
	/* Behind the attempts: what they leave to do is then reported with them. */
	return arm(ring);
}

/* ---- what comes back ---- */

/*
 * At the urgent mark TCP says -EAGAIN, whatever is behind it, while work of the task is pending, which for a
 * ring that is not DEFER_TASKRUN looks like a signal (Linux 6.18).
 */
static bool is_readable(const struct park_fd *p)
{
	struct pollfd poll = {.fd = p->fd, .events = POLLIN};
	const struct timespec at_once = {.tv_sec = 0};

	return sys_poll(&poll, 1, &at_once) != 0;
}

/* Nothing to do there, as far as can be known now. */
static void not_ready(struct ctx_ring *ring, struct park_fd *p, enum way way)
{
	if (way == WAY_IN && (p->state & URGENT) && is_readable(p))
		set(p, FRESH << way);
	if (!(p->state & (FRESH << way)) && !watch(ring, p, way))
		clear(p, READY << way);
}

/* Would have waited. True: it does so here, or is to in the kernel. */
static bool wait_on(struct ctx_ring *ring, struct park_fd *p, enum way way, struct operation *op)
{
	const unsigned over = OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT;
	struct ctx_table_operation *record = ring->slots[op->slot].record;

	not_ready(ring, p, way);
	if ((op->marks & over) || op->group->parked_ended)
		return false;
	if (op->attempts < UINT8_MAX)
		op->attempts++;
	/* Not to be watched, or ready for something that is not this: the kernel knows how to wait for it. */
	bool astray = (p->state & (READY << way)) && !(p->state & (FRESH << way));
	astray |= way == WAY_OUT && op->attempts > ATTEMPTS_MAX;
	if (astray) {
		op_mark(op, OP_WAITS);
		op->attempts = 0;
		set(p, READY << way);
	}
	list_remove(&op->link);
	op_unmark(op, OP_ATTEMPT);
	enqueue(ring, op, &p->queue[way]);
	if (record)
		__atomic_store_n(&record->flags, CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_PARKED,
				 __ATOMIC_RELAXED);
	return true;
}

/* There is no attempt that does not wait, on this file or this kernel. */
static bool is_impossible(const struct operation *op, int res)
{
	return is_file_op(op->opcode) ? res == -EOPNOTSUPP : op->opcode == IORING_OP_ACCEPT && res == -EINVAL;
}

static bool wants_more(struct park_fd *p, const struct operation *op, int res)
{
	const unsigned over = OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT | OP_WAITS;
	unsigned done = op->marks & OP_RESULT ? (unsigned)op->res : 0;

	if (res <= 0 || !wants_all(op) || done + (unsigned)res >= op->sqe.len || (op->marks & over) ||
	    op->group->parked_ended)
		return false;
	return learn_type(p) && (p->state & CONNECTED);
}

static bool leaves_nothing(struct ctx_ring *ring, struct park_fd *p, const struct operation *op, int res,
			   unsigned flags)
{
	unsigned done = op->marks & OP_RESULT ? (unsigned)op->res : 0;

	if (op->opcode != IORING_OP_RECV || res <= 0 || done + (unsigned)res >= op->sqe.len ||
	    buffer_selected(op) || (flags & IORING_CQE_F_SOCK_NONEMPTY) || (op->sqe.msg_flags & MSG_PEEK) ||
	    (p->state & (FRESH << WAY_IN | LINGERS)))
		return false;
	if (!(p->state & KNOWN))
		learn(ring, p);
	return p->state & SHORT_PROVES;
}

/* Adds what an attempt has brought to what there is. */
static void add_result(struct operation *op, int res)
{
	op->res = (op->marks & OP_RESULT ? op->res : 0) + res;
	op_mark(op, OP_RESULT);
}

bool park_note(struct ctx_ring *ring, struct operation *op, int res, unsigned flags)
{
	struct park_fd *p = fd_find(ring, op->sqe.fd);
	enum way way = way_of(op);
	bool swallowed = false;

	clear(p, ISSUED << way);
	ring->park->attempts--;
	if (res == -EAGAIN && !(op->marks & OP_WAITS)) {
		swallowed = wait_on(ring, p, way, op);
		if (!swallowed && !(op->marks & OP_RESULT))
			add_result(op, -ECANCELED);
	} else if (is_impossible(op, res) && !(op->marks & (OP_DOOMED | OP_EXPLICIT | OP_WAITS))) {
		list_remove(&op->link);
		all_go_usual(ring, p);
		go_usual(ring, op);
		swallowed = true;
	} else {
		if (leaves_nothing(ring, p, op, res, flags))
			not_ready(ring, p, way);
		if (wants_more(p, op, res)) {
			add_result(op, res);
			op_unmark(op, OP_ATTEMPT);
			list_remove(&op->link);
			enqueue(ring, op, &p->queue[way]);
			record_add_flag(ring, op, CTX_TABLE_OP_PARKED);
			swallowed = true;
		} else if (op->marks & OP_RESULT) {
			add_result(op, res > 0 ? res : 0);
		}
	}
	if (swallowed) {
		op->group->in_kernel--;
		ring->in_kernel--;
	}
	if (attempt_is_due(p, way))
		make_due(ring, p);
	return swallowed;
}

static void note_event(struct ctx_ring *ring, const struct epoll_event *event)
{
	struct park_fd *p = fd_find(ring, (int)(uint32_t)event->data.u64);

	if (!p || p->generation != (uint16_t)(event->data.u64 >> 32))
		return;
	if (event->events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		set(p, (READY | FRESH) << WAY_IN);
	if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		set(p, (READY | FRESH) << WAY_OUT);
	if (event->events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		set(p, LINGERS);
	if (event->events & EPOLLPRI)
		set(p, URGENT);
	if (attempt_is_due(p, WAY_IN) || attempt_is_due(p, WAY_OUT))
		make_due(ring, p);
	if ((p->state & WATCHED_OUT) && list_empty(&p->queue[WAY_OUT]) && !(p->state & ISSUED << WAY_OUT))
		unwatch_out(ring, p);
}

void park_note_readiness(struct ctx_ring *ring, int res)
{
	struct park *park = ring->park;
	int count = res;

	park->armed = false;
	if (res == -EINVAL)
		park->by_poll = true;
	if (res > 0 && park->by_poll)
		count = sys_epoll_wait(park->epoll_fd, park->events, EVENTS_MAX, 0);
	for (int i = 0; i < count; i++)
		note_event(ring, &park->events[i]);
}

/* ---- ends ---- */

void park_settle(struct ctx_ring *ring)
{
	if (ring->park && ring->park->attempts && !ring->adopted && uring_cq_ready(ring->uring))
		complete_harvest(ring);
}

void park_end_group(struct group *group)
{
	group->parked_ended = true;
	group->parked_count = group->partial_count = 0;
	list_splice(&group->ring->ready, &group->parked);
}

void park_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	unpark(ring, op);
	if (op->marks & OP_RESULT)
		complete_ready(ring, op, op->res, CTX_OP_FINISHED);
	else
		complete_ready(ring, op, res, end);
}

void park_leave(struct ctx_ring *ring, struct operation *op)
{
	dequeue(ring, op);
	if (!(op->marks & OP_RESULT))
		op->res = -ECANCELED;
	op->end = (uint8_t)(op->marks & OP_RESULT ? CTX_OP_FINISHED : complete_end(op->group));
}

/* ---- closing a descriptor ---- */

/* Those that are staged are refused when they would go. */
static void refuse_staged(struct list *list, int fd)
{
	for (struct list *link = list->next; link != list; link = link->next) {
		struct operation *op = container_of(link, struct operation, link);
		if (op->sqe.fd == fd && !(op->sqe.flags & IOSQE_FIXED_FILE) && op->group)
			op_mark(op, OP_EXPLICIT);
	}
}

/* Cancels what the kernel holds on fd, and has it let go of the file as far as it does at once. */
static void cancel_pending(struct ctx_ring *ring, int fd)
{
	struct uring_wait wait = {.events = true, .timeout_ns = CTX_FOREVER};

	cancel_marked(ring, fd, 0);
	for (const struct list *link = ring->singles.next; link != &ring->singles; link = link->next)
		wait.min_complete++;
	batch_singles(ring);
	if (wait.min_complete && ring->defer && ring->features.timed_wait)
		wait.timeout_ns = 0;
	else
		wait.min_complete = 0;
	uring_enter(ring->uring, 0, &wait);
}

/* What the kernel did not take would be done to the next file of this number. */
static void spoil_unsent(struct ctx_ring *ring, int fd)
{
	const struct io_uring_sq *sq = &ring->uring->sq;

	for (unsigned i = sq->sqe_tail - uring_publish(ring->uring); i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
		uint64_t value = sqe->user_data;
		if (sqe->fd != fd || (sqe->flags & IOSQE_FIXED_FILE) || (value ^ ring->tag) >> KIND_SHIFT ||
		    sqe->opcode == IORING_OP_PROVIDE_BUFFERS || sqe->opcode == IORING_OP_REMOVE_BUFFERS)
			continue;
		struct operation *op = slot_find(ring, (uint32_t)value & SLOT_MASK,
						 (uint32_t)(value >> GENERATION_SHIFT) & GENERATION_MASK);
		if (op && !(op->marks & OP_RESULT))
			add_result(op, -ECANCELED);
		sqe->fd = -1;
	}
}

/* Of a ring that parks by default all that is in the kernel has been counted, if there was memory; and
 * attempts have been answered, if the kernel took them and there was room to see it. */
static bool may_be_pending(const struct ctx_ring *ring, const struct park_fd *p)
{
	return !p || p->pending || (p->state & (ISSUED << WAY_IN | ISSUED << WAY_OUT)) ||
	       !(ring->options.flags & CTX_RING_PARK) || ring->park->uncounted;
}

int ctx_ring_close_fd(struct ctx_ring *ring, int fd)
{
	struct park_fd *p;

	if (!ring || fd < 0)
		return -EINVAL;
	int error = ring_check(ring);
	if (error)
		return error;
	p = fd_find(ring, fd);
	refuse_staged(&ring->waiting, fd);
	refuse_staged(&ring->staged, fd);
	if (p && (p->state & (ISSUED << WAY_IN | ISSUED << WAY_OUT))) {
		ring_flush(ring); /* attempts do not wait */
		park_settle(ring);
	}
	if (p)
		fd_end_parked(ring, p, -ECANCELED, CTX_OP_CANCELLED);
	if (ring->in_kernel && may_be_pending(ring, p))
		cancel_pending(ring, fd);
	spoil_unsent(ring, fd);
	if (p && (p->state & WATCHED)) /* what a copy of fd keeps open would be reported for ever */
		sys_epoll_ctl(ring->park->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (p)
		fd_reset(p);
	ring_notify(ring);
	return close(fd) < 0 ? -errno : 0;
}
