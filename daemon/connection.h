/* SPDX-License-Identifier: MIT */
/* Connections: the sockets of the clients, their queues, and their turns. */
#ifndef CTXD_CONNECTION_H
#define CTXD_CONNECTION_H

#include "broker.h"
#include "closer.h"
#include "lanes.h"
#include "loop.h"

/* How many descriptors the service needs for itself. */
#define OWN_FDS 32

/* All connections of the daemon. */
struct connections {
	struct loop *loop;
	struct broker *broker;
	struct closers *closers;
	const struct config *config;
	struct list list;
	unsigned count;
	unsigned owed;	    /* The number of answers in all queues. */
	uint64_t fds_limit; /* RLIMIT_NOFILE, as it was when this turn began. */
	/*
	 * The connections that wait for a turn. A connection that had nothing more to do waits among the
	 * fresh ones; one whose last turn was not long enough waits among the busy ones. Each round gives
	 * turns to both, so that a client that asks now and then does not wait for clients that never stop,
	 * not even for those of its own user.
	 */
	struct lanes fresh, busy;
	struct list failing; /* Those that are to be closed. */
	struct list slow;    /* Those with a queue, by when a packet of it was sent last. */
	struct list retries; /* Those whose queue is tried again at a time, the earliest first. */
	/* Called when descriptors have become free. */
	void (*closed)(struct connections *connections);
};

/* The caller has set loop, broker, closers, config and closed. */
void connections_init(struct connections *connections);

/* Takes fd over. If it cannot become a client, that is logged and fd is closed. */
void connection_open(struct connections *connections, int fd);

/* Takes fd over, tells its client why it is refused, and hangs up. */
void connection_refuse(struct connections *connections, int fd, int error);

/* Tells all clients the reason and hangs up on them. They are gone when count is 0. */
void connections_end(struct connections *connections, int error);

/*
 * Gives a round of turns, and hangs up on clients that do not read; and when that is to be called next. 0: at
 * once.
 */
void connections_tick(struct connections *connections, uint64_t now_ns);
uint64_t connections_next_ns(const struct connections *connections);

#endif
