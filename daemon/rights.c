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

/* As for a file: the first class that fits decides alone. */
bool may(const struct peer *peer, const struct share *share, enum right right)
{
	const struct identity *identity = &peer->identity;
	uint32_t bits;

	if (identity->uid == 0)
		return true;
	if (identity->uid == share->uid)
		bits = share->mode >> 6;
	else if (in_group(identity, share->gid))
		bits = share->mode >> 3;
	else
		bits = share->mode;
	return (bits & right) == (uint32_t)right;
}

bool is_same_user(const struct peer *peer, uid_t uid)
{
	return peer->identity.uid == 0 || peer->identity.uid == uid;
}

bool may_cancel_unshared(const struct peer *peer, const struct peer *owner)
{
	if (peer->identity.uid == 0)
		return true;
	return peer->broker->config.cancel == CONFIG_CANCEL_OWNER &&
	       peer->identity.uid == owner->identity.uid;
}
