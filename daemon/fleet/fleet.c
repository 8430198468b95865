/* SPDX-License-Identifier: MIT */
/* Making and freeing the fleet, what comes in from the engine, and what is due at a time. */
#include "fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_parts.h"

/* After the link came up, each host is greeted at a time of its own, so that a thousand hosts that come back
 * do not all ask at once: within this time for each, and a second or half a beat at most. */
#define GREET_NS 10000000ull

void fleet_config_init(struct fleet_config *ret_config)
{
	*ret_config = (struct fleet_config){
		.fleet = "default",
		.lease_ns = 6 * NS_PER_SECOND,
		.grace_ns = 30 * NS_PER_SECOND,
		.hosts_max = 1024,
		.owned_max = 1000000,
		.mirrors_max = 1000000,
		.ended_max = 65536,
		.owned_per_host_max = 250000,
		.cancels_max = 256,
		.lists_max = 256,
		.ended_ns = 600 * NS_PER_SECOND,
		.queue_bytes = 1 << 20,
	};
}

bool fleet_key_is_supported(void)
{
	return hmac_is_supported();
}

struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_output *output, uint64_t now_ns)
{
	struct fleet *fleet = calloc(1, sizeof(*fleet));

	if (!fleet)
		return NULL;
	fleet->config = *config;
	fleet->output = *output;
	fleet->now_ns = fleet->started_ns = fleet->ticked_ns = now_ns;
	fleet->beat_ns = config->lease_ns / 3;
	/* Sessions have other numbers in each life: a million of them. */
	fleet->last_session = config->incarnation << 20 >> 1;
	fleet->batch = malloc(FLEET_BATCH_MAX);
	fleet->hmac = config->key_size ? hmac_new(config->key, config->key_size) : NULL;
	struct list *lists[] = {&fleet->dirty, &fleet->hosts, &fleet->doubtful,	   &fleet->lingering,
				&fleet->ended, &fleet->apart, &fleet->own_cancels, &fleet->done_cancels};
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	for (unsigned i = 0; i < HOST_ORIGINS; i++)
		list_init(&fleet->parts[i].idle);
	roster_start(fleet);
	struct map *maps[] = {&fleet->hosts_by_name,  &fleet->owned_by_id,	 &fleet->interests_by_key,
			      &fleet->mirrors_by_key, &fleet->cancels_by_number, &fleet->listings_by_number};
	bool is_whole = fleet->batch && (fleet->hmac || !config->key_size);
	for (unsigned i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		is_whole = is_whole && map_init(maps[i]);
	if (!is_whole) {
		fleet_free(fleet);
		return NULL;
	}
	return fleet;
}

void fleet_free(struct fleet *fleet)
{
	if (!fleet)
		return;
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		interests_forget(container_of(at, struct host, link));
		mirrors_free(fleet, &container_of(at, struct host, link)->unsynced);
		mirrors_free(fleet, &container_of(at, struct host, link)->mirrors);
	}
	owned_free_all(fleet);
	/* These may have errands to any host. */
	cancels_free_own(fleet);
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next)
		cancels_forget(container_of(at, struct host, link));
	while (!list_empty(&fleet->hosts)) {
		struct host *host = container_of(fleet->hosts.next, struct host, link);
		errands_free(host);
		listings_free(host);
		queries_free(host);
		host_free(host);
	}
	mirrors_free(fleet, &fleet->apart);
	map_free(&fleet->hosts_by_name);
	map_free(&fleet->owned_by_id);
	map_free(&fleet->interests_by_key);
	map_free(&fleet->mirrors_by_key);
	map_free(&fleet->cancels_by_number);
	map_free(&fleet->listings_by_number);
	hmac_free(fleet->hmac);
	free(fleet->batch);
	free(fleet);
}

void fleet_set_grace(struct fleet *fleet, uint64_t grace_ns, bool outlive_owner_host)
{
	fleet->config.grace_ns = grace_ns;
	fleet->config.outlive_owner_host = outlive_owner_host;
}

/* ---- time */

uint64_t fleet_next_ns(const struct fleet *fleet)
{
	uint64_t times[] = {
		roster_next_ns(fleet),
		owned_next_ns(fleet),
		fleet->mirror_timers.root ? fleet->mirror_timers.root->key_ns : UINT64_MAX,
		fleet->host_timers.root ? fleet->host_timers.root->key_ns : UINT64_MAX,
		fleet->timers.root ? fleet->timers.root->key_ns : UINT64_MAX,
	};
	uint64_t next_ns = UINT64_MAX;

	if (fleet->roster.is_up && !fleet->is_blocked && !list_empty(&fleet->dirty))
		return 0;
	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] < next_ns)
			next_ns = times[i];
	return next_ns;
}

/* The time of a host has come: it is greeted, gets a BEAT, or is forgotten. */
static void host_tick(struct host *host)
{
	struct fleet *fleet = host->fleet;

	if (host->greet_ns <= fleet->now_ns) {
		host->greet_ns = UINT64_MAX;
		host_want(host, WANT_HELLO | (host->mirror_count ? WANT_RESYNC : 0));
	} else if (host_is_related(host)) {
		host->due_ns = clock_after_ns(fleet->now_ns, host_beat_ns(fleet));
		if (fleet->roster.is_up)
			host_want(host, WANT_BATCH);
	} else if (host_is_busy(host)) {
		host->due_ns = clock_after_ns(fleet->now_ns, fleet->config.lease_ns);
	} else if (host_idle_ns(host) > fleet->now_ns) {
		host_note_idle(host);
		host->due_ns = host_idle_ns(host);
	} else {
		host_free(host);
		return;
	}
	host_set_timer(host);
}

/* Sends what each host has to get, once, until the engine takes no more. */
static void flush_all(struct fleet *fleet)
{
	struct list turn;

	list_init(&turn);
	list_splice(&turn, &fleet->dirty);
	while (!list_empty(&turn) && fleet->roster.is_up && !fleet->is_blocked) {
		struct host *host = container_of(turn.next, struct host, dirty);
		while (mirrors_resync(host) && !fleet->is_blocked)
			host_flush(host);
		host_flush(host);
		if (!host->queued)
			listings_go_on(host);
	}
	list_splice(&fleet->dirty, &turn);
}

void fleet_tick(struct fleet *fleet, uint64_t now_ns)
{
	fleet->now_ns = now_ns;
	if (roster_grace_ends(fleet))
		for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next)
			mirrors_end(container_of(at, struct host, link), FLEET_END_UNREACHABLE);
	roster_tick(fleet);
	owned_tick(fleet);
	mirrors_tick(fleet);
	fleet->ticked_ns = now_ns;
	while (fleet->timers.root && fleet->timers.root->key_ns <= now_ns) {
		struct timer *timer = container_of(fleet->timers.root, struct timer, node);
		timer->due(timer);
	}
	while (fleet->host_timers.root && fleet->host_timers.root->key_ns <= now_ns)
		host_tick(container_of(fleet->host_timers.root, struct host, timer));
	flush_all(fleet);
}

/* ---- from the engine */

void fleet_engine_up(struct fleet *fleet, uint64_t now_ns)
{
	uint64_t spread_ns = fleet->beat_ns / 2 < NS_PER_SECOND ? fleet->beat_ns / 2 : NS_PER_SECOND;

	fleet->now_ns = now_ns;
	fleet->is_blocked = false;
	if (fleet->counts.hosts * GREET_NS < spread_ns)
		spread_ns = fleet->counts.hosts * GREET_NS;
	roster_up(fleet);
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		struct host *host = container_of(at, struct host, link);
		host_drop_queue(host);
		host->absent_ns = 0;
		host->greet_ns =
			clock_after_ns(now_ns, (host->by_name.key ^ fleet->config.incarnation) % spread_ns);
		host_set_timer(host);
	}
}

void fleet_engine_down(struct fleet *fleet, uint64_t now_ns)
{
	fleet->now_ns = now_ns;
	roster_down(fleet);
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		struct host *host = container_of(at, struct host, link);
		host_drop_queue(host);
		host->greet_ns = UINT64_MAX;
		host_set_timer(host);
	}
}

void fleet_engine_writable(struct fleet *fleet)
{
	fleet->is_blocked = false;
}

/* The bridge of a host is a new one: it has joined nothing yet, and knows nothing of what is joined here. */
static void host_is_new(struct host *host)
{
	interests_forget(host);
	cancels_forget(host);
	listings_forget(host);
	mirrors_forget_versions(host);
	errands_repeat(host);
	queries_repeat(host);
	if (host->mirror_count)
		host_want(host, WANT_RESYNC);
}

static void take_message(struct host *host, const struct fleet_batch *batch,
			 const struct fleet_message *message)
{
	switch (message->type) {
	case FLEET_JOIN:
		interest_join(host, &message->join);
		break;
	case FLEET_STATE:
		mirror_state(host, &message->state);
		break;
	case FLEET_END:
		if (!cancel_holds_end(host, &message->ended))
			mirror_end(host, &message->ended);
		break;
	case FLEET_MOVED:
		mirror_move(host, &message->moved);
		break;
	case FLEET_LEAVE:
		interest_leave(host, &message->leave);
		break;
	case FLEET_RESYNC:
		interest_resync(host, &message->resync);
		break;
	case FLEET_HELLO:
		if (host->mirror_count || batch->flags & FLEET_KEEPS)
			host_want(host, WANT_RESYNC);
		errands_repeat(host);
		queries_repeat(host);
		break;
	case FLEET_PROBE:
		host_send(host, &(struct fleet_message){.type = FLEET_ECHO, .nonce = message->nonce});
		break;
	case FLEET_ECHO:
		if (message->nonce == host->probe_nonce)
			host_measure(host, host->fleet->now_ns - host->probe_sent_ns);
		break;
	case FLEET_CANCEL:
		cancel_receive(host, &message->cancelling);
		break;
	case FLEET_REPORT:
		errand_report(host, &message->reported);
		break;
	case FLEET_LIST:
		listing_receive(host, &message->list_wish);
		break;
	case FLEET_ENTRY:
		query_entry(host, &message->listed_entry);
		break;
	case FLEET_LISTED:
		query_end(host, &message->listed);
		break;
	}
}

/* What the header of a batch asks for, beside its messages. */
static void compare_sides(struct host *host, const struct fleet_batch *batch, bool is_gap)
{
	bool holds = batch->flags & FLEET_HOLDS;

	if ((is_gap && host->mirror_count) || (batch->flags & FLEET_KEEPS && !host->mirror_count))
		host_want(host, WANT_RESYNC);
	if (holds ? is_gap || host->needs_resync || !host->interest_count : is_gap && host->interest_count)
		host_need_resync(host);
}

/* Reads the header of a batch, and counts it if it is to be ignored. */
static bool batch_is_usable(struct fleet *fleet, const uint8_t *bytes, size_t size, struct fleet_batch *batch,
			    size_t *at)
{
	int error = fleet_wire_unpack_header(bytes, size, batch, at);

	if (error == -EPROTONOSUPPORT || (!error && strcmp(batch->fleet, fleet->config.fleet) != 0)) {
		fleet->counts.foreign++;
		return false;
	}
	struct host *host = error ? NULL : host_find(fleet, batch->from);
	if (!error && !host_batch_is_genuine(fleet, bytes, size, batch)) {
		fleet->counts.forged++;
		if (host)
			host->info.forged++;
		return false;
	}
	if (error || strcmp(batch->from, fleet->config.host) == 0 || fleet_wire_check(bytes, batch, *at)) {
		fleet->counts.malformed++;
		if (host)
			host->info.malformed++;
		return false;
	}
	return true;
}

void fleet_receive(struct fleet *fleet, const uint8_t *bytes, size_t size, uint64_t now_ns)
{
	struct fleet_batch batch;
	struct fleet_message message;
	size_t at;
	int error;

	fleet->now_ns = now_ns;
	if (!batch_is_usable(fleet, bytes, size, &batch, &at))
		return;
	struct host *host = host_get(fleet, batch.from, HOST_HEARD, &error);
	if (!host) {
		fleet->counts.refused++;
		return;
	}
	unsigned news = host_check_batch(host, &batch);
	if (news & HOST_NEW_BRIDGE)
		host_is_new(host);
	if (news & HOST_NEW_SESSION)
		interests_forget(host);
	/* In a fleet with a key, what a new bridge said before it was known has not been used. */
	if (news & (HOST_ASTRAY | HOST_UNPROVEN) || (fleet->hmac && news & HOST_NEW_BRIDGE))
		host_want(host, WANT_HELLO);
	fleet->counts.received++;
	host->info.received++;
	if (news & (HOST_OLD | HOST_ASTRAY | HOST_UNPROVEN)) {
		fleet->counts.old++;
		host->info.old++;
		return;
	}
	fleet->counts.gaps += (news & HOST_GAP) != 0;
	host->info.gaps += (news & HOST_GAP) != 0;
	while (fleet_wire_next(bytes, &batch, &at, &message))
		take_message(host, &batch, &message);
	compare_sides(host, &batch, news & HOST_GAP);
	/* Another end of the time in which a BEAT is due may have come nearer. */
	if (host->due_ns > clock_after_ns(now_ns, host_beat_ns(fleet)))
		host->due_ns = clock_after_ns(now_ns, host_beat_ns(fleet));
	host_set_timer(host);
}

void fleet_own_lease(struct fleet *fleet, uint64_t incarnation, uint64_t now_ns)
{
	fleet->now_ns = now_ns;
	if (!fleet->roster.is_up || !roster_own_lease(fleet, incarnation))
		return;
	/* Others may have taken this host for dead. */
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		struct host *host = container_of(at, struct host, link);
		if (host->mirror_count)
			host_want(host, WANT_RESYNC);
	}
}

void fleet_lease(struct fleet *fleet, const char *name, uint64_t incarnation, uint64_t now_ns)
{
	struct host *host = host_find(fleet, name);

	fleet->now_ns = now_ns;
	if (!host || !fleet->roster.is_up)
		return;
	if (!incarnation && !host->info.lease_absent_ns)
		host->info.lease_absent_ns = now_ns;
	if (incarnation) {
		host->absent_ns = 0;
		host->info.lease_seen_ns = now_ns;
		host->info.lease_absent_ns = 0;
		if ((incarnation != host->past_incarnation || host->is_disputed) &&
		    host_learn_incarnation(host, incarnation))
			host_is_new(host);
	} else if (roster_absent(host)) {
		host->absent_ns = 0;
		interests_forget(host);
		if (!fleet->config.outlive_owner_host)
			mirrors_end(host, FLEET_END_HOST);
	}
}

struct fleet_counts fleet_counts(const struct fleet *fleet)
{
	return fleet->counts;
}
