/* SPDX-License-Identifier: MIT */
/*
 * Contexts of this host that others have joined. Each is known here from the first time that another host
 * asks for it: what nobody joined costs nothing. Ends are kept for a while for those that missed them.
 *
 * A context in which no host is interested any more stays joined locally for a lease: a host that was cut off
 * may come back, and could not join again what its owner does not share any more.
 */
#include "local.h"

#include <stdlib.h>

#include "hash.h"

/* So many secrets are asked for with one id at a time: all but one are wrong. */
#define SECRETS_MAX 8

/* ---- finding */

static uint64_t id_hash(struct ctxd_id id)
{
	return hash_bytes(&id, sizeof(id));
}

/* Steps through what is known by one id: the context, and what was asked for with wrong secrets, but not more
 * than SECRETS_MAX. */
static struct owned *owned_first(const struct fleet *fleet, struct ctxd_id id)
{
	struct map_node *node = map_find(&fleet->owned_by_id, id_hash(id));

	for (; node; node = map_older(node)) {
		struct owned *owned = container_of(node, struct owned, by_id);
		if (wire_id_equal(owned->key.id, id))
			return owned;
	}
	return NULL;
}

static struct owned *owned_older(const struct owned *owned)
{
	struct map_node *node = map_older(&owned->by_id);

	for (; node; node = map_older(node)) {
		struct owned *older = container_of(node, struct owned, by_id);
		if (wire_id_equal(older->key.id, owned->key.id))
			return older;
	}
	return NULL;
}

struct owned *owned_find(const struct fleet *fleet, const struct fleet_key *key)
{
	struct owned *owned = owned_first(fleet, key->id);

	while (owned && owned->key.secret != key->secret)
		owned = owned_older(owned);
	return owned;
}

struct owned *owned_find_live(const struct fleet *fleet, struct ctxd_id id)
{
	struct owned *owned = owned_first(fleet, id);

	while (owned && owned->state != OWNED_LIVE)
		owned = owned_older(owned);
	return owned;
}

bool owned_has_room_for_secret(const struct fleet *fleet, struct ctxd_id id)
{
	unsigned count = 0;

	for (struct owned *owned = owned_first(fleet, id); owned; owned = owned_older(owned))
		count++;
	return count < SECRETS_MAX;
}

/* ---- making and freeing */

void owned_free(struct fleet *fleet, struct owned *owned)
{
	map_remove(&fleet->owned_by_id, &owned->by_id);
	list_remove(&owned->link);
	if (owned->state == OWNED_ENDED) {
		fleet->counts.ended--;
		free(owned->cause);
	} else {
		fleet->counts.owned--;
		free(owned->label);
	}
	free(owned);
}

void owned_join_locally(struct fleet *fleet, const struct owned *owned)
{
	fleet->output.local_join(fleet->output.link, &owned->key);
}

struct owned *owned_new(struct fleet *fleet, const struct fleet_key *key)
{
	struct owned *owned = calloc(1, sizeof(*owned));

	if (!owned)
		return NULL;
	owned->key = *key;
	owned->state = OWNED_ASKED;
	list_init(&owned->link);
	list_init(&owned->interests);
	map_add(&fleet->owned_by_id, &owned->by_id, id_hash(key->id));
	fleet->counts.owned++;
	owned_join_locally(fleet, owned);
	return owned;
}

void owned_linger(struct fleet *fleet, struct owned *owned)
{
	owned->due_ns = clock_after_ns(fleet->now_ns, fleet->config.lease_ns);
	list_remove(&owned->link);
	list_append(&fleet->lingering, &owned->link);
}

void owned_keep_end(struct fleet *fleet, struct owned *owned, const struct wire_cause *cause)
{
	fleet->counts.owned--;
	fleet->counts.ended++;
	free(owned->label);
	owned->state = OWNED_ENDED;
	owned->cause = malloc(sizeof(*owned->cause));
	owned->due_ns = clock_after_ns(fleet->now_ns, fleet->config.ended_ns);
	list_remove(&owned->link);
	list_append(&fleet->ended, &owned->link);
	if (owned->cause)
		*owned->cause = *cause;
	else
		owned_free(fleet, owned);
	if (fleet->counts.ended > fleet->config.ended_max)
		owned_free(fleet, container_of(fleet->ended.next, struct owned, link));
}

void fleet_owned_released(struct fleet *fleet, const struct fleet_key *key)
{
	struct owned *owned = owned_find(fleet, key);

	if (owned)
		owned->is_released = true;
}

/* ---- what is due */

/* The first of a list, if its time has come. */
static struct owned *owned_due(const struct fleet *fleet, const struct list *list)
{
	struct owned *owned = list_empty(list) ? NULL : container_of(list->next, struct owned, link);

	return owned && owned->due_ns <= fleet->now_ns ? owned : NULL;
}

void owned_tick(struct fleet *fleet)
{
	struct owned *owned;

	while (!list_empty(&fleet->doubtful) && fleet->now_ns - fleet->started_ns >= SETTLE_NS) {
		owned = container_of(fleet->doubtful.next, struct owned, link);
		list_remove(&owned->link);
		owned_join_locally(fleet, owned);
	}
	while ((owned = owned_due(fleet, &fleet->lingering))) {
		fleet->output.local_leave(fleet->output.link, &owned->key);
		owned_free(fleet, owned);
	}
	while ((owned = owned_due(fleet, &fleet->ended)))
		owned_free(fleet, owned);
}

uint64_t owned_next_ns(const struct fleet *fleet)
{
	const struct list *lists[] = {&fleet->lingering, &fleet->ended};
	uint64_t next_ns = UINT64_MAX;

	if (!list_empty(&fleet->doubtful))
		next_ns = clock_after_ns(fleet->started_ns, SETTLE_NS);
	for (unsigned i = 0; i < 2; i++) {
		if (list_empty(lists[i]))
			continue;
		const struct owned *owned = container_of(lists[i]->next, struct owned, link);
		if (owned->due_ns < next_ns)
			next_ns = owned->due_ns;
	}
	return next_ns;
}

void owned_free_all(struct fleet *fleet)
{
	struct list *lists[] = {&fleet->lingering, &fleet->ended, &fleet->doubtful};

	for (unsigned i = 0; i < 3; i++)
		while (!list_empty(lists[i]))
			owned_free(fleet, container_of(lists[i]->next, struct owned, link));
}
