/* SPDX-License-Identifier: MIT */
/* Things with two ends: the near one is operated on, the far one is fed with plain system calls that do not
 * wait. */
#ifndef SOAK_CHANNEL_H
#define SOAK_CHANNEL_H

#include "soak/chance.h"

enum channel_kind {
	CHANNEL_UNIX,
	CHANNEL_SEQPACKET,
	CHANNEL_DATAGRAM,
	CHANNEL_TCP,
	CHANNEL_PIPE,	 /* near is read */
	CHANNEL_OUTWARD, /* a pipe, near is written */
	CHANNEL_EVENT,
	CHANNEL_TIMER,
	CHANNEL_LISTENER,
	CHANNEL_KINDS
};

struct channel {
	enum channel_kind kind;
	int near, far; /* -1: none */
};

void channel_open(struct channel *channel, enum channel_kind kind);
/* The far end; the near one is closed by whoever used it. */
void channel_close_far(struct channel *channel);

/* Something comes, or some of what was sent is taken away, or the far end hangs up. */
void channel_feed(struct chance *chance, struct channel *channel);

static inline bool channel_is_socket(const struct channel *channel)
{
	return channel->kind <= CHANNEL_TCP;
}

static inline bool channel_is_written(const struct channel *channel)
{
	return channel->kind <= CHANNEL_TCP || channel->kind == CHANNEL_OUTWARD;
}

#endif
