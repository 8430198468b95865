/* SPDX-License-Identifier: MIT */
/*
 * Global ids: the text HOST/EPOCH-NUMBER-SECRET. HOST is the fleet's name of the host that owns the context,
 * EPOCH-NUMBER is its ctxd_id there, and SECRET is a random number that ctxd made when it was shared. Whoever
 * has the text may join. The numbers are hexadecimal, without leading zeros and never 0, so that an id has
 * one text only.
 */
#ifndef CTXD_FLEET_ID_H
#define CTXD_FLEET_ID_H

#include "wire.h"

/* The longest name of a host, and the room for any global id with its NUL. */
#define FLEET_HOST_MAX (CTX_HOST_MAX - 1)
#define FLEET_ID_TEXT WIRE_GLOBAL_TEXT

/* A context, as its own host knows it. */
struct fleet_key {
	struct ctxd_id id;
	uint64_t secret;
};

struct fleet_id {
	char host[FLEET_HOST_MAX + 1];
	struct fleet_key key;
};

static inline bool fleet_key_equal(const struct fleet_key *a, const struct fleet_key *b)
{
	return a->id.epoch == b->id.epoch && a->id.number == b->id.number && a->secret == b->secret;
}

/* As wire_host_is_valid(). The name of a fleet has the same form. */
static inline bool fleet_host_is_valid(const char *name, size_t length)
{
	return wire_host_is_valid(name, length);
}

/* Writes the text of a valid id. */
void fleet_id_format(const struct fleet_id *id, char text[FLEET_ID_TEXT]);

/* 0, or -EINVAL: text is not exactly what fleet_id_format() writes. On an error nothing is written. */
int fleet_id_parse(const char *text, struct fleet_id *ret_id);

#endif
