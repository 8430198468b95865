/* SPDX-License-Identifier: MIT */
/*
 * daemon/bridge: the program ctxd-fleet. It connects the service of this host, ctxd, with the engine of a
 * fleet: what happens to contexts here becomes messages to other hosts, and their messages become ends and
 * deadlines here. What is said to whom, the pure core in daemon/fleet decides; this folder has the sockets,
 * the pipes and the clock. parts.h says how its files stand to each other.
 */
#ifndef CTXD_FLEET_BRIDGE_H
#define CTXD_FLEET_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "engine.h"

enum bridge_exit {
	BRIDGE_GO_ON = -1,
	BRIDGE_OK = 0,
	BRIDGE_TROUBLE = 1,
	BRIDGE_USAGE = 2,
	BRIDGE_CONFIGURATION = 3,
	BRIDGE_NAME_TAKEN = 4,
};

struct bridge_options {
	const char *socket;	     /* of ctxd; NULL: see wire_socket_path() */
	const struct config *config; /* is copied */
	const char *state_directory; /* where the incarnation is kept; NULL: nowhere */
	/*
	 * Opens the engine. 0; or a negative errno with the reason in words: -EINVAL and -ENOTSUP when the
	 * configuration is wrong.
	 */
	int (*engine_open)(void *data, const char *host, const struct engine_events *events,
			   struct engine **ret_engine, char *reason, size_t reason_size);
	void *data;
	int signal_fd; /* -1: none. signals_ready is called when it is readable. */
	void (*signals_ready)(void *data);
};

struct bridge;

/*
 * The name of this host in the fleet: the one of the configuration, or that of the kernel. 0; -EINVAL: the
 * kernel's is no name of a host.
 */
int bridge_host_name(const struct config *config, char name[64]);

/* BRIDGE_GO_ON, or the exit code with the reason in words. The connections are made by the first turns. */
enum bridge_exit bridge_open(const struct bridge_options *options, struct bridge **ret_bridge, char *reason,
			     size_t reason_size);
/* Closes all. Who has joined something by this bridge sees its link lost. NULL is allowed. */
void bridge_close(struct bridge *bridge);

/* Takes over what can be changed, and logs what needs a restart. */
void bridge_configure(struct bridge *bridge, const struct config *config);

/* Waits until something happens, at most for so long; then does what there is to do. */
enum bridge_exit bridge_turn(struct bridge *bridge, uint64_t wait_ns);
/* For those who wait for several bridges: the descriptor that is readable when a turn has something to do,
 * and when it has at the latest. */
int bridge_fd(const struct bridge *bridge);
uint64_t bridge_next_ns(const struct bridge *bridge);

/* What there is now. */
struct bridge_counts {
	bool is_served; /* ctxd has taken this as its bridge. */
	uint32_t owned, mirrors;
};
struct bridge_counts bridge_counts(const struct bridge *bridge);

#endif
