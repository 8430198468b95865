/* SPDX-License-Identifier: MIT */
/* What clients can list and watch: its place in the order in which it came, its entry, and who may see it. */
#include <string.h>

#include "parts.h"

/* ---- the order in which it came */

void listed_add(struct broker *broker, struct listed *listed, enum ctxd_entry_kind kind)
{
	listed->kind = kind;
	listed->serial = ++broker->last_serial;
	list_append(&broker->listed, &listed->link);
	tree_append(&broker->listed_by_serial, &listed->by_serial, listed->serial);
}

void listed_remove(struct broker *broker, struct listed *listed)
{
	if (!listed->serial)
		return;
	list_remove(&listed->link);
	tree_remove(&broker->listed_by_serial, &listed->by_serial);
	listed->serial = 0;
}

/* ---- entries */

struct ctxd_id share_id(const struct share *share)
{
	return (struct ctxd_id){.epoch = share->broker->epoch, .number = share->number};
}

/* Fills in whose context it is, if share is a mirror. */
static void add_origin(const struct share *share, struct ctxd_entry *entry)
{
	if (!share->remote)
		return;
	memcpy(entry->host, share->remote->global.host, sizeof(entry->host));
	entry->origin = share->remote->global.id;
}

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
	add_origin(share, entry);
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
	add_origin(join->share, entry);
}

static void process_entry(const struct process *process, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_PROCESS,
		.pid = process->pid,
		.uid = process->uid,
		.gid = process->gid,
		.table = process->table,
		.created_ns = process->created_ns,
		.deadline_ns = CTX_FOREVER,
	};
	memcpy(entry->process, process->name, sizeof(entry->process));
}

static void death_entry(const struct death *death, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_DEAD,
		.pid = death->pid,
		.uid = death->uid,
		.gid = death->gid,
		.table = death->table,
		.deadline_ns = CTX_FOREVER,
		.ended_ns = death->parted_ns,
	};
	memcpy(entry->process, death->process, sizeof(entry->process));
}

void listed_entry(const struct listed *listed, struct ctxd_entry *entry)
{
	switch (listed->kind) {
	case CTXD_SHARED:
		share_entry(container_of(listed, struct share, listed), entry);
		break;
	case CTXD_JOINED:
		join_entry(container_of(listed, struct join, listed), entry);
		break;
	case CTXD_PROCESS:
		process_entry(container_of(listed, struct process, listed), entry);
		break;
	case CTXD_DEAD:
		death_entry(container_of(listed, struct death, listed), entry);
		break;
	}
}

/* ---- who may see it */

struct sight listed_sight(const struct listed *listed)
{
	struct sight sight = {.kind = listed->kind};

	if (listed->kind == CTXD_SHARED) {
		const struct share *share = container_of(listed, struct share, listed);
		sight.hidden = share->unclaimed;
		sight.of_fleet = is_joined_by_pipe(share);
		sight.uid = share->uid;
		sight.gid = share->gid;
		sight.mode = share->mode;
	} else if (listed->kind == CTXD_JOINED) {
		const struct join *join = container_of(listed, struct join, listed);
		sight.hidden = join->share->unclaimed;
		sight.of_fleet = is_joined_by_pipe(join->share);
		sight.uid = join->peer->identity.uid;
		sight.also_uid = join->share->uid;
	} else if (listed->kind == CTXD_PROCESS) {
		sight.uid = sight.also_uid = container_of(listed, struct process, listed)->uid;
	} else {
		sight.uid = sight.also_uid = container_of(listed, struct death, listed)->uid;
	}
	return sight;
}

bool peer_sees(const struct peer *peer, const struct sight *sight)
{
	if (sight->hidden)
		return false;
	if (is_bridge(peer))
		return sight->of_fleet || peer->broker->config.fleet.list_all;
	if (sight->kind == CTXD_SHARED)
		return may_by_mode(peer, sight->uid, sight->gid, sight->mode, RIGHT_SEE);
	return is_same_user(peer, sight->uid) || is_same_user(peer, sight->also_uid);
}
