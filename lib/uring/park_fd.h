/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a parking ring: which operations are parked on each, and whether it is known not to be
 * ready. park_fd.c says how that becomes known.
 */
#ifndef CTX_PARK_FD_H
#define CTX_PARK_FD_H

#include "attempt.h"
#include "list.h"
#include "sys.h"

#define PARK_CHUNK 64u
#define PARK_EVENTS_MAX 256
#define PARK_FDS_MAX (1u << 24)

enum park_state {
	/* These three are shifted left by enum way. */
	PARK_READY = 1 << 0,	     /* it may be ready: it is not known that it is not */
	PARK_FRESH = 1 << 2,	     /* an event came since the attempt was given to the kernel */
	PARK_ISSUED = 1 << 4,	     /* an attempt is in the kernel */
	PARK_WATCHED = 1 << 6,	     /* in the epoll set */
	PARK_WATCHED_OUT = 1 << 7,   /* in the epoll set for being writable, too */
	PARK_UNPARKABLE = 1 << 8,    /* its operations cannot be parked, and wait in the kernel */
	PARK_LINGERS = 1 << 9,	     /* an event has reported an end, an error or urgent data */
	PARK_KNOWN = 1 << 10,	     /* PARK_SHORT_PROVES was looked up */
	PARK_CONNECTED = 1 << 11,    /* it is a connected socket, so that MSG_WAITALL has a meaning */
	PARK_SHORT_PROVES = 1 << 12, /* a receive that does not fill its buffer has taken all there was */
	PARK_URGENT = 1 << 13,	     /* an event has reported urgent data */
	PARK_STALE = 1 << 14, /* shifted left by enum way: the attempt is on the file that fd was before */
	PARK_TYPED = 1 << 16, /* PARK_CONNECTED was looked up */
	PARK_ASKS = 1 << 17,  /* reads and writes of this file cannot be attempted */
	PARK_LONG = 1 << 18,  /* its last wait for input was long: operations on it park at once */
};

/* One descriptor number. */
struct park_fd {
	struct list queue[WAYS]; /* the operations that are parked on it, by struct operation's park */
	struct list due;	 /* in park->due, or alone */
	int32_t fd;
	uint32_t state;
	uint32_t pending;    /* how many operations on it wait in the kernel */
	uint32_t since_ms;   /* when the first operation in queue[WAY_IN] was parked */
	uint16_t generation; /* counts uses of the number, so that events of an earlier one are told apart */
};

/* Parking of one ring. */
struct park {
	int epoll_fd;
	bool armed;	   /* a request that waits for events is in the kernel */
	bool by_poll;	   /* it is a poll of the epoll set: this kernel has no IORING_OP_EPOLL_WAIT */
	bool check;	   /* CTXRING_FEATURES=park-check */
	bool unix_known;   /* unix_counts is set */
	bool unix_counts;  /* unix sockets count what is left to read */
	bool watches;	   /* something was put into the epoll set, so that there is something to wait for */
	unsigned attempts; /* how many are in the kernel that do not stay there until they are parked */
	unsigned late;	   /* how many operations with OP_LATE are in the kernel */
	uint32_t swept;	   /* the last slot that the sweep has looked at; 0: it is at the beginning */
	uint64_t newest;   /* the number of the last operation when the last sweep began */
	uint64_t old;	   /* the sweep takes operations up to this number */
	bool uncounted;	   /* an operation that waits in the kernel is not counted, for want of memory */
	struct list due;   /* the park_fds on which an attempt is to be made */
	struct park_fd **chunks; /* each has PARK_CHUNK park_fds; NULL: not made yet */
	unsigned chunk_count;
	struct epoll_event events[PARK_EVENTS_MAX]; /* the kernel writes it while armed */
};

/* The park_fd of fd. NULL: there is none yet. */
static inline struct park_fd *park_fd_find(const struct park *park, int fd)
{
	unsigned chunk = (unsigned)fd / PARK_CHUNK;

	if (!park || fd < 0 || chunk >= park->chunk_count || !park->chunks[chunk])
		return NULL;
	return &park->chunks[chunk][(unsigned)fd % PARK_CHUNK];
}

/* Makes the park_fd of fd. NULL: no memory. */
struct park_fd *park_fd_new(struct park *park, int fd);

/* The park_fd of fd, made if there is none. NULL: no memory. */
static inline struct park_fd *park_fd_make(struct park *park, int fd)
{
	struct park_fd *known = park_fd_find(park, fd);

	return __builtin_expect(known != NULL, 1) ? known : park_fd_new(park, fd);
}

void park_fds_free(struct park *park);

static inline bool park_fd_has(const struct park_fd *p, int bits)
{
	return p->state & (uint32_t)bits;
}

static inline void park_fd_set(struct park_fd *p, int bits)
{
	p->state |= (uint32_t)bits;
}

static inline void park_fd_clear(struct park_fd *p, int bits)
{
	p->state &= ~(uint32_t)bits;
}

/* True when an attempt on p is in the kernel. */
static inline bool park_fd_is_issued(const struct park_fd *p)
{
	return park_fd_has(p, PARK_ISSUED << WAY_IN | PARK_ISSUED << WAY_OUT);
}

/* Forgets what is known of p. */
void park_fd_reset(struct park_fd *p);

/* The descriptor is about to be closed: takes it out of the epoll set and forgets what is known of it. */
void park_fd_forget(struct park *park, struct park_fd *p);

/* True when the descriptor is another file than the one in the epoll set. From then on the new one is in the
 * set. */
bool park_fd_differs(struct park *park, struct park_fd *p);

/* Has the epoll set report readiness of p in this direction, too. Returns 0, or -errno: it does not report
 * it. */
int park_fd_watch(struct park *park, struct park_fd *p, enum way way);

/* Takes p out of the epoll set if nothing on it waits to write. */
void park_fd_unwatch(const struct park *park, struct park_fd *p);

/* Looks PARK_CONNECTED up. False: it cannot be found out. */
bool park_fd_learn_type(struct park_fd *p);

/* Looks PARK_SHORT_PROVES up. */
void park_fd_learn(struct park *park, struct park_fd *p);

static inline bool park_fd_short_proves(struct park *park, struct park_fd *p)
{
	if (__builtin_expect(!(p->state & PARK_KNOWN), 0))
		park_fd_learn(park, p);
	return park_fd_has(p, PARK_SHORT_PROVES);
}

/*
 * Asks poll(2) whether a read or receive should be given to the kernel as one that waits. False: there is
 * nothing to read, and an event will come when there is. True also when the kernel is to answer at once with
 * an error.
 */
bool park_fd_ask(struct park *park, struct park_fd *p, bool of_file);

/* An attempt has found that p is not ready. Marks that, unless it may have changed meanwhile. */
void park_fd_not_ready(struct park *park, struct park_fd *p, enum way way);

/* Notes an event of the epoll set. Returns the park_fd that it is about; NULL: of an earlier use of the
 * number. */
struct park_fd *park_fd_note_event(struct park *park, const struct epoll_event *event);

#endif
