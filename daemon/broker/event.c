/* SPDX-License-Identifier: MIT */
/*
 * Events: what changes, for the clients that watch. Each event is stored once, in a ring buffer. Each watcher
 * goes through that buffer by itself, in its own turns, and counts the events that do not fit its queue.
 */
#include <errno.h>
#include <stdlib.h>

#include "parts.h"

/*
 * How many events are kept. A watcher that is further behind has lost the older ones, whether or not it could
 * see them.
 */
#define EVENTS_MAX 4096

struct event {
	enum ctxd_event_kind kind;
	struct sight sight;
	struct ctxd_entry entry;
};

void listed_event(struct broker *broker, const struct listed *listed, enum ctxd_event_kind kind)
{
	struct sight sight = listed_sight(listed);

	if (!broker->watchers || sight.hidden)
		return;
	broker->work += WORK_ITEM;
	struct event *event = &broker->events[++broker->last_event % EVENTS_MAX];
	event->kind = kind;
	event->sight = sight;
	listed_entry(listed, &event->entry);
	job_queue(broker, &broker->wake_watchers);
}

/* Queues the jobs of the watchers that had looked at all events. */
bool watchers_wake(struct job *job)
{
	struct broker *broker = container_of(job, struct broker, wake_watchers);

	for (; !list_empty(&broker->idle_watchers) && piece_lasts(broker); broker->work += WORK_STEP) {
		struct peer *peer = container_of(broker->idle_watchers.next, struct peer, watch_link);
		list_remove(&peer->watch_link);
		job_queue(broker, &peer->job);
	}
	return !list_empty(&broker->idle_watchers);
}

/*
 * Sends how many events were lost. This goes before any later event, so that the client sees where they are
 * missing. False: the queue is full.
 */
static bool tell_lost(struct peer *peer)
{
	struct wire_message message = {.type = WIRE_EVENT,
				       .event = {.kind = CTXD_EVENT_LOST, .lost = peer->lost}};

	if (peer->lost && !peer->full && peer_offer(peer, &message, NULL, 0) == -EAGAIN)
		peer->full = true;
	if (!peer->full)
		peer->lost = 0;
	return !peer->full;
}

static void tell_event(struct peer *peer, const struct event *event)
{
	struct wire_message message = {.type = WIRE_EVENT,
				       .event = {.kind = event->kind, .entry = event->entry}};

	peer->broker->work += WORK_STEP;
	if (!(peer->watch_kinds & event->sight.kind) || !peer_sees(peer, &event->sight))
		return;
	if (tell_lost(peer) && peer_offer(peer, &message, NULL, 0) != -EAGAIN)
		return;
	peer->full = true;
	peer->lost++;
}

bool watch_tell_next(struct peer *peer)
{
	struct broker *broker = peer->broker;
	uint64_t oldest = broker->last_event < EVENTS_MAX ? 1 : broker->last_event - EVENTS_MAX + 1;

	if (!peer->watch_kinds)
		return false;
	if (peer->next_event < oldest) {
		peer->lost += oldest - peer->next_event;
		peer->next_event = oldest;
	}
	if (peer->next_event <= broker->last_event) {
		tell_event(peer, &broker->events[peer->next_event++ % EVENTS_MAX]);
		return true;
	}
	tell_lost(peer);
	if (list_empty(&peer->watch_link))
		list_append(&broker->idle_watchers, &peer->watch_link);
	return false;
}

void watch_end(struct peer *peer)
{
	if (!peer->watch_kinds)
		return;
	peer->watch_kinds = 0;
	peer->lost = 0;
	peer->broker->watchers--;
	list_remove(&peer->watch_link);
	account_return(peer->account, QUOTA_WATCHES, 1);
}

/* 0; -EDQUOT; -ENOMEM. */
static int start_watching(struct peer *peer)
{
	struct broker *broker = peer->broker;

	if (!broker->events)
		broker->events = calloc(EVENTS_MAX, sizeof(*broker->events));
	if (!broker->events)
		return -ENOMEM;
	if (!account_charge(&broker->accounts, peer->account, QUOTA_WATCHES, 1))
		return -EDQUOT;
	broker->watchers++;
	peer->next_event = broker->last_event + 1;
	list_append(&broker->idle_watchers, &peer->watch_link);
	return 0;
}

int handle_watch(struct peer *peer, const struct wire_message *message)
{
	uint32_t kinds = message->watch.kinds;
	int error = 0;

	if (!kinds)
		watch_end(peer);
	else if (!peer->watch_kinds)
		error = start_watching(peer);
	if (!error)
		peer->watch_kinds = kinds;
	peer_result(peer, message->serial, error, (struct ctxd_id){0});
	return 0;
}
