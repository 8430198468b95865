/* SPDX-License-Identifier: MIT */
#include "parts.h"

static bool in_group(const struct identity *identity, gid_t gid)
{
	if (identity->gid == gid)
		return true;
	for (unsigned i = 0; i < identity->group_count; i++)
		if (identity->groups[i] == gid)
			return true;
	return false;
}

/*
 * As for a file: the first class that fits decides alone. Who is shown by a number that many have may be of
 * that class or not, and has the rights that both ways give.
 */
bool may(const struct peer *peer, const struct share *share, enum right right)
{
	const struct identity *identity = &peer->identity;
	uint32_t bits = share->mode;

	if (identity->uid == 0)
		return true;
	if (is_own_user(peer, share->uid)) {
		bits = share->mode >> 6;
	} else {
		if (in_group(identity, share->gid))
			bits = share->gid == peer->broker->anybody_gid ? bits & bits >> 3 : bits >> 3;
		if (identity->uid == share->uid)
			bits &= share->mode >> 6;
	}
	return (bits & right) == (uint32_t)right;
}

bool is_own_user(const struct peer *peer, uid_t uid)
{
	return peer->identity.uid == uid && uid != peer->broker->anybody_uid;
}

bool is_same_user(const struct peer *peer, uid_t uid)
{
	return peer->identity.uid == 0 || is_own_user(peer, uid);
}

bool may_cancel_unshared(const struct peer *peer, const struct peer *owner)
{
	if (peer->identity.uid == 0)
		return true;
	return peer->broker->config.cancel == CONFIG_CANCEL_OWNER && is_own_user(peer, owner->identity.uid);
}
