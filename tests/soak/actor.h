/* SPDX-License-Identifier: MIT */
/*
 * The threads of the storm. An actor has a role; a role has actions with weights; a step is one action. Every
 * action is bounded: what waits has a bound of its own, or waits for what another part of the same step does.
 */
#ifndef SOAK_ACTOR_H
#define SOAK_ACTOR_H

#include <pthread.h>

#include "soak/chance.h"

struct actor;

struct action {
	const char *name;
	unsigned weight; /* 0: it is off; see weights_set() */
	void (*run)(struct actor *actor);
};

struct role {
	const char *name;
	struct action *actions; /* ends with one without a name */
	/* Before the first step of a round, and after the last one: nothing is left then. */
	void (*begin)(struct actor *actor);
	void (*end)(struct actor *actor);
};

struct actor {
	pthread_t thread;
	const struct role *role;
	unsigned number;
	void *state; /* of its role */
	struct chance chance;
	uint64_t step;
	const char *_Atomic doing;   /* NULL: it does not run */
	_Atomic uint64_t beginnings; /* of actions: what the watchdog looks at */
};

/* Who calls; NULL for threads of the library, and of the program beside the actors. */
extern __thread struct actor *actor_self;

extern const struct role role_ring, role_tree, role_blocking, role_service;

/* Runs one round with all actors, which is over after duration_ns, or when the storm is to end. */
void actors_run(uint64_t round, uint64_t duration_ns);

/* Whether one of them has begun nothing for so many seconds; to be called once a second, by one thread. */
bool actors_hang(unsigned seconds);

/* Where each of them is, one line each. */
void actors_print(void);

/* Sum of what all of them began, this round and earlier ones. */
uint64_t actors_steps(void);

/* Marks a point within an action: what the watchdog prints, and a sign of life. */
void actor_note(const char *doing);

/*
 * Changes weights, "name=number" separated by commas or blanks; "only" as the first word sets all others
 * to 0. False: a name is unknown.
 */
bool weights_set(const char *text);
void weights_print(void);

/*
 * While nobody else is within an action. Under sanitizers, whose allocators do not reset their locks in a
 * forked child, a fork is only possible then; otherwise both do nothing.
 */
void actors_halt(void);
void actors_resume(void);

/* Whether that thread of this process sleeps in a system call, or has ended. */
bool actors_thread_sleeps(int tid);

/*
 * Around what maps or unmaps a ring: ThreadSanitizer does not see that liburing unmaps its memory, and takes
 * the next ring at that address, of another thread, for the same memory. Without a sanitizer they do nothing.
 */
void actors_lock_mappings(void);
void actors_unlock_mappings(void);

/* Whether the round is over, or the storm: then steps end. */
bool actors_round_over(void);

/* A duration: mostly of microseconds, seldom of some milliseconds. */
static inline uint64_t chance_short_ns(struct chance *chance)
{
	return 1000ull * (1 + chance_below(chance, chance_one_in(chance, 8) ? 5000 : 300));
}

/* Whatever must happen, happens sooner than this. */
#define SOAK_SOON_NS (25 * NS_PER_SECOND)

#endif
