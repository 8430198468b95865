/* SPDX-License-Identifier: MIT */
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
 * As for a file: the first class that fits decides alone. Who is shown by a number that many have may be of
 * that class or not, and has the rights that both ways give.
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

bool may_cancel_by_table(const struct peer *peer, const struct peer *owner)
{
	if (peer->identity.uid == 0)
		return true;
	return peer->broker->config.cancel == CONFIG_CANCEL_OWNER && is_own_user(peer, owner->identity.uid);
}
