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
 * In a user namespace the kernel shows users and groups that have no number there as the overflow uid and
 * gid, see overflow.h. Two with the overflow uid are not the same user.
 */
#include "parts.h"

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
	if (peer->identity.uid == 0)
		return true;
	return peer->broker->config.cancel == CONFIG_CANCEL_OWNER &&
	       is_own_user(peer, publisher->identity.uid);
}
