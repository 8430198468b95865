/* SPDX-License-Identifier: MIT */
/*
 * The joiner's side. A mirror is live from the beginning, and asks its owner's host until there is an answer.
 * Then it costs nothing until the owner says something, or the host or the link is lost.
 *
 * The deadline crosses as the time that is left, and is counted from its receipt. So it is never earlier than
 * the owner's, and later by as long as the message took. An answer that took long, or may have, is asked for
 * again, and of two that say the same the earlier deadline is right.
 */
#include "fleet_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum mirror_state {
	MIRROR_ASKING,
	MIRROR_LIVE,
	MIRROR_ENDED,
};

/* Its size is part of what a joined context costs, see ctxd-fleet(8). */
struct mirror {
	struct fleet_key key;
	struct host *host; /* NULL: it is in fleet->apart. */
	struct list link;  /* In host->unsynced, host->mirrors or fleet->apart. */
	struct map_node by_key;
	struct heap_node timer; /* While it asks. */
	void *data;
	union {
		uint64_t first_ns; /* While it asks: when it did so for the first time. */
		uint64_t deadline_ns;
	};
	uint64_t asked_ns; /* When it asked last. */
	uint64_t version;  /* Of the deadline. */
	uint32_t nonce;	   /* Of the last JOIN. */
	uint8_t state;
	uint8_t tries; /* How often it has asked for an exact deadline. */
	bool is_exact; /* The deadline is. */
	bool survives;
};

/* ---- the mirrors of one context */

/* The latest mirror of that context. NULL: there is none. */
static struct mirror *mirror_find(const struct fleet *fleet, const struct host *host,
				  const struct fleet_key *key)
{
	struct map_node *node = map_find(&fleet->mirrors_by_key, key_hash(key));

	for (; node; node = map_older(node)) {
		struct mirror *mirror = container_of(node, struct mirror, by_key);
		if (mirror->host == host && fleet_key_equal(&mirror->key, key))
			return mirror;
	}
	return NULL;
}

/* The next older mirror of the same context. */
static struct mirror *mirror_older(const struct mirror *mirror)
{
	struct map_node *node = map_older(&mirror->by_key);

	for (; node; node = map_older(node)) {
		struct mirror *older = container_of(node, struct mirror, by_key);
		if (older->host == mirror->host && fleet_key_equal(&older->key, &mirror->key))
			return older;
	}
	return NULL;
}

/* ---- asking */

/* When it ends without an answer. */
static uint64_t asking_end_ns(const struct mirror *mirror)
{
	const struct fleet_config *config = &mirror->host->fleet->config;
	uint64_t patience_ns = config->grace_ns > config->lease_ns ? config->grace_ns : config->lease_ns;

	return mirror->survives ? UINT64_MAX : clock_after_ns(mirror->first_ns, patience_ns);
}

static void set_timer(struct mirror *mirror)
{
	struct fleet *fleet = mirror->host->fleet;
	uint64_t end_ns = asking_end_ns(mirror), again_ns = clock_after_ns(mirror->asked_ns, fleet->beat_ns);
	/* The bridge was stopped. What came meanwhile may not have been read, so it waits for one more
	 * answer. */
	bool was_stopped = clock_after_ns(end_ns, fleet->beat_ns) <= mirror->asked_ns;

	heap_remove(&fleet->mirror_timers, &mirror->timer);
	heap_insert(&fleet->mirror_timers, &mirror->timer,
		    end_ns < again_ns && !was_stopped ? end_ns : again_ns);
}

static void mirror_ask(struct mirror *mirror)
{
	struct fleet *fleet = mirror->host->fleet;
	struct fleet_message message = {.type = FLEET_JOIN, .join = {.key = mirror->key}};

	mirror->nonce = message.join.nonce = next_nonce(fleet);
	mirror->asked_ns = fleet->now_ns;
	if (mirror->state == MIRROR_ASKING)
		set_timer(mirror);
	host_send(mirror->host, &message);
}

int fleet_join(struct fleet *fleet, const struct fleet_id *id, uint32_t flags, void *data, uint64_t now_ns,
	       struct mirror **ret_mirror)
{
	fleet->now_ns = now_ns;
	if (strcmp(id->host, fleet->config.host) == 0)
		return -EINVAL;
	if (fleet->counts.mirrors >= fleet->config.mirrors_max)
		return -EDQUOT;
	struct mirror *mirror = calloc(1, sizeof(*mirror));
	if (!mirror)
		return -ENOMEM;
	int error;
	mirror->host = host_get(fleet, id->host, HOST_WANTED, &error);
	if (!mirror->host) {
		free(mirror);
		return error;
	}
	mirror->key = id->key;
	mirror->data = data;
	mirror->state = MIRROR_ASKING;
	mirror->first_ns = now_ns;
	mirror->version = FLEET_VERSION_NONE;
	mirror->survives = flags & FLEET_JOIN_SURVIVE;
	list_append(&mirror->host->mirrors, &mirror->link);
	map_add(&fleet->mirrors_by_key, &mirror->by_key, key_hash(&mirror->key));
	mirror->host->mirror_count++;
	fleet->counts.mirrors++;
	mirror_ask(mirror);
	*ret_mirror = mirror;
	return 0;
}

/* ---- ending */

/* Takes the mirror from its host. tell: the owner is told, if this was the last mirror of the context. */
static void mirror_part(struct fleet *fleet, struct mirror *mirror, bool tell)
{
	struct host *host = mirror->host;
	struct fleet_message message = {.type = FLEET_LEAVE, .leave = mirror->key};

	map_remove(&fleet->mirrors_by_key, &mirror->by_key);
	heap_remove(&fleet->mirror_timers, &mirror->timer);
	list_remove(&mirror->link);
	list_append(&fleet->apart, &mirror->link);
	mirror->host = NULL;
	host->mirror_count--;
	if (tell && !mirror_find(fleet, host, &mirror->key))
		host_send(host, &message);
	host_note_idle(host);
}

static void mirror_finish(struct mirror *mirror, enum fleet_end end, const struct wire_cause *cause)
{
	struct fleet *fleet = mirror->host->fleet;

	mirror->state = MIRROR_ENDED;
	mirror_part(fleet, mirror, end == FLEET_END_UNREACHABLE);
	fleet->output.mirror_ended(mirror->data, end, cause);
}

bool mirrors_exist(const struct host *host, const struct fleet_key *key)
{
	return mirror_find(host->fleet, host, key);
}

void fleet_mirrors_visit(const struct fleet *fleet, const char *name, const struct fleet_key *key,
			 void (*visit)(void *data, void *link), void *link)
{
	const struct host *host = host_find(fleet, name);
	struct mirror *mirror = host ? mirror_find(fleet, host, key) : NULL, *older;

	for (; mirror; mirror = older) {
		older = mirror_older(mirror);
		visit(mirror->data, link);
	}
}

void fleet_leave(struct fleet *fleet, struct mirror *mirror)
{
	if (mirror->host)
		mirror_part(fleet, mirror, true);
	list_remove(&mirror->link);
	fleet->counts.mirrors--;
	free(mirror);
}

/* Ends all mirrors of a context with the cause that the owner's host sent. */
static void context_end(struct host *host, const struct fleet_key *key, const struct wire_cause *sent)
{
	struct fleet *fleet = host->fleet;
	struct wire_cause cause = *sent;
	struct mirror *mirror = mirror_find(fleet, host, key), *older;

	cause.time_ns = sent->time_ns < fleet->now_ns ? fleet->now_ns - sent->time_ns : 0;
	if (strcmp(cause.host, fleet->config.host) == 0)
		memset(cause.host, 0, sizeof(cause.host));
	for (; mirror; mirror = older) {
		older = mirror_older(mirror);
		mirror_finish(mirror, FLEET_END_CAUSE, &cause);
	}
}

/* The owner's host knows the context no more, or never did. */
static void context_unknown(struct host *host, const struct fleet_key *key)
{
	struct mirror *mirror = mirror_find(host->fleet, host, key), *older;

	for (; mirror; mirror = older) {
		older = mirror_older(mirror);
		if (mirror->state == MIRROR_ASKING)
			mirror_finish(mirror, FLEET_END_UNKNOWN, NULL);
		else if (!mirror->survives)
			mirror_finish(mirror, FLEET_END_FORGOTTEN, NULL);
		else
			mirror_part(host->fleet, mirror, false);
	}
}

static void list_end(struct list *mirrors, enum fleet_end end)
{
	struct list *next;

	for (struct list *at = mirrors->next; at != mirrors; at = next) {
		struct mirror *mirror = container_of(at, struct mirror, link);
		next = at->next;
		if (!mirror->survives)
			mirror_finish(mirror, end, NULL);
	}
}

void mirrors_end(struct host *host, enum fleet_end end)
{
	list_end(&host->unsynced, end);
	list_end(&host->mirrors, end);
}

/* ---- from the owner's host */

/* Takes a deadline that the owner sent. False: it is older than the one that the mirror has. */
static bool take_deadline(struct mirror *mirror, uint64_t version, uint64_t deadline_ns)
{
	if (mirror->version == version) {
		if (deadline_ns < mirror->deadline_ns)
			mirror->deadline_ns = deadline_ns;
		return true;
	}
	if (mirror->version != FLEET_VERSION_NONE && version < mirror->version)
		return false;
	mirror->version = version;
	mirror->deadline_ns = deadline_ns;
	return true;
}

static void mirror_is_live(struct mirror *mirror, const struct fleet_state *state)
{
	struct fleet *fleet = mirror->host->fleet;
	bool is_new = mirror->state == MIRROR_ASKING;

	if (is_new)
		mirror->deadline_ns = CTX_FOREVER;
	uint64_t before_ns = mirror->deadline_ns;
	if (!take_deadline(mirror, state->version, clock_after_ns(fleet->now_ns, state->left_ns)))
		return;
	if (mirror->nonce == state->nonce && fleet->now_ns - mirror->asked_ns <= EXACT_NS) {
		mirror->is_exact = true;
		/* The owner may have had to ask its service first, so a PROBE says it better. */
		if (!mirror->host->info.round_trip_ns)
			host_measure(mirror->host, fleet->now_ns - mirror->asked_ns);
	}
	mirror->state = MIRROR_LIVE;
	heap_remove(&fleet->mirror_timers, &mirror->timer);
	if (is_new) {
		struct fleet_live live = {mirror->deadline_ns, state->movable, state->label};
		fleet->output.mirror_live(mirror->data, &live);
	} else if (mirror->deadline_ns != before_ns) {
		fleet->output.mirror_moved(mirror->data, mirror->deadline_ns);
	}
	if (!mirror->is_exact && state->left_ns != CTX_FOREVER && mirror->tries < EXACT_TRIES) {
		mirror->tries++;
		mirror_ask(mirror);
	}
}

void mirror_state(struct host *host, const struct fleet_state *state)
{
	struct mirror *mirror;

	switch ((enum fleet_state_kind)state->kind) {
	case FLEET_LIVE:
		mirror = mirror_find(host->fleet, host, &state->key);
		for (; mirror; mirror = mirror_older(mirror))
			mirror_is_live(mirror, state);
		break;
	case FLEET_ENDED:
		context_end(host, &state->key, &state->cause);
		break;
	case FLEET_UNKNOWN:
		context_unknown(host, &state->key);
		break;
	}
}

void mirror_end(struct host *host, const struct fleet_ended *ended)
{
	context_end(host, &ended->key, &ended->cause);
}

void mirror_move(struct host *host, const struct fleet_moved *moved)
{
	struct fleet *fleet = host->fleet;
	struct mirror *mirror = mirror_find(fleet, host, &moved->key);

	for (; mirror; mirror = mirror_older(mirror)) {
		uint64_t before_ns = mirror->deadline_ns;
		/* One that asks will be told all by its answer. */
		if (mirror->state != MIRROR_LIVE ||
		    !take_deadline(mirror, moved->version, clock_after_ns(fleet->now_ns, moved->left_ns)))
			continue;
		if (mirror->deadline_ns != before_ns)
			fleet->output.mirror_moved(mirror->data, mirror->deadline_ns);
	}
}

/* ---- RESYNC */

static void send_step(struct host *host, uint32_t step, const struct mirror *mirror)
{
	struct fleet_message message = {.type = FLEET_RESYNC, .resync = {.round = host->round, .step = step}};

	if (mirror) {
		message.resync.key = mirror->key;
		message.resync.version = mirror->version;
	}
	host_send(host, &message);
}

static void resync_begin(struct host *host)
{
	host->wants &= ~(unsigned)WANT_RESYNC;
	host->round++;
	host->is_resyncing = true;
	host->fleet->counts.resyncs++;
	host->info.resyncs++;
	list_splice(&host->unsynced, &host->mirrors);
	send_step(host, FLEET_RESYNC_BEGIN, NULL);
}

bool mirrors_resync(struct host *host)
{
	if (host->wants & WANT_RESYNC && host->queued < FLEET_BATCH_MAX)
		resync_begin(host);
	/* host_send() may drop the queue, and the RESYNC with it. */
	while (host->is_resyncing && host->queued < FLEET_BATCH_MAX) {
		if (list_empty(&host->unsynced)) {
			host->is_resyncing = false;
			send_step(host, FLEET_RESYNC_END, NULL);
			break;
		}
		struct mirror *mirror = container_of(host->unsynced.next, struct mirror, link);
		list_remove(&mirror->link);
		list_append(&host->mirrors, &mirror->link);
		if (mirror->state == MIRROR_ASKING)
			mirror_ask(mirror);
		else
			send_step(host, FLEET_RESYNC_ITEM, mirror);
	}
	return host->is_resyncing;
}

static void list_forget_versions(struct list *mirrors)
{
	for (struct list *at = mirrors->next; at != mirrors; at = at->next) {
		struct mirror *mirror = container_of(at, struct mirror, link);
		mirror->version = FLEET_VERSION_NONE;
		mirror->is_exact = false;
		mirror->tries = 0;
	}
}

void mirrors_forget_versions(struct host *host)
{
	list_forget_versions(&host->unsynced);
	list_forget_versions(&host->mirrors);
}

/* ---- what is due */

void mirrors_tick(struct fleet *fleet)
{
	while (fleet->mirror_timers.root && fleet->mirror_timers.root->key_ns <= fleet->now_ns) {
		struct mirror *mirror = container_of(fleet->mirror_timers.root, struct mirror, timer);
		uint64_t end_ns = asking_end_ns(mirror);
		if (fleet->now_ns < clock_after_ns(mirror->asked_ns, fleet->beat_ns) ||
		    mirror->asked_ns >= end_ns)
			mirror_finish(mirror, FLEET_END_UNREACHABLE, NULL);
		else
			mirror_ask(mirror);
	}
}

void mirrors_free(struct fleet *fleet, struct list *mirrors)
{
	while (!list_empty(mirrors)) {
		struct mirror *mirror = container_of(mirrors->next, struct mirror, link);
		if (mirror->host)
			mirror_part(fleet, mirror, false);
		else
			fleet_leave(fleet, mirror);
	}
}
