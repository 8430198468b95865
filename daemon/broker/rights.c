/* SPDX-License-Identifier: MIT */
/*
 * Who may see what, and who may cancel what. This is the whole rule.
 *
 * Root may do everything.
 *
 * A shared context has an owner, a group and a mode, as a file has. One class decides, the first that fits:
 * the user of the owner, the group, all others. Bit 4 of that class is the right to see and to join, bit 2
 * the right to cancel.
 *
 * A request can also name any context of a process, shared or not, by its id in the context table of the
 * process. If the context is shared and its mode gives the right to cancel, all who joined it are told, as
 * when the shared context was named. Otherwise only that process is told. Then the user of the request must
 * be that of the process; with "cancel = root" in the configuration, that is not enough, and only root may.
 * So by default no mode protects a context from the user whose process it belongs to.
 *
 * Processes, tables and the dead are seen by their own user only. A join is seen by its own user and by that
 * of the owner of what was joined.
 *
 * Other hosts of a fleet join what was shared for the fleet by its id with a secret, whatever the mode; so
 * does a local client that has that id. Who has the pipe of such a context, or of a mirror, may join it
 * again. A mirror of a context of another host has the mode 0600 and belongs to the user that asked for it.
 *
 * The bridge acts for other hosts and has none of the rights of its user. It sees what was shared for the
 * fleet, mirrors, and who joined either, and may cancel these; with "fleet_list = all" it sees everything.
 * Root, the user of the service and "fleet_bridge_user" may be the bridge. Anybody may ask for the hosts and
 * the engine of the fleet, and ask other hosts for a cancel: they decide by who asks. Since a list shows what
 * belongs to other users, only root may ask for that, or anybody with "fleet_list = all".
 *
 * In a user namespace the kernel shows users and groups that have no number there as the overflow uid and
 * gid, see overflow.h. Two with the overflow uid are not the same user.
 */
#include "parts.h"

bool is_bridge(const struct peer *peer)
{
	return peer->broker->bridge == peer;
}

bool may_be_bridge(const struct peer *peer)
{
	const struct broker *broker = peer->broker;

	return peer->identity.uid == 0 || is_own_user(peer, broker->own_uid) ||
	       (broker->config.fleet.bridge_uid != UINT32_MAX &&
		is_own_user(peer, broker->config.fleet.bridge_uid));
}

bool may_list_fleet(const struct peer *peer)
{
	return peer->identity.uid == 0 || peer->broker->config.fleet.list_all;
}

bool is_joined_by_pipe(const struct share *share)
{
	return share->secret || share->remote;
}

static bool in_group(const struct identity *identity, gid_t gid)
{
	unsigned from = 0, to = identity->group_count;

	if (identity->gid == gid)
		return true;
	while (from < to) {
		unsigned middle = from + (to - from) / 2;
		if (identity->groups[middle] == gid)
			return true;
		if (identity->groups[middle] < gid)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}

/*
 * As for a file, one class decides. A peer with the overflow uid or gid may be of the class of that number or
 * not, so it has only the rights that both classes give.
 */
bool may_by_mode(const struct peer *peer, uid_t uid, gid_t gid, uint32_t mode, enum right right)
{
	const struct identity *identity = &peer->identity;
	uint32_t bits = mode;

	if (identity->uid == 0)
		return true;
	if (is_own_user(peer, uid)) {
		bits = mode >> 6;
	} else {
		if (in_group(identity, gid))
			bits = gid == peer->broker->anybody_gid ? bits & bits >> 3 : bits >> 3;
		if (identity->uid == uid)
			bits &= mode >> 6;
	}
	return (bits & right) == (uint32_t)right;
}

bool may_use_share(const struct peer *peer, const struct share *share, enum right right)
{
	if (is_bridge(peer))
		return share->secret || share->remote ||
		       (right == RIGHT_SEE && peer->broker->config.fleet.list_all);
	return may_by_mode(peer, share->uid, share->gid, share->mode, right);
}

bool is_own_user(const struct peer *peer, uid_t uid)
{
	return peer->identity.uid == uid && uid != peer->broker->anybody_uid;
}

bool is_same_user(const struct peer *peer, uid_t uid)
{
	return peer->identity.uid == 0 || is_own_user(peer, uid);
}

bool may_cancel_by_table(const struct peer *peer, const struct peer *publisher)
{
	if (is_bridge(peer))
		return false;
	if (peer->identity.uid == 0)
		return true;
	return peer->broker->config.cancel == CONFIG_CANCEL_OWNER &&
	       is_own_user(peer, publisher->identity.uid);
}
