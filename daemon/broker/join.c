/* SPDX-License-Identifier: MIT */
/*
 * Joins: which client has joined which shared context, which id it has in the client's own table, and which
 * deadline the client was told.
 */
#include <errno.h>
#include <stdlib.h>

#include "parts.h"

/* ---- finding */

/* The key of a join of peer, for both maps of joins. */
static uint64_t peer_key(const struct peer *peer, uint64_t number, uint64_t ctx_id)
{
	uint64_t all[] = {(uintptr_t)peer, number, ctx_id};

	return hash_bytes(all, sizeof(all));
}

struct join *join_find(struct peer *peer, struct ctxd_id id)
{
	struct broker *broker = peer->broker;
	struct map_node *node = id.epoch == broker->epoch
					? map_find(&broker->joins_by_share, peer_key(peer, id.number, 0))
					: NULL;

	return node ? container_of(node, struct join, by_share) : NULL;
}

struct join *join_find_context(struct peer *peer, struct ctxd_id id, uint64_t ctx_id)
{
	struct broker *broker = peer->broker;
	struct map_node *node = id.epoch == broker->epoch ? map_find(&broker->joins_by_context,
								     peer_key(peer, id.number, ctx_id))
							  : NULL;

	return node ? container_of(node, struct join, by_context) : NULL;
}

void join_set_context(struct join *join, uint64_t ctx_id)
{
	struct map *map = &join->share->broker->joins_by_context;

	map_remove(map, &join->by_context);
	join->ctx_id = ctx_id;
	map_add(map, &join->by_context, peer_key(join->peer, join->share->number, ctx_id));
}

/* ---- making and freeing */

/*
 * What the bridge joins for other hosts is the matter of the user who shared it. A context of another host
 * counts apart from those of this host.
 */
static enum quota quota_of(const struct peer *peer, const struct share *share)
{
	if (is_bridge(peer))
		return QUOTA_REMOTE_CONTEXTS;
	return share->remote ? QUOTA_REMOTE_JOINS : QUOTA_JOINS;
}

struct join *join_alloc(struct peer *peer, struct share *share)
{
	struct broker *broker = peer->broker;
	struct join *join = calloc(1, sizeof(*join));

	if (!join)
		return NULL;
	join->share = share;
	join->peer = peer;
	join->quota = quota_of(peer, share);
	join->account = account_ref(&broker->accounts, is_bridge(peer) ? share->uid : peer->identity.uid);
	if (join->account)
		return join;
	free(join);
	return NULL;
}

void join_free_memory(struct join *join)
{
	if (!join)
		return;
	account_unref(&join->share->broker->accounts, join->account);
	free(join);
}

void join_add(struct join *join, uint64_t now_ns)
{
	struct peer *peer = join->peer;
	struct share *share = join->share;
	struct broker *broker = peer->broker;

	join->created_ns = now_ns;
	join->deadline_ns = share->deadline_ns;
	share->join_count++;
	share->bridge_join_count += join_is_of_bridge(join);
	list_append(&share->joins, &join->of_share);
	list_append(&peer->joins, &join->of_peer);
	list_init(&join->of_moved);
	map_add(&broker->joins_by_share, &join->by_share, peer_key(peer, share->number, 0));
	map_add(&broker->joins_by_context, &join->by_context, peer_key(peer, share->number, 0));
	listed_add(broker, &join->listed, CTXD_JOINED);
	listed_event(broker, &join->listed, CTXD_EVENT_ADDED);
}

int join_new(struct peer *peer, struct share *share, uint64_t now_ns, struct join **ret_join)
{
	struct join *join = join_alloc(peer, share);

	if (!join)
		return -ENOMEM;
	if (!account_charge(&peer->broker->accounts, join->account, join->quota, 1)) {
		join_free_memory(join);
		return -EDQUOT;
	}
	join_add(join, now_ns);
	*ret_join = join;
	return 0;
}

void join_charge_remote(struct join *join)
{
	struct broker *broker = join->share->broker;

	if (!join->share->remote || join->quota != QUOTA_JOINS ||
	    !account_charge(&broker->accounts, join->account, QUOTA_REMOTE_JOINS, 1))
		return;
	account_return(join->account, QUOTA_JOINS, 1);
	join->quota = QUOTA_REMOTE_JOINS;
}

bool join_is_of_bridge(const struct join *join)
{
	return join->quota == QUOTA_REMOTE_CONTEXTS;
}

void join_free(struct join *join)
{
	struct share *share = join->share;
	struct broker *broker = share->broker;

	listed_event(broker, &join->listed, CTXD_EVENT_REMOVED);
	listed_remove(broker, &join->listed);
	map_remove(&broker->joins_by_share, &join->by_share);
	map_remove(&broker->joins_by_context, &join->by_context);
	list_remove(&join->of_share);
	list_remove(&join->of_peer);
	list_remove(&join->of_moved);
	share->join_count--;
	share->bridge_join_count -= join_is_of_bridge(join);
	if (share->joins_left > share->join_count)
		share->joins_left = share->join_count;
	account_return(join->account, join->quota, 1);
	join_free_memory(join);
	if (share->hidden)
		job_queue(broker, &share->job);
	else if (share->unclaimed && !share->join_count)
		share_free(share);
	else if (share->remote)
		remote_check_wanted(share->remote);
}

/* ---- deadlines that moved, and shares that were withdrawn */

bool join_owes_withdrawal(const struct join *join)
{
	return join->share->withdrawn && !join->is_withdrawal_told && join_is_of_bridge(join);
}

/*
 * Whether the client is to be told something. A share that is unclaimed has none that can be relied on, and
 * that of an ended one does not matter.
 */
static bool has_news(const struct join *join)
{
	const struct share *share = join->share;

	if (join_owes_withdrawal(join))
		return true;
	return !share->unclaimed && !share->ended_ns && join->deadline_ns != share->deadline_ns;
}

void join_tell(struct join *join)
{
	struct peer *peer = join->peer;

	if (!has_news(join) || !list_empty(&join->of_moved))
		return;
	list_append(&peer->moved, &join->of_moved);
	job_queue(peer->broker, &peer->job);
}

int join_tell_next(struct peer *peer)
{
	struct join *join = container_of(peer->moved.next, struct join, of_moved);
	const struct share *share = join->share;
	struct wire_message message = {.type = WIRE_MOVED,
				       .move = {.id = share_id(share), .deadline_ns = share->deadline_ns}};
	bool is_withdrawal = join_owes_withdrawal(join);

	if (is_withdrawal)
		message = (struct wire_message){.type = WIRE_UNSHARED, .id = share_id(share)};
	if (has_news(join) && peer_offer(peer, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	join->deadline_ns = share->deadline_ns;
	join->is_withdrawal_told |= is_withdrawal;
	list_remove(&join->of_moved);
	if (is_withdrawal && share->hidden)
		join_free(join);
	return 0;
}
