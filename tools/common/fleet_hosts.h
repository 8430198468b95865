/* SPDX-License-Identifier: MIT */
/* Asks the hosts of a fleet, and says what is wrong with them. */
#ifndef TOOL_FLEET_HOSTS_H
#define TOOL_FLEET_HOSTS_H

#include "exit_code.h"
#include "forest.h"

/*
 * Asks all hosts, or the one of that name, and waits for wait_ns at most for those that do not answer. 0 or
 * -errno, as ctxd_fleet_list(3) has them; on an error nothing needs to be freed.
 */
int forest_look(const char *host, uint64_t wait_ns, struct forest *ret_forest);

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

#endif
