/* SPDX-License-Identifier: MIT */
/* A client's socket: packets in, packets out, and who is at the other end. */
#ifndef CTXD_CONNECTION_H
#define CTXD_CONNECTION_H

#include "broker.h"
#include "closer.h"
#include "loop.h"

/* Descriptors that the service needs for itself. */
#define OWN_FDS 32

/* All connections of a daemon. */
struct connections {
	struct loop *loop;
	struct broker *broker;
	struct closers *closers;
	const struct config *config;
	struct connection *first;
	unsigned count;
	unsigned owed;	  /* answers that wait for room in a socket */
	unsigned failing; /* to be closed at the end of this turn */
	/* A descriptor has become free. */
	void (*closed)(struct connections *connections);
};

/* Takes fd over. What is wrong is logged, and fd closed. */
void connection_open(struct connections *connections, int fd);

/* As that, but says why not, and hangs up. */
void connection_refuse(struct connections *connections, int fd, int error);

/* Tells all clients the reason, and hangs up. They are gone when count is 0. */
void connections_end(struct connections *connections, int error);

/* Hangs up on those that do not read; and when it is to be called next. */
void connections_tick(struct connections *connections, uint64_t now_ns);
uint64_t connections_next_ns(const struct connections *connections);

#endif
