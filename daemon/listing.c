/* SPDX-License-Identifier: MIT */
/* What there is, as clients may see it: in pages, and as it changes. */
#include <errno.h>
#include <string.h>

#include "parts.h"

/* So many things are looked at for one page; what may not be seen costs the asker a page, not the service. */
#define LOOK_MAX 512

void thing_add(struct broker *broker, struct thing *thing, enum ctxd_entry_kind kind)
{
	thing->kind = kind;
	thing->serial = ++broker->last_serial;
	link_append(&broker->things, &thing->link);
	map_add(&broker->things_by_serial, &thing->by_serial, thing->serial);
}

void thing_remove(struct broker *broker, struct thing *thing)
{
	if (!thing->serial)
		return;
	link_remove(&thing->link);
	map_remove(&broker->things_by_serial, &thing->by_serial);
	thing->serial = 0;
}

/* ---- entries */

static void share_entry(const struct share *share, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_SHARED,
		.id = share_id(share),
		.parent = share->parent,
		.pid = share->pid,
		.uid = share->uid,
		.gid = share->gid,
		.table = share->table,
		.ctx_id = share->ctx_id,
		.mode = share->mode,
		.depth = share->depth,
		.joiners = share->join_count,
		.created_ns = share->created_ns,
		.deadline_ns = share->deadline_ns,
		.ended_ns = share->ended_ns,
	};
	if (share->ended_ns)
		entry->cause = share->cause;
	memcpy(entry->name, share->name, sizeof(entry->name));
	memcpy(entry->label, share->label, sizeof(entry->label));
	memcpy(entry->process, share->process, sizeof(entry->process));
}

static void join_entry(const struct join *join, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_JOINED,
		.id = share_id(join->share),
		.pid = join->peer->identity.pid,
		.uid = join->peer->identity.uid,
		.gid = join->peer->identity.gid,
		.table = join->peer->table,
		.ctx_id = join->ctx_id,
		.created_ns = join->created_ns,
		.deadline_ns = join->share->deadline_ns,
	};
	memcpy(entry->name, join->share->name, sizeof(entry->name));
	memcpy(entry->label, join->share->label, sizeof(entry->label));
	memcpy(entry->process, join->peer->process, sizeof(entry->process));
}

void peer_entry(const struct peer *peer, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_PROCESS,
		.pid = peer->identity.pid,
		.uid = peer->identity.uid,
		.gid = peer->identity.gid,
		.table = peer->table,
		.created_ns = peer->created_ns,
		.deadline_ns = CTX_FOREVER,
	};
	memcpy(entry->process, peer->process, sizeof(entry->process));
}

/* False: not for peer. */
static bool fill(const struct peer *peer, const struct thing *thing, struct ctxd_entry *entry)
{
	switch (thing->kind) {
	case CTXD_SHARED: {
		const struct share *share = owner_of(thing, struct share, thing);
		if (share->unclaimed || !may(peer, share, RIGHT_SEE))
			return false;
		share_entry(share, entry);
		return true;
	}
	case CTXD_JOINED: {
		const struct join *join = owner_of(thing, struct join, thing);
		if (join->share->unclaimed ||
		    (!is_same_user(peer, join->peer->identity.uid) && !is_same_user(peer, join->share->uid)))
			return false;
		join_entry(join, entry);
		return true;
	}
	case CTXD_PROCESS: {
		const struct peer *other = owner_of(thing, struct peer, thing);
		if (!is_same_user(peer, other->identity.uid))
			return false;
		peer_entry(other, entry);
		return true;
	}
	case CTXD_DEAD: {
		const struct death *death = owner_of(thing, struct death, thing);
		if (!is_same_user(peer, death->uid))
			return false;
		death_entry(death, entry);
		return true;
	}
	}
	return false;
}

/* ---- lists */

/* The first thing after cursor, the serial of the last one that was looked at. */
static const struct link *begin_after(const struct broker *broker, uint64_t cursor)
{
	const struct map_node *node = cursor ? map_find(&broker->things_by_serial, cursor) : NULL;

	if (node)
		return owner_of(node, struct thing, by_serial)->link.next;
	const struct link *link = broker->things.next;
	while (link != &broker->things && owner_of(link, struct thing, link)->serial <= cursor)
		link = link->next;
	return link;
}

int list_answer(struct peer *peer, const struct wire_message *message)
{
	struct broker *broker = peer->broker;
	struct wire_message answer = {.type = WIRE_ENTRIES, .serial = message->serial};
	struct wire_entries *entries = &answer.entries;
	const struct link *link = begin_after(broker, message->list.cursor);
	uint64_t last = message->list.cursor;

	for (unsigned looked = 0; link != &broker->things; link = link->next, looked++) {
		const struct thing *thing = owner_of(link, struct thing, link);
		if (looked == LOOK_MAX || entries->count == WIRE_ENTRIES_MAX) {
			entries->next = last;
			break;
		}
		last = thing->serial;
		if (message->list.kinds & thing->kind && fill(peer, thing, &entries->entries[entries->count]))
			entries->count++;
	}
	return peer_send(peer, &answer, NULL, 0);
}

/* ---- events */

static void send_event(struct peer *peer, const struct thing *thing, enum ctxd_event_kind kind)
{
	struct wire_message message = {.type = WIRE_EVENT, .event = {.kind = kind}};

	if (!fill(peer, thing, &message.event.entry))
		return;
	/* In order: nothing goes before it has been said how many are missing. */
	if (peer->lost || peer_send(peer, &message, NULL, 0) == -EAGAIN)
		peer->lost++;
}

void thing_event(struct broker *broker, const struct thing *thing, enum ctxd_event_kind kind)
{
	for (struct link *link = broker->watchers.next, *next; link != &broker->watchers; link = next) {
		struct peer *peer = owner_of(link, struct peer, watch_link);
		next = link->next;
		if (peer->watch_kinds & thing->kind)
			send_event(peer, thing, kind);
	}
}

bool watch_resume(struct peer *peer)
{
	struct wire_message message = {.type = WIRE_EVENT,
				       .event = {.kind = CTXD_EVENT_LOST, .lost = peer->lost}};

	if (!peer->lost)
		return true;
	if (peer_send(peer, &message, NULL, 0) == -EAGAIN)
		return false;
	peer->lost = 0;
	return true;
}

void watch_end(struct peer *peer)
{
	if (!peer->watch_kinds)
		return;
	peer->watch_kinds = 0;
	link_remove(&peer->watch_link);
	account_return(peer->account, QUOTA_WATCHES, 1);
}

int watch_begin(struct peer *peer, const struct wire_message *message)
{
	struct broker *broker = peer->broker;
	uint32_t kinds = message->watch.kinds;
	int error = 0;

	if (!kinds) {
		watch_end(peer);
	} else if (!peer->watch_kinds) {
		if (!account_charge(&broker->accounts, peer->account, QUOTA_WATCHES, 1))
			error = -EDQUOT;
		else
			link_append(&broker->watchers, &peer->watch_link);
	}
	if (!error)
		peer->watch_kinds = kinds;
	peer_result(peer, message->serial, error, (struct ctxd_id){0});
	return 0;
}
