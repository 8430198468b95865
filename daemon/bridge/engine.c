/* SPDX-License-Identifier: MIT */
/* Between the core and the engine: what the core wants done, and what the engine tells. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "parts.h"

/* ---- what the core wants */

static bool output_send(void *link, const char *host, const uint8_t *bytes, size_t size)
{
	struct engine *engine = ((struct bridge *)link)->engine;

	return engine->calls->send(engine, host, bytes, size);
}

static void output_lease_take(void *link, uint64_t incarnation)
{
	struct engine *engine = ((struct bridge *)link)->engine;

	engine->calls->lease_take(engine, incarnation);
}

static void output_lease_renew(void *link, uint64_t incarnation)
{
	struct engine *engine = ((struct bridge *)link)->engine;

	engine->calls->lease_renew(engine, incarnation);
}

static void output_lease_read(void *link, const char *const *hosts, unsigned count)
{
	struct engine *engine = ((struct bridge *)link)->engine;

	engine->calls->lease_read(engine, hosts, count);
}

static void output_name_conflict(void *link, uint64_t incarnation)
{
	struct bridge *bridge = link;

	log_event(LOG_LEVEL_ERROR, "name",
		  "host=%s fleet=%s incarnation=%016" PRIx64 " reason=\"another bridge has this name%s\"",
		  bridge->host, bridge->config.fleet.name, incarnation,
		  bridge->was_lease_held ? "" : ", or the one of this host ended less than fleet_lease ago");
	bridge->exit = BRIDGE_NAME_TAKEN;
}

static void output_local_join(void *link, const struct fleet_key *key)
{
	bridge_owned_join(link, key);
}

static void output_local_leave(void *link, const struct fleet_key *key)
{
	bridge_owned_leave(link, key);
}

static void output_cancel_asked(void *link, uint64_t number, const char *host,
				const struct fleet_cancel *cancel)
{
	serve_cancel(link, number, host, NULL, cancel);
}

static void output_mirrors_cancel(void *link, uint64_t number, const char *host, const struct fleet_key *key,
				  const struct fleet_cancel *cancel)
{
	serve_cancel(link, number, host, key, cancel);
}

static void output_list_asked(void *link, uint64_t number, const char *host, uint32_t kinds)
{
	(void)host;
	serve_list_of_host(link, number, kinds);
}

static void output_list_more(void *link, uint64_t number)
{
	serve_list_more(link, number);
}

static void output_list_closed(void *link, uint64_t number)
{
	serve_list_closed(link, number);
}

const struct fleet_output engine_output = {
	.send = output_send,
	.lease_take = output_lease_take,
	.lease_renew = output_lease_renew,
	.lease_read = output_lease_read,
	.name_conflict = output_name_conflict,
	.local_join = output_local_join,
	.local_leave = output_local_leave,
	.cancel_asked = output_cancel_asked,
	.mirrors_cancel = output_mirrors_cancel,
	.list_asked = output_list_asked,
	.list_more = output_list_more,
	.list_closed = output_list_closed,
	.cancel_done = ask_cancelled,
	.list_entry = ask_entry,
	.list_again = ask_again,
	.list_end = ask_list_end,
	.mirror_live = mirror_is_live,
	.mirror_moved = mirror_has_moved,
	.mirror_ended = mirror_has_ended,
};

/* ---- what the engine tells */

static void event_message(void *link, const uint8_t *bytes, size_t size)
{
	struct bridge *bridge = link;

	fleet_receive(bridge->fleet, bytes, size, bridge->now_ns);
}

static void event_up(void *link, bool fresh)
{
	struct bridge *bridge = link;

	(void)fresh;
	log_event(LOG_LEVEL_INFO, "engine", "state=up");
	fleet_engine_up(bridge->fleet, bridge->now_ns);
}

static void event_down(void *link)
{
	struct bridge *bridge = link;

	log_event(LOG_LEVEL_WARNING, "engine", "state=down");
	fleet_engine_down(bridge->fleet, bridge->now_ns);
}

static void event_writable(void *link)
{
	fleet_engine_writable(((struct bridge *)link)->fleet);
}

/* Keeps the incarnation as soon as the lease has it: one that never was in a lease need not be known. */
static void keep_incarnation(struct bridge *bridge)
{
	if (bridge->was_lease_held)
		return;
	bridge->was_lease_held = true;
	log_event(LOG_LEVEL_INFO, "lease", "host=%s incarnation=%016" PRIx64, bridge->host,
		  bridge->incarnation);
	if (!bridge->state_directory[0])
		return;
	int error = state_save(bridge->state_directory, bridge->config.fleet.name, bridge->host,
			       bridge->incarnation);
	if (error)
		log_event(LOG_LEVEL_WARNING, "state", "directory=%s error=%s", bridge->state_directory,
			  strerrorname_np(-error));
}

static void event_own_lease(void *link, uint64_t incarnation)
{
	struct bridge *bridge = link;

	if (incarnation == bridge->incarnation)
		keep_incarnation(bridge);
	else if (!incarnation && bridge->was_lease_held)
		log_event(LOG_LEVEL_WARNING, "lease", "host=%s reason=\"it was gone, and is taken again\"",
			  bridge->host);
	fleet_own_lease(bridge->fleet, incarnation, bridge->now_ns);
}

static void event_lease(void *link, const char *host, uint64_t incarnation)
{
	struct bridge *bridge = link;

	fleet_lease(bridge->fleet, host, incarnation, bridge->now_ns);
}

static void event_trouble(void *link, const char *text)
{
	struct bridge *bridge = link;
	char quoted[600];

	report_event(&bridge->reports, REPORT_ENGINE, bridge->now_ns, LOG_LEVEL_WARNING, "engine",
		     "reason=%s", log_quote(text, quoted, sizeof(quoted)));
}

static void event_host(void *link, const char *host, int error)
{
	asks_host(link, host, error);
}

static void event_examined(void *link, const struct engine_status *status)
{
	asks_examined(link, status);
}

const struct engine_events engine_events = {
	.message = event_message,
	.up = event_up,
	.down = event_down,
	.writable = event_writable,
	.own_lease = event_own_lease,
	.lease = event_lease,
	.trouble = event_trouble,
	.host = event_host,
	.examined = event_examined,
};

/* ---- the turn */

void engine_watch(struct bridge *bridge)
{
	int fd = bridge->engine->calls->fd(bridge->engine);

	if (fd == bridge->engine_fd)
		return;
	/* The one before was closed by the engine, and so is not in the epoll instance any more. */
	bridge->engine_fd = fd;
	if (fd >= 0 && watch_add(bridge, WATCHED_ENGINE, 0, fd, EPOLLIN))
		bridge->engine_fd = -1;
}

static void report_count(struct bridge *bridge, enum report_kind kind, const char *event, uint64_t now,
			 uint64_t *before)
{
	if (now == *before)
		return;
	report_event(&bridge->reports, kind, bridge->now_ns, LOG_LEVEL_WARNING, event,
		     "batches=%" PRIu64 " all=%" PRIu64, now - *before, now);
	*before = now;
}

void engine_report(struct bridge *bridge)
{
	struct fleet_counts counts = fleet_counts(bridge->fleet);

	report_count(bridge, REPORT_MALFORMED, "malformed", counts.malformed, &bridge->reported.malformed);
	report_count(bridge, REPORT_FORGED, "forged", counts.forged, &bridge->reported.forged);
	report_count(bridge, REPORT_FOREIGN, "foreign", counts.foreign, &bridge->reported.foreign);
}
