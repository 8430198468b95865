/* SPDX-License-Identifier: MIT */
/*
 * Which hosts have joined which contexts of this host, and what they are told of them. The answer to a join
 * and the interest are made in one step, so a joiner is told of an end either way.
 */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "local.h"

/* One host has joined one context. Its size is part of what a joined context costs, see ctxd-fleet(8). */
struct interest {
	struct owned *owned;
	struct host *host;
	struct list of_owned, of_host;
	struct map_node by_key;
	uint32_t nonce;		 /* Of its JOIN. */
	uint32_t is_waiting : 1; /* For a STATE. */
	uint32_t round : 31;	 /* The RESYNC that named it last: ROUND_BITS of its number. */
};

#define ROUND_BITS 0x7fffffffu

/* ---- finding */

static uint64_t interest_hash(const struct host *host, const struct fleet_key *key)
{
	struct {
		struct fleet_key key;
		uint64_t host;
	} both = {*key, (uintptr_t)host};

	return hash_bytes(&both, sizeof(both));
}

static struct interest *interest_find(const struct host *host, const struct fleet_key *key)
{
	struct map_node *node = map_find(&host->fleet->interests_by_key, interest_hash(host, key));

	for (; node; node = map_older(node)) {
		struct interest *interest = container_of(node, struct interest, by_key);
		if (interest->host == host && fleet_key_equal(&interest->owned->key, key))
			return interest;
	}
	return NULL;
}

/* ---- making and freeing */

static void interest_free(struct interest *interest)
{
	struct host *host = interest->host;
	struct owned *owned = interest->owned;

	map_remove(&host->fleet->interests_by_key, &interest->by_key);
	list_remove(&interest->of_owned);
	list_remove(&interest->of_host);
	host->interest_count--;
	host->fleet->counts.interests--;
	host_note_idle(host);
	free(interest);
	if (list_empty(&owned->interests) && owned->state != OWNED_ENDED)
		owned_linger(host->fleet, owned);
}

/* Adds the interest of a host in a context that has not ended. owned NULL: it is not known yet. NULL: no
 * memory, or there is too much. */
static struct interest *interest_new(struct host *host, struct owned *owned, const struct fleet_key *key)
{
	struct fleet *fleet = host->fleet;
	bool has_room = fleet->counts.interests < fleet->config.owned_max &&
			host->interest_count < fleet->config.owned_per_host_max &&
			(owned || (fleet->counts.owned < fleet->config.owned_max &&
				   owned_has_room_for_secret(fleet, key->id)));
	struct interest *interest = has_room ? calloc(1, sizeof(*interest)) : NULL;

	if (interest && !owned)
		owned = owned_new(fleet, key);
	if (!interest || !owned) {
		fleet->counts.refused++;
		free(interest);
		return NULL;
	}
	if (!list_empty(&owned->link) && list_empty(&owned->interests)) {
		/* It lingers. */
		list_remove(&owned->link);
		if (owned->state == OWNED_ASKED)
			owned_join_locally(fleet, owned);
	}
	interest->owned = owned;
	interest->host = host;
	interest->round = host->in_round & ROUND_BITS;
	list_append(&owned->interests, &interest->of_owned);
	list_append(&host->interests, &interest->of_host);
	map_add(&fleet->interests_by_key, &interest->by_key, interest_hash(host, key));
	host->interest_count++;
	fleet->counts.interests++;
	return interest;
}

/* ---- telling hosts */

static uint64_t left_ns(const struct fleet *fleet, uint64_t deadline_ns)
{
	if (deadline_ns == CTX_FOREVER)
		return CTX_FOREVER;
	return deadline_ns > fleet->now_ns ? deadline_ns - fleet->now_ns : 0;
}

/* A cause as another host is told it: its time is how long ago it was, and it names its host. */
static struct wire_cause aged_cause(const struct fleet *fleet, const struct wire_cause *cause)
{
	struct wire_cause aged = *cause;

	aged.time_ns = cause->time_ns < fleet->now_ns ? fleet->now_ns - cause->time_ns : 0;
	if (!aged.host[0])
		strcpy(aged.host, fleet->config.host);
	return aged;
}

static void tell_unknown(struct host *host, const struct fleet_key *key, uint32_t nonce)
{
	struct fleet_message message = {.type = FLEET_STATE, .state = {.key = *key, .nonce = nonce}};

	message.state.kind = FLEET_UNKNOWN;
	host_send(host, &message);
}

static void tell_ended(struct host *host, const struct owned *owned, uint32_t nonce)
{
	struct fleet_message message = {.type = FLEET_STATE, .state = {.key = owned->key, .nonce = nonce}};

	message.state.kind = FLEET_ENDED;
	message.state.cause = aged_cause(host->fleet, owned->cause);
	host_send(host, &message);
}

static void tell_live(struct interest *interest)
{
	const struct owned *owned = interest->owned;
	struct fleet_message message = {.type = FLEET_STATE,
					.state = {.key = owned->key, .nonce = interest->nonce}};

	message.state.kind = FLEET_LIVE;
	message.state.version = owned->version;
	message.state.movable = owned->is_movable;
	message.state.left_ns = left_ns(interest->host->fleet, owned->deadline_ns);
	if (owned->label)
		strcpy(message.state.label, owned->label);
	interest->is_waiting = false;
	interest->nonce = 0;
	host_send(interest->host, &message);
}

/* ---- from hosts */

/* Registers a host's interest, and answers at once where the state is known. can_be_released: the host had
 * joined the context before its owner released it. NULL: it was answered, or gets no answer. */
static struct interest *interest_get(struct host *host, const struct fleet_key *key, uint32_t nonce,
				     bool can_be_released)
{
	struct interest *interest = interest_find(host, key);
	struct owned *owned;

	if (interest)
		return interest;
	owned = owned_find(host->fleet, key);
	if (owned && owned->state == OWNED_ENDED)
		tell_ended(host, owned, nonce);
	else if (owned ? owned->is_released && !can_be_released
		       : owned_find_live(host->fleet, key->id) != NULL)
		tell_unknown(host, key, nonce); /* The second: it has another secret. */
	else
		return interest_new(host, owned, key);
	return NULL;
}

void interest_join(struct host *host, const struct fleet_join *join)
{
	struct interest *interest = interest_get(host, &join->key, join->nonce, false);

	if (!interest)
		return;
	/* The host asks again: the caller may have had no memory when it was to join the context. */
	if (interest->is_waiting && interest->owned->state == OWNED_ASKED &&
	    list_empty(&interest->owned->link))
		owned_join_locally(interest->host->fleet, interest->owned);
	interest->round = host->in_round & ROUND_BITS;
	interest->nonce = join->nonce;
	interest->is_waiting = true;
	if (interest->owned->state == OWNED_LIVE)
		tell_live(interest);
}

void interest_leave(struct host *host, const struct fleet_key *key)
{
	struct interest *interest = interest_find(host, key);

	if (interest)
		interest_free(interest);
}

static void resync_item(struct host *host, const struct fleet_resync *resync)
{
	struct interest *interest = interest_get(host, &resync->key, 0, true);

	if (!interest)
		return;
	interest->round = resync->round & ROUND_BITS;
	if (interest->owned->state == OWNED_ASKED)
		interest->is_waiting = true;
	else if (interest->owned->version != resync->version)
		tell_live(interest);
}

static void resync_end(struct host *host, const struct fleet_resync *resync)
{
	struct list *next;

	if (!host->is_round_whole || resync->round != host->in_round)
		return;
	host->is_round_whole = false;
	for (struct list *at = host->interests.next; at != &host->interests; at = next) {
		struct interest *interest = container_of(at, struct interest, of_host);
		next = at->next;
		if (interest->round != (resync->round & ROUND_BITS))
			interest_free(interest);
	}
}

void interest_resync(struct host *host, const struct fleet_resync *resync)
{
	switch ((enum fleet_resync_step)resync->step) {
	case FLEET_RESYNC_BEGIN:
		host->in_round = resync->round;
		host->is_round_whole = true;
		host->needs_resync = false;
		break;
	case FLEET_RESYNC_ITEM:
		resync_item(host, resync);
		break;
	case FLEET_RESYNC_END:
		resync_end(host, resync);
		break;
	}
}

void interests_forget(struct host *host)
{
	while (!list_empty(&host->interests))
		interest_free(container_of(host->interests.next, struct interest, of_host));
	host->needs_resync = true;
	host->is_round_whole = false;
}

/* ---- from this host */

void fleet_owned_live(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns, bool movable,
		      const char *label, uint64_t now_ns)
{
	struct owned *owned = owned_find(fleet, key);

	fleet->now_ns = now_ns;
	if (!owned || owned->state != OWNED_ASKED)
		return;
	owned->state = OWNED_LIVE;
	owned->version = ++fleet->last_version & VERSION_BITS;
	owned->deadline_ns = deadline_ns;
	owned->is_movable = movable;
	/* Without memory the joiners see no label. */
	owned->label = label && label[0] ? strndup(label, CTX_LABEL_MAX) : NULL;
	if (!list_empty(&owned->interests))
		list_remove(&owned->link);
	for (struct list *at = owned->interests.next; at != &owned->interests; at = at->next) {
		struct interest *interest = container_of(at, struct interest, of_owned);
		if (interest->is_waiting)
			tell_live(interest);
	}
}

void fleet_owned_ended(struct fleet *fleet, const struct fleet_key *key, const struct wire_cause *cause,
		       uint64_t now_ns)
{
	struct owned *owned = owned_find(fleet, key);
	struct fleet_message message = {.type = FLEET_END, .ended = {.key = *key}};

	fleet->now_ns = now_ns;
	if (!owned || owned->state == OWNED_ENDED)
		return;
	message.ended.cause = aged_cause(fleet, cause);
	while (!list_empty(&owned->interests)) {
		struct interest *interest = container_of(owned->interests.next, struct interest, of_owned);
		host_send(interest->host, &message);
		interest_free(interest);
	}
	owned_keep_end(fleet, owned, cause);
}

void fleet_owned_unknown(struct fleet *fleet, const struct fleet_key *key, uint64_t now_ns)
{
	struct owned *owned = owned_find(fleet, key);

	fleet->now_ns = now_ns;
	if (!owned || owned->state == OWNED_ENDED)
		return;
	if (owned->state == OWNED_ASKED && now_ns - fleet->started_ns < SETTLE_NS) {
		if (list_empty(&owned->link))
			list_append(&fleet->doubtful, &owned->link);
		return;
	}
	while (!list_empty(&owned->interests)) {
		struct interest *interest = container_of(owned->interests.next, struct interest, of_owned);
		tell_unknown(interest->host, key, interest->nonce);
		interest_free(interest);
	}
	owned_free(fleet, owned);
}

void fleet_owned_moved(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns,
		       uint64_t now_ns)
{
	struct owned *owned = owned_find(fleet, key);
	struct fleet_message message = {.type = FLEET_MOVED, .moved = {.key = *key}};

	fleet->now_ns = now_ns;
	if (!owned || owned->state != OWNED_LIVE || owned->deadline_ns == deadline_ns)
		return;
	owned->deadline_ns = deadline_ns;
	owned->version = ++fleet->last_version & VERSION_BITS;
	message.moved.version = owned->version;
	message.moved.left_ns = left_ns(fleet, deadline_ns);
	for (struct list *at = owned->interests.next; at != &owned->interests; at = at->next)
		host_send(container_of(at, struct interest, of_owned)->host, &message);
}

void interests_visit(struct fleet *fleet, struct ctxd_id id,
		     void (*visit)(struct host *host, const struct fleet_key *key, void *data), void *data)
{
	struct owned *owned = owned_find_live(fleet, id);

	if (!owned)
		return;
	for (struct list *at = owned->interests.next; at != &owned->interests; at = at->next)
		visit(container_of(at, struct interest, of_owned)->host, &owned->key, data);
}
