/* SPDX-License-Identifier: MIT */
/*
 * What the hosts of a fleet have told: the hosts themselves, and their shared contexts and joins as one
 * forest. A context that was joined from another host stands, as that host's copy of it, below the original.
 */
#ifndef TOOL_FLEET_H
#define TOOL_FLEET_H

#include <stddef.h>
#include <stdint.h>

#include "ctxring.h"
#include "exit_code.h"

#define FLEET_NONE UINT32_MAX

/* A shared context, or a process that joined one. The links are indexes of nodes, or FLEET_NONE. */
struct fleet_node {
	uint32_t host; /* index of the host that told of it */
	/* The context that it stands below: of a copy, the original; of a join, what was joined; of others,
	 * the joined context below which their owner made them. */
	uint32_t parent;
	uint32_t first_child, next_sibling; /* joins come before contexts */
	uint32_t depth;
	struct ctxd_entry entry;
};

struct fleet {
	struct ctxd_host *hosts; /* this one first, the others by name */
	size_t host_count;
	struct fleet_node *nodes;
	size_t count, room;
	uint32_t *preorder; /* indexes of nodes: roots host by host, parents before children */
	uint32_t cycles;    /* links that were cut because they led round in a circle */
	uint64_t now_ns;    /* when the answer came */
};

/*
 * Asks all hosts, or the one of that name, and waits for wait_ns at most for those that do not answer. 0 or
 * -errno, as ctxd_fleet_list(3) has them; on an error nothing needs to be freed.
 */
int fleet_look(const char *host, uint64_t wait_ns, struct fleet *ret_fleet);

/* Frees what fleet_look() has filled in. */
void fleet_free(struct fleet *fleet);

/* For fleet_look(), from the hosts on: these add a host and an entry of the latest host of that name. 0 or
 * -ENOMEM. */
int fleet_add_host(struct fleet *fleet, const struct ctxd_host *host);
int fleet_add_entry(struct fleet *fleet, const struct ctxd_host *host, const struct ctxd_entry *entry);

/* Links the nodes, after all were added. O(n log n) for n nodes and hosts, without recursion. 0 or -ENOMEM.
 */
int fleet_link(struct fleet *fleet);

/*
 * Says on standard error which hosts did not answer or told not everything. Returns EXIT_OK; EXIT_NOTHING:
 * one is silent or gone; or EXIT_PARTLY: one refused, or its list is incomplete.
 */
int fleet_complain_of_hosts(const struct ctxd_host *hosts, size_t count, uint64_t now_ns);

/* Says on standard error why the fleet cannot be asked, and what to do. Returns the exit code. */
int fleet_complain(const char *command, int error);

/* Writes HOST/EPOCH-NUMBER. Returns buffer. */
char *fleet_id_text(const char *host, struct ctxd_id id, char *buffer, size_t size);
#define FLEET_ID_SIZE (4 * CTX_HOST_MAX + CTXD_ID_TEXT)

/*
 * Reads HOST/EPOCH-NUMBER, and HOST/EPOCH-NUMBER-SECRET, of which the secret is left out. 0 or -EINVAL: text
 * is anything else.
 */
int fleet_parse_id(const char *text, char ret_host[CTX_HOST_MAX], struct ctxd_id *ret_id);

/* The word for the state of a host, and of a shared context. */
const char *host_state_name(enum ctxd_host_state state);
const char *entry_state_name(const struct ctxd_entry *entry);

/* Reads a number of seconds, up to a day, from the command line. 0 or -EINVAL. */
int fleet_parse_seconds(const char *text, uint64_t *ret_ns);
#define FLEET_WAIT_DEFAULT_NS 1000000000u

/* Returns the current time of the clock that entries and hosts have. */
uint64_t fleet_now_ns(void);

#endif
