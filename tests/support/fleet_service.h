/* SPDX-License-Identifier: MIT */
/*
 * What the service of a host in struct world does when its bridge is asked for a cancel or a list, and what
 * its users ask of other hosts. Users called "root" may cancel. Each thing that a host cancels is a process
 * with ten operations.
 */
#ifndef TEST_FLEET_SERVICE_H
#define TEST_FLEET_SERVICE_H

#include "fleet.h"

struct world;
struct world_host;

#define SERVICE_OPERATIONS 10
#define SERVICE_OUTCOME_HOSTS 256

/* A cancel that a user of a host has asked for. */
struct world_cancel {
	struct world *world;
	unsigned number, host, context;
	uint32_t flags;
	bool is_lost; /* The bridge that was asked is gone. */
	bool is_done;
	uint64_t asked_ns, end_ns; /* It must be done then. */
	uint64_t seen_by;	   /* the incarnation of the bridge that told its service of it last */
	struct fleet_outcome outcome;
	struct fleet_host_report hosts[SERVICE_OUTCOME_HOSTS];
};

/* A list that was asked for. */
struct world_list {
	struct world *world;
	unsigned host, of;
	bool is_lost, is_done;
	int error;
	uint64_t end_ns;
	unsigned count, restarts;
};

/* Something that a bridge was asked for. */
struct service_task {
	uint64_t number;
	enum {
		SERVICE_CANCEL,
		SERVICE_MIRRORS,
		SERVICE_LIST,
	} kind;
	bool is_waiting; /* for room for more entries */
	bool is_allowed; /* the cancel: it is reported at due_ns */
	uint64_t due_ns;
	struct fleet_key key;
	char host[FLEET_HOST_MAX + 1];
	struct fleet_cancel cancel;
	struct fleet_host_report done;
	unsigned position;
};

/* The functions that a bridge of this host calls. */
void world_service_output(struct fleet_output *output);
/* Does what it was asked for. */
void world_service_turn(struct world_host *host);
/* When there is something to do. */
uint64_t world_service_next_ns(const struct world_host *host);
/* Its bridge is gone, and what it was asked for. */
void world_service_forget(struct world_host *host);
/* Everything that should be done is. */
void world_service_check(struct world *world);
void world_service_free(struct world *world);

struct world_cancel *world_cancel(struct world *world, unsigned host, unsigned context, const char *user,
				  uint32_t flags, uint64_t wait_ns);
struct world_list *world_list(struct world *world, unsigned host, unsigned of, uint64_t wait_ns);

#endif
