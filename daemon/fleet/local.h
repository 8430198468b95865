/* SPDX-License-Identifier: MIT */
/* Contexts of this host that others have joined: for interest.c. */
#ifndef CTXD_FLEET_LOCAL_H
#define CTXD_FLEET_LOCAL_H

#include "fleet_parts.h"

enum owned_state {
	OWNED_ASKED, /* It was to be joined locally, and there is no answer yet. */
	OWNED_LIVE,
	OWNED_ENDED,
};

/* A context of this host. Its size is part of what a joined context costs, see ctxd-fleet(8). */
struct owned {
	struct fleet_key key;
	struct map_node by_id;
	struct list link; /* In fleet->doubtful, lingering or ended; else linked to itself. */
	uint64_t due_ns;  /* When it is freed, in lingering or ended. */
	uint64_t deadline_ns;
	struct list interests;
	union {
		char *label;		  /* NULL: none. */
		struct wire_cause *cause; /* Of one that has ended. */
	};
	uint64_t version : 48; /* Of its deadline: VERSION_BITS of the fleet's last. */
	uint64_t state : 8;
	uint64_t is_movable : 1;
	uint64_t is_released : 1; /* Its owner does not share it any more. */
};

#define VERSION_BITS ((1ull << 48) - 1)

/* NULL: it is not known. */
struct owned *owned_find(const struct fleet *fleet, const struct fleet_key *key);
/* The live context of that id. NULL: none is known. */
struct owned *owned_find_live(const struct fleet *fleet, struct ctxd_id id);
/* Whether one more secret may be asked for with that id. */
bool owned_has_room_for_secret(const struct fleet *fleet, struct ctxd_id id);

/* Asks for it to be joined locally. NULL: no memory. */
struct owned *owned_new(struct fleet *fleet, const struct fleet_key *key);
void owned_free(struct fleet *fleet, struct owned *owned);
void owned_join_locally(struct fleet *fleet, const struct owned *owned);
/* Has a context without interest freed in a lease. */
void owned_linger(struct fleet *fleet, struct owned *owned);
/* Keeps the end for those that ask later. Without memory they ask this host's service, as for any context. */
void owned_keep_end(struct fleet *fleet, struct owned *owned, const struct wire_cause *cause);

#endif
