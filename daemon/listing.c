/* SPDX-License-Identifier: MIT */
/* What there is, as clients may see it, in pages. */
#include <string.h>

#include "parts.h"

/* So many things are looked at for one page; what may not be seen costs the asker a page, not the service. */
#define LOOK_MAX 512

void thing_add(struct broker *broker, struct thing *thing, enum ctxd_entry_kind kind)
{
	thing->kind = kind;
	thing->serial = ++broker->last_serial;
	list_append(&broker->things, &thing->link);
	tree_append(&broker->things_by_serial, &thing->by_serial, thing->serial);
}

void thing_remove(struct broker *broker, struct thing *thing)
{
	if (!thing->serial)
		return;
	list_remove(&thing->link);
	tree_remove(&broker->things_by_serial, &thing->by_serial);
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
	memcpy(entry->process, join->peer->name, sizeof(entry->process));
}

void thing_entry(const struct thing *thing, struct ctxd_entry *entry)
{
	switch (thing->kind) {
	case CTXD_SHARED:
		share_entry(container_of(thing, struct share, thing), entry);
		break;
	case CTXD_JOINED:
		join_entry(container_of(thing, struct join, thing), entry);
		break;
	case CTXD_PROCESS:
		process_entry(container_of(thing, struct process, thing), entry);
		break;
	case CTXD_DEAD:
		death_entry(container_of(thing, struct death, thing), entry);
		break;
	}
}

/* ---- who sees them */

struct sight thing_sight(const struct thing *thing)
{
	struct sight sight = {.kind = thing->kind};

	if (thing->kind == CTXD_SHARED) {
		const struct share *share = container_of(thing, struct share, thing);
		sight.hidden = share->unclaimed;
		sight.uid = share->uid;
		sight.gid = share->gid;
		sight.mode = share->mode;
	} else if (thing->kind == CTXD_JOINED) {
		const struct join *join = container_of(thing, struct join, thing);
		sight.hidden = join->share->unclaimed;
		sight.uid = join->peer->identity.uid;
		sight.too = join->share->uid;
	} else if (thing->kind == CTXD_PROCESS) {
		sight.uid = sight.too = container_of(thing, struct process, thing)->uid;
	} else {
		sight.uid = sight.too = container_of(thing, struct death, thing)->uid;
	}
	return sight;
}

bool sees(const struct peer *peer, const struct sight *sight)
{
	if (sight->hidden)
		return false;
	if (sight->kind == CTXD_SHARED)
		return may_by_mode(peer, sight->uid, sight->gid, sight->mode, RIGHT_SEE);
	return is_same_user(peer, sight->uid) || is_same_user(peer, sight->too);
}

/* ---- lists */

/* A page: O(log n) to find where it begins, and LOOK_MAX things that are looked at. */
int list_answer(struct peer *peer, const struct wire_message *message)
{
	struct broker *broker = peer->broker;
	struct wire_message answer = {.type = WIRE_ENTRIES, .serial = message->serial};
	struct wire_entries *entries = &answer.entries;
	struct tree_node *node = tree_after(broker->things_by_serial, message->list.cursor);
	const struct list *link = node ? &container_of(node, struct thing, by_serial)->link : &broker->things;
	uint64_t last = message->list.cursor;

	for (unsigned looked = 0; link != &broker->things; link = link->next, looked++) {
		const struct thing *thing = container_of(link, struct thing, link);
		if (looked == LOOK_MAX || entries->count == WIRE_ENTRIES_MAX) {
			entries->next = last;
			break;
		}
		last = thing->serial;
		broker->work += WORK_STEP;
		struct sight sight = thing_sight(thing);
		if (message->list.kinds & thing->kind && sees(peer, &sight))
			thing_entry(thing, &entries->entries[entries->count++]);
	}
	return peer_send(peer, &answer, NULL, 0);
}
