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

struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_output *output, uint64_t now_ns)
{
	struct fleet *fleet = calloc(1, sizeof(*fleet));

	if (!fleet)
		return NULL;
	fleet->config = *config;
	fleet->output = *output;
	fleet->now_ns = fleet->started_ns = now_ns;
	fleet->beat_ns = config->lease_ns / 3;
	fleet->batch = malloc(FLEET_BATCH_MAX);
	struct list *lists[] = {&fleet->dirty,	   &fleet->hosts, &fleet->doubtful,
				&fleet->lingering, &fleet->ended, &fleet->apart};
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	roster_start(fleet);
	bool is_whole = fleet->batch && map_init(&fleet->hosts_by_name) && map_init(&fleet->owned_by_key) &&
			map_init(&fleet->interests_by_key) && map_init(&fleet->mirrors_by_key);
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
	owned_free_all(fleet);
	while (!list_empty(&fleet->hosts)) {
		struct host *host = container_of(fleet->hosts.next, struct host, link);
		mirrors_free(fleet, &host->unsynced);
		mirrors_free(fleet, &host->mirrors);
		host_free(host);
	}
	mirrors_free(fleet, &fleet->apart);
	map_free(&fleet->hosts_by_name);
	map_free(&fleet->owned_by_key);
	map_free(&fleet->interests_by_key);
	map_free(&fleet->mirrors_by_key);
	free(fleet->batch);
	free(fleet);
}

/* ---- time */

uint64_t fleet_next_ns(const struct fleet *fleet)
{
	uint64_t times[] = {
		roster_next_ns(fleet),
		owned_next_ns(fleet),
		fleet->mirror_timers.root ? fleet->mirror_timers.root->key_ns : UINT64_MAX,
		fleet->host_timers.root ? fleet->host_timers.root->key_ns : UINT64_MAX,
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
		host->due_ns = clock_after_ns(fleet->now_ns, fleet->beat_ns);
		if (fleet->roster.is_up)
			host_want(host, WANT_BATCH);
	} else if (host_idle_ns(host) > fleet->now_ns) {
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
	mirrors_forget_versions(host);
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
		break;
	case FLEET_PROBE:
		host_want(host, WANT_BATCH);
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

void fleet_receive(struct fleet *fleet, const uint8_t *bytes, size_t size, uint64_t now_ns)
{
	struct fleet_batch batch;
	struct fleet_message message;
	size_t at;

	fleet->now_ns = now_ns;
	int error = fleet_wire_unpack(bytes, size, &batch, &at);
	if (error || strcmp(batch.from, fleet->config.host) == 0) {
		if (error == -EPROTONOSUPPORT)
			fleet->counts.foreign++;
		else
			fleet->counts.malformed++;
		return;
	}
	struct host *host = host_get(fleet, batch.from);
	if (!host) {
		fleet->counts.refused++;
		return;
	}
	unsigned news = host_check_batch(host, &batch);
	if (news & HOST_NEW_BRIDGE)
		host_is_new(host);
	if (news & HOST_NEW_SESSION)
		interests_forget(host);
	if (news & HOST_ASTRAY)
		host_want(host, WANT_HELLO);
	fleet->counts.received++;
	if (news & (HOST_OLD | HOST_ASTRAY)) {
		fleet->counts.old++;
		return;
	}
	fleet->counts.gaps += (news & HOST_GAP) != 0;
	while (fleet_wire_next(bytes, size, &at, &message))
		take_message(host, &batch, &message);
	compare_sides(host, &batch, news & HOST_GAP);
	/* Another end of the time in which a BEAT is due may have come nearer. */
	if (host->due_ns > clock_after_ns(now_ns, fleet->beat_ns))
		host->due_ns = clock_after_ns(now_ns, fleet->beat_ns);
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
	if (incarnation) {
		host->absent_ns = 0;
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

/* ---- not there yet */

bool fleet_key_is_supported(void)
{
	return false;
}

void fleet_mirrors_visit(const struct fleet *fleet, const char *host, const struct fleet_key *key,
			 void (*visit)(void *data, void *link), void *link)
{
	(void)fleet, (void)host, (void)key, (void)visit, (void)link;
}

int fleet_cancel(struct fleet *fleet, const char *host, const struct fleet_cancel *cancel, void *data,
		 uint64_t now_ns)
{
	(void)fleet, (void)host, (void)cancel, (void)data, (void)now_ns;
	return -ENOSYS;
}

void fleet_cancel_allow(struct fleet *fleet, uint64_t number, uint64_t now_ns)
{
	(void)fleet, (void)number, (void)now_ns;
}

void fleet_report(struct fleet *fleet, uint64_t number, int error, const struct ctxd_report *report,
		  uint64_t now_ns)
{
	(void)fleet, (void)number, (void)error, (void)report, (void)now_ns;
}

int fleet_list(struct fleet *fleet, const char *host, uint32_t kinds, uint64_t wait_ns, void *data,
	       uint64_t now_ns)
{
	(void)fleet, (void)host, (void)kinds, (void)wait_ns, (void)data, (void)now_ns;
	return -ENOSYS;
}

int fleet_list_entry(struct fleet *fleet, uint64_t number, const struct ctxd_entry *entry, uint64_t now_ns)
{
	(void)fleet, (void)number, (void)entry, (void)now_ns;
	return -ENOENT;
}

void fleet_list_end(struct fleet *fleet, uint64_t number, int error, uint64_t now_ns)
{
	(void)fleet, (void)number, (void)error, (void)now_ns;
}

void fleet_hosts_visit(const struct fleet *fleet,
		       void (*visit)(const struct fleet_host_info *info, void *data), void *data)
{
	(void)fleet, (void)visit, (void)data;
}

int fleet_probe(struct fleet *fleet, const char *host, uint64_t now_ns)
{
	(void)fleet, (void)host, (void)now_ns;
	return -ENOSYS;
}

struct fleet_link_info fleet_link_info(const struct fleet *fleet)
{
	return (struct fleet_link_info){.is_up = fleet->roster.is_up, .since_ns = fleet->roster.since_ns};
}
