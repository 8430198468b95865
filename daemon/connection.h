/* SPDX-License-Identifier: MIT */
/* A client's socket: packets in, packets out, and who is at the other end. */
#ifndef CTXD_CONNECTION_H
#define CTXD_CONNECTION_H

#include "broker.h"
#include "closer.h"
#include "lanes.h"
#include "loop.h"

/* Descriptors that the service needs for itself. */
#define OWN_FDS 32

/* All connections of a daemon. */
struct connections {
	struct loop *loop;
	struct broker *broker;
	struct closers *closers;
	const struct config *config;
	struct list list;
	unsigned count;
	unsigned owed; /* answers that wait for room in a socket */
	/*
	 * Who waits for a turn: those of which something is heard for the first time since they had nothing
	 * more to say, and those that said more than a turn has room for. Both go on in each round, so that
	 * who asks now and then does not wait for those that never stop, of its own user either.
	 */
	struct lanes fresh, busy;
	struct list failing; /* to be closed */
	struct list slow;    /* with something queued, by when something of that went last */
	struct list retries; /* whose sockets are to be tried again, the earliest first */
	/* A descriptor has become free. */
	void (*closed)(struct connections *connections);
};

/* loop, broker, config and closed are set. */
void connections_init(struct connections *connections);

/* Takes fd over. What is wrong is logged, and fd closed. */
void connection_open(struct connections *connections, int fd);

/* As that, but says why not, and hangs up. */
void connection_refuse(struct connections *connections, int fd, int error);

/* Tells all clients the reason, and hangs up. They are gone when count is 0. */
void connections_end(struct connections *connections, int error);

/* A round of turns; hangs up on those that do not read; and when it is to be called next, 0: at once. */
void connections_tick(struct connections *connections, uint64_t now_ns);
uint64_t connections_next_ns(const struct connections *connections);

#endif
