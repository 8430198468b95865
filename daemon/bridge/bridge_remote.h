/* SPDX-License-Identifier: MIT */
/* One context of another host, and its mirror: what the files about mirrors share. */
#ifndef CTXD_BRIDGE_REMOTE_H
#define CTXD_BRIDGE_REMOTE_H

#include "parts.h"

enum remote_state {
	REMOTE_FREE, /* The slot is not in use. */
	REMOTE_ASKING,
	REMOTE_LIVE,
	REMOTE_ENDED,
};

/* What is to be said to ctxd. */
enum {
	SAY_MIRROR = 1 << 0,
	SAY_MOVE = 1 << 1,
	SAY_ENDED = 1 << 2,
};

/* A context of another host. Its size is part of what a joined context costs, see ctxd-fleet(8). */
struct remote {
	uint32_t tag; /* Of the MIRROR that has no answer; 0: there is none. Of the store in a free slot. */
	int pipe;     /* -1: there is none yet. */
	struct bridge *bridge;
	struct mirror *mirror;	/* Of the core; NULL: it was left. */
	struct heap_node timer; /* key_ns is the deadline, also where it is in no heap. */
	struct fleet_key key;
	/* The serial of the FETCH, until it is answered; then the number of the id at ctxd, 0 until it gave
	 * one. While it is not 0, this is in mirrors->by_number. */
	uint64_t number;
	union {
		char *label;		  /* NULL: none. */
		struct wire_cause *cause; /* Of one that has ended. NULL: there was no memory for it. */
	};
	struct store_link pending, ended;
	uint32_t slot;
	uint32_t host;
	uint32_t uid;
	uint8_t state, say;
	bool is_fetching; /* The FETCH is not answered. */
	bool is_movable, survives;
	bool is_pending;
	bool is_leaving; /* It is in mirrors->ended: the core has yet to forget it. */
};

static inline struct mirrors *mirrors_of(const struct remote *remote)
{
	return &remote->bridge->mirrors;
}

/* Whether ctxd has given it an id. */
static inline bool bridge_remote_is_registered(const struct remote *remote)
{
	return !remote->is_fetching && remote->number;
}

/* NULL: *ret_error is -ENOMEM, or -EDQUOT: the user waits for too many hosts that have never answered. */
struct remote *bridge_remote_new(struct bridge *bridge, const struct wire_fetch *fetch, uint64_t serial,
				 int *ret_error);
/* Its host has answered. */
void bridge_remote_heard(struct remote *remote);
/* Not to be called from within the core. */
void bridge_remote_free(struct remote *remote);

const char *bridge_remote_host(const struct remote *remote);
/* Notes what is to be said to ctxd. */
void bridge_remote_say(struct remote *remote, unsigned what);
void bridge_remote_say_nothing(struct remote *remote);
void bridge_remote_set_deadline(struct remote *remote, uint64_t deadline_ns);
/* ctxd does not know it any more. */
void bridge_remote_forget_number(struct remote *remote);
/* The mirror has ended for the programs of this host. Whether the core still knows it does not matter. */
void bridge_remote_end(struct remote *remote, const struct wire_cause *cause);
/* ctxd does not take the mirror back: it is freed when nobody has the other end of its pipe any more. */
void bridge_remote_watch_readers(struct remote *remote);
/* Whether anybody has the other end of the pipe. */
bool bridge_remote_has_readers(const struct remote *remote);

#endif
