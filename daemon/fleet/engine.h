/* SPDX-License-Identifier: MIT */
/*
 * The seam to the engine: what carries batches between the hosts of a fleet, and keeps one lease for each of
 * them. Messages may get lost, doubled and reordered. A lease may look gone when it is not.
 *
 * Each kind of engine has a function of its own that opens one, and gives these calls.
 */
#ifndef CTXD_FLEET_ENGINE_H
#define CTXD_FLEET_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The start of the structure of each kind of engine. */
struct engine {
	const struct engine_calls *calls;
};

/* What an engine is like, for people who look after it. What is not known is 0 or "". Texts are cut to fit.
 */
struct engine_status {
	char address[128]; /* in use, or tried last */
	char role[16];	   /* what the server said it is: "master", "slave", "sentinel" */
	char software[16]; /* "redis", "valkey" */
	char version[32];
	bool is_up;
	uint64_t since_ns;	/* when the link came up, or went down */
	uint64_t connected;	/* how often it came up */
	uint64_t round_trip_ns; /* of the shortest question, when it was asked last */
	uint64_t message_ns; /* from sending to receiving a message to the own inbox, at the last examination
			      */
	/* How far the clock of the server was ahead of CLOCK_REALTIME here, to some round trips. */
	bool is_clock_known;
	int64_t clock_ahead_ns;
	uint64_t failover_ns; /* How long the engine waits before it takes its master for dead. */
	uint64_t refused;     /* messages that the server did not take */
	uint64_t malformed;   /* answers that were wrong, and entries in the inbox that are no messages */
	char trouble[160];    /* why the link was lost, or a command was refused, the last time */
	char denied[64];      /* the commands for which rights are missing: "XADD SCAN" */
	char warning[160];    /* what is wrong with the configuration, though it works */
};

/*
 * What an engine tells, from within dispatch only. These may call all but close and dispatch. Those from
 * trouble on may be NULL.
 */
struct engine_events {
	/* A batch for this host. The bytes are borrowed. */
	void (*message)(void *link, const uint8_t *bytes, size_t size);
	/* The link works. fresh: it is a new connection; messages of the one before may be lost. */
	void (*up)(void *link, bool fresh);
	void (*down)(void *link);
	/* There is room again, after send was false. */
	void (*writable)(void *link);
	/* Answers lease_take and lease_renew, see there. */
	void (*own_lease)(void *link, uint64_t incarnation);
	/* Answers lease_read, once for each host. incarnation 0: it has no lease. */
	void (*lease)(void *link, const char *host, uint64_t incarnation);
	/* What the log should say: why a link that worked is lost, just before down, and other faults. The
	 * same text comes at most once a minute; engine_status always has the latest. */
	void (*trouble)(void *link, const char *text);
	/* Answers hosts: once for each name, and at the end with NULL and 0 or a negative errno: -EACCES when
	 * the server refuses the list, -EHOSTUNREACH when the link is down, -E2BIG when there are too many
	 * keys. A name may come twice. */
	void (*host)(void *link, const char *host, int error);
	/* Answers examine. The status is borrowed. */
	void (*examined)(void *link, const struct engine_status *status);
	void *link;
};

/* None of these blocks. */
struct engine_calls {
	void (*close)(struct engine *engine);
	/* The descriptor that is readable when dispatch has something to do, and when it has at the latest.
	 * -1: only the time says so. UINT64_MAX: no time is known. A time that has passed, such as 0: at
	 * once; so it is after calls from outside of dispatch, which may only note what dispatch is to write.
	 */
	int (*fd)(const struct engine *engine);
	uint64_t (*next_ns)(const struct engine *engine);
	void (*dispatch)(struct engine *engine, uint64_t now_ns);
	/* Sends a batch into the inbox of a host. It may get lost. False: no more is taken now. */
	bool (*send)(struct engine *engine, const char *host, const uint8_t *bytes, size_t size);
	/* Takes the own lease if nobody has it. The answer is who has it afterwards. */
	void (*lease_take)(struct engine *engine, uint64_t incarnation);
	/* Writes the own lease again if it is there, whoever has it. The answer is who had it before; 0: it
	 * was not there, and was not written. */
	void (*lease_renew)(struct engine *engine, uint64_t incarnation);
	void (*lease_read)(struct engine *engine, const char *const *hosts, unsigned count);
	/* Lists all hosts that have a lease. One list at a time: a call during one has no effect. */
	void (*hosts)(struct engine *engine);
	/* Asks the server about all of struct engine_status. Answered after a second at the latest, with what
	 * is known by then. A call during an examination has no effect. */
	void (*examine)(struct engine *engine);
	/* What is known now. */
	void (*status)(const struct engine *engine, struct engine_status *ret_status);
};

#endif
