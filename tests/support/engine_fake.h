/* SPDX-License-Identifier: MIT */
/*
 * An engine without a network, for tests of the fleet: all hosts of a test share one, time is what the test
 * says, and what goes wrong is drawn by seed. As with a real one, messages stay in the inbox of a host that
 * cannot be reached or is started again, and leases end by time.
 */
#ifndef TEST_ENGINE_FAKE_H
#define TEST_ENGINE_FAKE_H

#include "engine.h"

struct engine_fake; /* what all hosts share */

/* In per cent of the messages, and of the calls of send that take nothing. */
struct engine_chaos {
	unsigned lost, doubled, refused;
	uint64_t delay_min_ns, delay_max_ns; /* Messages overtake each other where these differ. */
};

struct engine_fake *engine_fake_new(unsigned seed, uint64_t lease_ns);
void engine_fake_free(struct engine_fake *fake);
void engine_fake_chaos(struct engine_fake *fake, const struct engine_chaos *chaos);

/* A link of a host to it. The host may have no other open one. */
struct engine *engine_fake_open(struct engine_fake *fake, const char *host,
				const struct engine_events *events);

/* Cuts the cable of a host, or puts it back. The host sees that after 0.9 s. */
void engine_fake_cut(struct engine_fake *fake, const char *host, bool is_cut);
/* Stops the engine for all hosts, which see it at once, or starts it. */
void engine_fake_stop(struct engine_fake *fake, bool is_stopped);
/* All leases look as if they were gone, to those who read them: its clock has jumped. */
void engine_fake_hide_leases(struct engine_fake *fake, bool are_hidden);
/* It forgets all messages and leases. */
void engine_fake_empty(struct engine_fake *fake);
/* Whether the host has a lease. */
bool engine_fake_has_lease(struct engine_fake *fake, const char *host);

/*
 * As realloc(3), but never NULL, for what these tests need themselves: tests of failures replace malloc(3),
 * calloc(3) and realloc(3), and this uses none of them.
 */
void *sure_realloc(void *memory, size_t size);

#endif
