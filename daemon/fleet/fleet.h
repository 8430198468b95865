/* SPDX-License-Identifier: MIT */
/*
 * The bridge of a fleet without sockets, engine, clock and randomness. It makes an end on one host reach all
 * hosts that joined the context. Its caller gives it messages, what happens on this host, and the time; what
 * it wants done leaves by struct fleet_output.
 *
 * A context ends once and for all, so an end may be told late, twice and in any order. The truth about a
 * context is with its owner's host. The engine may lose every message: whoever may have missed something asks
 * again, and is answered with what is true now. See fleet_parts.h for how that is noticed.
 *
 * The state of one host is in one struct fleet. It is used by one thread.
 */
#ifndef CTXD_FLEET_H
#define CTXD_FLEET_H

#include "id.h"
#include "wire.h"

struct fleet;
struct mirror; /* A remote context that this host has joined. */

struct fleet_config {
	char host[FLEET_HOST_MAX + 1]; /* the name of this host */
	uint64_t incarnation;	       /* of this life of the bridge: random, not 0 */
	uint64_t past_incarnation;     /* of the life before, whose lease may still be there; 0: not known */
	uint64_t lease_ns;	       /* A third of it is the beat. At least a millisecond. */
	uint64_t grace_ns;	 /* How long joined contexts outlive a lost link; CTX_FOREVER: for ever. */
	bool outlive_owner_host; /* Joined contexts go on when the owner's host is gone. */
	/* What the bridge keeps at most. Beyond it hosts are ignored, remote joins get no answer, a local
	 * join fails, and the oldest ends are forgotten. */
	uint32_t hosts_max, owned_max, mirrors_max, ended_max;
	uint64_t ended_ns;  /* how long ends are kept */
	size_t queue_bytes; /* for each host; at least FLEET_MESSAGE_MAX */
};

/* Room for what is usual: 6 s, 30 s, 1,024 hosts, a million contexts each way, 65,536 ends for ten minutes,
 * 1 MiB. Host and incarnations are left empty. */
void fleet_config_init(struct fleet_config *ret_config);

/* ---- what leaves */

/* Why a mirror has ended. */
enum fleet_end {
	FLEET_END_CAUSE,     /* The owner's context ended, and the cause says why. */
	FLEET_END_UNKNOWN,   /* The owner's host knows no such context, or it may not be joined. */
	FLEET_END_FORGOTTEN, /* The same, of a context that was live before. */
	FLEET_END_HOST,	     /* The owner's host is gone. */
	/* The link was down for as long as the grace; or the owner did not answer to the first question for
	 * that time, or for a lease if that is longer. */
	FLEET_END_UNREACHABLE,
};

/* What the owner's host said of a live context. */
struct fleet_live {
	uint64_t deadline_ns; /* on the clock of this host: not earlier than the owner's */
	bool movable;
	const char *label;
};

/*
 * None of these calls the fleet, and none blocks. link is given to those of the engine and of the contexts
 * of this host, data of fleet_join() to those of a mirror.
 */
struct fleet_output {
	/* Sends a batch to a host; it may get lost. False: the engine takes no more, and
	 * fleet_engine_writable() is called when it does. */
	bool (*send)(void *link, const char *host, const uint8_t *bytes, size_t size);
	/* Take, renew and read leases, as struct engine_calls says. The answers come by fleet_own_lease() and
	 * fleet_lease(). */
	void (*lease_take)(void *link, uint64_t incarnation);
	void (*lease_renew)(void *link, uint64_t incarnation);
	void (*lease_read)(void *link, const char *const *hosts, unsigned count);
	/* Another bridge has the name of this host. */
	void (*name_conflict)(void *link, uint64_t incarnation);

	/* A context of this host is joined from outside for the first time: join it locally and answer with
	 * fleet_owned_live(), fleet_owned_ended() or fleet_owned_unknown(). It may be asked again. */
	void (*local_join)(void *link, const struct fleet_key *key);
	/* No host is interested in that context any more. */
	void (*local_leave)(void *link, const struct fleet_key *key);
	void *link;

	/* The owner has said that the context is live: the first time, and after it was in doubt. */
	void (*mirror_live)(void *data, const struct fleet_live *live);
	void (*mirror_moved)(void *data, uint64_t deadline_ns);
	/* The mirror has ended: the last that is said of it. cause is NULL unless it is FLEET_END_CAUSE; its
	 * time is on the clock of this host. */
	void (*mirror_ended)(void *data, enum fleet_end end, const struct wire_cause *cause);
};

/* ---- the fleet. The time is never 0, and not earlier than in the call before. */

/* NULL: no memory. The link to the engine is down at first. */
struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_output *output,
			uint64_t now_ns);
/* Frees all, mirrors included. Says nothing to anybody. NULL is allowed. */
void fleet_free(struct fleet *fleet);

/* When fleet_tick() is to be called next. 0: at once. UINT64_MAX: no time is known. */
uint64_t fleet_next_ns(const struct fleet *fleet);
/*
 * Ends a turn: does what is due, and sends what the calls before have queued, all for one host in one batch
 * where it fits. O(hosts with something to send), and what is due: a beat costs O(1) for each related host,
 * the end of the grace O(mirrors).
 */
void fleet_tick(struct fleet *fleet, uint64_t now_ns);

/* ---- from the engine */

/* The link works. What was sent and received before may be lost. O(hosts). */
void fleet_engine_up(struct fleet *fleet, uint64_t now_ns);
/* The link is lost. O(hosts). */
void fleet_engine_down(struct fleet *fleet, uint64_t now_ns);
/* The engine takes more. O(hosts that had to wait). */
void fleet_engine_writable(struct fleet *fleet);
/* A batch came. What is broken is counted and ignored. O(messages), and for each END and RESYNC what
 * interest.c and mirror.c say. */
void fleet_receive(struct fleet *fleet, const uint8_t *bytes, size_t size, uint64_t now_ns);
/* Answers lease_take and lease_renew: the incarnation that the lease of this host had when a renewal found
 * it, or has after it was to be taken. 0: there was none to renew. O(hosts). */
void fleet_own_lease(struct fleet *fleet, uint64_t incarnation, uint64_t now_ns);
/* Answers lease_read: the incarnation in the lease of that host. 0: it has none. O(1), and O(what is joined
 * on both sides) when the host is taken for dead or has a new bridge. */
void fleet_lease(struct fleet *fleet, const char *host, uint64_t incarnation, uint64_t now_ns);

/* ---- contexts of this host that other hosts have joined. What is said of others has no effect. */

/* It is live. deadline_ns: CTX_FOREVER for none; label may be NULL. O(hosts that joined it). */
void fleet_owned_live(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns, bool movable,
		      const char *label, uint64_t now_ns);
/* It has ended. cause->time_ns is on the clock of this host. O(hosts that joined it). */
void fleet_owned_ended(struct fleet *fleet, const struct fleet_key *key, const struct wire_cause *cause,
		       uint64_t now_ns);
/* There is no such context, or other hosts may not join it. In the first two seconds of the fleet's life that
 * is not believed, and asked again, since clients of a service that was restarted need time to come back.
 * O(hosts that joined it). */
void fleet_owned_unknown(struct fleet *fleet, const struct fleet_key *key, uint64_t now_ns);
/* Its deadline was moved. O(hosts that joined it). */
void fleet_owned_moved(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns,
		       uint64_t now_ns);
/* Its owner does not share it any more: those who joined it keep it, later joins are unknown. */
void fleet_owned_released(struct fleet *fleet, const struct fleet_key *key);

/* ---- contexts of other hosts */

/* For fleet_join(): neither the loss of the link nor that of the owner's host ends the mirror. */
#define FLEET_JOIN_SURVIVE (1u << 0)

/*
 * Joins a context of another host. The mirror is live at once; the owner's host is asked. Several mirrors of
 * one context are allowed. 0; -EINVAL: the id is of this host; -EDQUOT: there are too many mirrors, or too
 * many hosts; -ENOMEM. O(log mirrors).
 */
int fleet_join(struct fleet *fleet, const struct fleet_id *id, uint32_t flags, void *data, uint64_t now_ns,
	       struct mirror **ret_mirror);
/* Frees a mirror, ended or not. Nothing more is said of it. O(log mirrors + mirrors of that context). */
void fleet_leave(struct fleet *fleet, struct mirror *mirror);

/* ---- counts */

struct fleet_counts {
	uint64_t received, sent; /* batches */
	uint64_t malformed;	 /* batches that were broken, or said that they are from this host */
	uint64_t foreign;	 /* batches of another version of the protocol */
	uint64_t old;		 /* batches that came twice or too late, or were for an earlier life */
	uint64_t gaps;		 /* batches before which something was missing */
	uint64_t resyncs;	 /* RESYNCs that were sent */
	uint64_t dropped;	 /* queued bytes that were dropped for a RESYNC */
	uint64_t refused;	 /* JOINs without an answer, and batches of hosts beyond hosts_max */
	uint32_t hosts, owned, ended, interests, mirrors; /* what is there now */
};
struct fleet_counts fleet_counts(const struct fleet *fleet);

#endif
