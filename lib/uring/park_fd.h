/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a ring that parks: which operations wait on each, and what is known of its readiness.
 * How readiness comes to be known: park_fd.c.
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
	/* these three shifted by the way */
	PARK_READY = 1 << 0,  /* not known to be not ready */
	PARK_FRESH = 1 << 2,  /* an event came since the attempt was given to the kernel */
	PARK_ISSUED = 1 << 4, /* an attempt is under way */
	PARK_WATCHED = 1 << 6,
	PARK_WATCHED_OUT = 1 << 7,   /* also for being writable */
	PARK_UNPARKABLE = 1 << 8,    /* its operations go the usual way */
	PARK_LINGERS = 1 << 9,	     /* has seen an end, an error or urgent data */
	PARK_KNOWN = 1 << 10,	     /* PARK_SHORT_PROVES has been looked up */
	PARK_CONNECTED = 1 << 11,    /* MSG_WAITALL means something */
	PARK_SHORT_PROVES = 1 << 12, /* a short receive leaves nothing behind */
	PARK_URGENT = 1 << 13,	     /* has seen urgent data */
	PARK_STALE = 1 << 14, /* shifted by the way: the attempt under way was on the file before this one */
	PARK_TYPED = 1 << 16, /* PARK_CONNECTED has been looked up */
	PARK_ASKS = 1 << 17,  /* reads and writes have no attempt that does not wait */
};

struct park_fd {
	struct list queue[WAYS]; /* of operations, by park */
	struct list due;	 /* park->due */
	int32_t fd;
	uint32_t state;
	uint32_t pending;    /* operations that wait in the kernel */
	uint16_t generation; /* of this use of the number */
};

struct park {
	int epoll_fd;
	bool armed;		      /* the wait for readiness is under way */
	bool by_poll;		      /* this kernel has no IORING_OP_EPOLL_WAIT */
	bool check;		      /* CTXRING_FEATURES=park-check */
	bool unix_known, unix_counts; /* unix sockets say what is left */
	bool watches;		      /* ever has: so there is something to wait for */
	unsigned attempts;	      /* under way */
	bool uncounted;		      /* there was no memory to count one that waits in the kernel */
	struct list due;	      /* where an attempt is to be made */
	struct park_fd **chunks;      /* of PARK_CHUNK each */
	unsigned chunk_count;
	struct epoll_event events[PARK_EVENTS_MAX]; /* the kernel's while armed */
};

static inline struct park_fd *park_fd_find(const struct park *park, int fd)
{
	unsigned chunk = (unsigned)fd / PARK_CHUNK;

	if (!park || fd < 0 || chunk >= park->chunk_count || !park->chunks[chunk])
		return NULL;
	return &park->chunks[chunk][(unsigned)fd % PARK_CHUNK];
}

struct park_fd *park_fd_new(struct park *park, int fd);

/* The same, made if need be. NULL: no memory. */
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

/* An attempt is under way. */
static inline bool park_fd_is_issued(const struct park_fd *p)
{
	return park_fd_has(p, PARK_ISSUED << WAY_IN | PARK_ISSUED << WAY_OUT);
}

/* Nothing that was known of it holds any more. */
void park_fd_reset(struct park_fd *p);

/* Watched no more, and nothing known of it: it is about to be closed. */
void park_fd_forget(struct park *park, struct park_fd *p);

/* It is another file than the one that epoll watches for it, which from now on it does. */
bool park_fd_differs(struct park *park, struct park_fd *p);

/* Has epoll report readiness of p, in this direction as well. 0, or -errno: do not rely on it. */
int park_fd_watch(struct park *park, struct park_fd *p, enum way way);

/* Finds out about PARK_CONNECTED. False: there is no knowing. */
bool park_fd_learn_type(struct park_fd *p);

/* Finds out about PARK_SHORT_PROVES. */
void park_fd_learn(struct park *park, struct park_fd *p);

static inline bool park_fd_short_proves(struct park *park, struct park_fd *p)
{
	if (__builtin_expect(!(p->state & PARK_KNOWN), 0))
		park_fd_learn(park, p);
	return park_fd_has(p, PARK_SHORT_PROVES);
}

/*
 * May a read or receive be given to the kernel as one that waits? False: it would only wait; an event will
 * come when that has changed. True also where it is for the kernel to say what is wrong, at once.
 */
bool park_fd_ask(struct park *park, struct park_fd *p, bool of_file);

/* Nothing to do there, as far as can be known now. */
void park_fd_not_ready(struct park *park, struct park_fd *p, enum way way);

/* epoll has reported this. NULL: of nothing that is known; else where. */
struct park_fd *park_fd_note_event(struct park *park, const struct epoll_event *event);

#endif
