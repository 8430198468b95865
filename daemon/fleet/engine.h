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

/* What an engine tells, from within dispatch only. These may call all but close and dispatch. */
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
	void *link;
};

/* None of these blocks. */
struct engine_calls {
	void (*close)(struct engine *engine);
	/* The descriptor that is readable when dispatch has something to do, and when it has at the latest.
	 * -1: only the time says so. UINT64_MAX: no time is known. */
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
};

#endif
