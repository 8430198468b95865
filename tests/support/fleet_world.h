/* SPDX-License-Identifier: MIT */
/*
 * Hosts of a fleet with their bridges, their contexts and what they joined of each other, in one process and
 * with time that the test moves. Whatever a bridge says is compared with what is true: a mirror that ends
 * without reason, or whose deadline is too early, fails the test, with the seed.
 */
#ifndef TEST_FLEET_WORLD_H
#define TEST_FLEET_WORLD_H

#include "clock.h"
#include "fleet.h"
#include "support/engine_fake.h"
#include "support/fleet_service.h"
#include "support/harness.h"

#define WORLD_HOSTS_MAX 256
#define WORLD_LEASE_NS (6 * NS_PER_SECOND)
#define WORLD_BEAT_NS (WORLD_LEASE_NS / 3)
#define WORLD_GRACE_NS (30 * NS_PER_SECOND)

struct world;

/* A batch that was sent. */
struct world_batch {
	unsigned to;
	size_t size;
	uint8_t *bytes;
};

/* A context of a host. */
struct world_context {
	unsigned owner;
	struct fleet_id id;
	uint64_t deadline_ns, deadline_min_ns; /* as it is, and the earliest that it ever had */
	bool is_movable, was_moved;
	bool is_released; /* not shared any more */
	bool is_ended;
	bool is_forgotten; /* It has ended, and the service of its host does not know why any more. */
	struct wire_cause cause;
};

/* A join of a context of another host. */
struct world_mirror {
	struct world *world;
	unsigned host, context;
	uint32_t flags;
	struct mirror *mirror; /* NULL: the bridge does not run, or could not join. */
	bool is_left;	       /* The program has left it. */
	bool is_live_told;     /* The owner's host has said that it is live. */
	bool is_ended;
	bool is_expired; /* It ended by its own deadline. */
	enum fleet_end end;
	struct wire_cause cause;
	uint64_t deadline_ns, ended_ns;
};

struct world_host {
	struct world *world;
	unsigned number;
	char name[16];
	struct fleet *fleet; /* NULL: the bridge does not run. */
	struct engine *engine;
	struct fleet_config config; /* for the next start */
	bool is_cut, is_service_down;
	uint64_t disturbed_ns; /* when it was last cut off, or had no bridge; 0: never */
	unsigned conflicts;
	uint64_t sends, sent_bytes; /* of all lives of its bridge */
	unsigned local_leaves;
	struct fleet_key *asked; /* what the bridge asked the service to join */
	unsigned asked_count, asked_room, asked_total;
	struct service_task *tasks; /* what else it was asked for */
	unsigned task_count;
	unsigned entries;	/* It lists so many. */
	unsigned entries_ready; /* It has only so many for now; 0: all */
	int list_error;		/* Or it refuses to. */
	bool ends_early;	/* Its program ends what is to be cancelled before the order is there. */
	uint64_t reap_ns;	/* how long operations take that it cancels */
};

struct world {
	unsigned seed, first_seed;
	uint64_t now_ns;
	struct engine_fake *fake;
	bool is_engine_stopped;
	bool lacks_memory; /* Labels may get lost. */
	uint64_t engine_disturbed_ns;
	unsigned host_count;
	struct world_host hosts[WORLD_HOSTS_MAX];
	struct world_context *contexts;
	struct world_mirror **mirrors;
	struct world_cancel **cancels;
	struct world_list **lists;
	unsigned context_count, mirror_count, cancel_count, list_count;
	struct world_batch *tape; /* the batches that were sent, while is_taping */
	unsigned tape_count;
	bool is_taping;
	uint64_t last_incarnation;
	unsigned host_ends, unreachable_ends; /* how many mirrors ended by these rules */
};

#define world_assert(world, condition)                                                                       \
	ck_assert_msg(condition, "seed %u, at %g s: %s", (world)->first_seed, (double)(world)->now_ns / 1e9, \
		      #condition)

/* Messages take a millisecond, and nothing goes wrong. */
extern const struct engine_chaos world_calm;

/* Bridges run, and are connected. key_size 0: the fleet has no key. */
struct world *world_new(unsigned seed, unsigned hosts);
struct world *world_new_with_key(unsigned seed, unsigned hosts, unsigned key_size);
void world_free(struct world *world);
unsigned world_draw(struct world *world, unsigned bound);

/* Lets so much time go by. */
void world_run(struct world *world, uint64_t duration_ns);

void world_bridge_start(struct world *world, unsigned host);
/* It vanishes without a word. What was joined by it is joined again by the next. */
void world_bridge_kill(struct world *world, unsigned host);
void world_cut(struct world *world, unsigned host, bool is_cut);
void world_engine_stop(struct world *world, bool is_stopped);
void world_engine_empty(struct world *world);

/* deadline_ns 0: none. */
unsigned world_context(struct world *world, unsigned owner, uint64_t deadline_ns);
void world_end(struct world *world, unsigned context);
void world_move(struct world *world, unsigned context, uint64_t deadline_ns);
void world_release(struct world *world, unsigned context);

/* Gives a batch of the tape to the bridge that it was for, as its present life. */
void world_replay(struct world *world, unsigned number);

struct world_mirror *world_join(struct world *world, unsigned host, unsigned context, uint32_t flags);
void world_leave(struct world_mirror *mirror);
/* The service of its host has cancelled it. */
void world_mirror_cancelled(struct world_mirror *mirror);

/* Fails unless everybody knows the truth: after calm. */
void world_check(struct world *world);

/* Room for one more in an array whose room is the next power of two. */
void *world_array_grow(void *array, unsigned count, size_t size);

struct fleet_counts world_counts(const struct world *world, unsigned host);

#endif
