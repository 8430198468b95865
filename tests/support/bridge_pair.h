/* SPDX-License-Identifier: MIT */
/*
 * Two hosts of a fleet, "a" and "b", in one process: their bridges over the fake engine, and for each a ctxd
 * that the test plays, message by message. All runs in the thread of the test, while it waits for something.
 */
#ifndef TEST_BRIDGE_PAIR_H
#define TEST_BRIDGE_PAIR_H

#include "fleet_bridge.h"
#include "clock.h"
#include "support/engine_fake.h"
#include "support/harness.h"
#include "wire.h"

#define PAIR_MS 1000000ull
#define PAIR_LEASE_NS (300 * PAIR_MS)
#define PAIR_GRACE_NS (300 * PAIR_MS)

struct pair;

struct pair_host {
	struct pair *pair;
	const char *name;
	struct bridge *bridge; /* NULL: it does not run. */
	enum bridge_exit exit;
	struct config config;
	char socket[108];
	const char *state;  /* Where it keeps its incarnation; NULL: nowhere. */
	int listener, ctxd; /* -1: there is no such connection. */
	uint64_t epoch;
};

struct pair {
	struct engine_fake *fake;
	char directory[64];
	struct pair_host a, b;
};

/* Bridges run, and their ctxd has taken them; the engine is up. */
struct pair *pair_new(void);
void pair_free(struct pair *pair);

void pair_bridge_start(struct pair_host *host);
void pair_bridge_stop(struct pair_host *host);
/* ctxd vanishes, with the connection. The next one has another epoch. */
void pair_ctxd_stop(struct pair_host *host);
/* Listens again. */
void pair_ctxd_start(struct pair_host *host);
/* Greets the bridge, and answers BRIDGE with that error. */
void pair_ctxd_greet(struct pair_host *host, int error);

/* Lets both bridges take a turn. */
void pair_turn(struct pair *pair);
void pair_run(struct pair *pair, uint64_t duration_ns);
/* Fails unless condition becomes true within half a minute. */
void pair_await(struct pair *pair, bool (*condition)(void *data), void *data);

/* ---- as ctxd */

void pair_say(struct pair_host *host, const struct wire_message *message, const int *fds, unsigned count);
void pair_result(struct pair_host *host, uint64_t serial, int error, uint64_t number);
/* The next message of the bridge, which must be of that type. *ret_fd, if there is one, is the caller's;
 * where ret_fd is NULL it is closed. */
struct wire_message pair_hear(struct pair_host *host, enum wire_type type, int *ret_fd);
/* Whether nothing has come from the bridge. */
bool pair_is_quiet(struct pair_host *host);

/* ---- a context of host a that b joins */

struct pair_context {
	struct wire_global global;
	int pipe;		      /* the write end of the owner's done pipe; -1: closed */
	uint64_t local;		      /* the number of the join at a's ctxd */
	int mirror;		      /* the read end of b's pipe; -1: none */
	uint64_t number;	      /* of the mirror at b's ctxd */
	uint64_t fetch;		      /* the serial of its FETCH */
	struct wire_message mirrored; /* the MIRROR */
};

/* b's ctxd asks for it. */
void pair_fetch(struct pair *pair, struct pair_context *context, uint64_t number, uint32_t flags);
/* a's ctxd answers: it is live. owner_pid 0: this process. */
void pair_answer_live(struct pair *pair, struct pair_context *context, uint64_t deadline_ns, int owner_pid,
		      int pidfd);
/* b's ctxd gets the mirror and gives it an id. */
void pair_take_mirror(struct pair *pair, struct pair_context *context);
/* All of it. */
void pair_join(struct pair *pair, struct pair_context *context, uint64_t number, uint64_t deadline_ns,
	       uint32_t flags);

/* The owner ends its context, with that text. */
void pair_end(struct pair_context *context, const char *text);
/* Waits for the last words of the mirror, and fails unless they have come with a hang-up after them. */
struct wire_cause pair_words(struct pair *pair, struct pair_context *context);
/* Waits until the mirror's pipe hangs up without a word. */
void pair_wordless(struct pair *pair, struct pair_context *context);
/* Closes what is open of it. */
void pair_close(struct pair_context *context);

#endif
