/* SPDX-License-Identifier: MIT */
/* What a client asks for as the owner of a shared context: SHARE, UNSHARE, MOVE, ENDED. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"

/*
 * 0 and what it stands below; -EPROTO: an id that was never given; -EMLINK: too deep. NULL: nothing, or
 * nothing that is known any more: it may have been withdrawn without a word to who joined.
 */
static int find_parent(struct peer *peer, struct ctxd_id id, struct share **ret_parent)
{
	struct broker *broker = peer->broker;

	*ret_parent = NULL;
	if (wire_id_is_none(id))
		return 0;
	if (id.epoch != broker->epoch || !id.number || id.number > broker->last_number)
		return -EPROTO;
	struct join *join = join_find(peer, id);
	if (!join || join->share->hidden)
		return 0;
	*ret_parent = join->share;
	return join->share->depth >= broker->config.depth_max ? -EMLINK : 0;
}

/*
 * -EPROTO: share is the one of that id or stands above it, which only who lies says of what is not claimed
 * yet: what is joined was there before what is shared below it. -EMLINK: the chain is longer than any may be,
 * and has not been counted anew yet.
 */
static int check_above(struct broker *broker, const struct share *share, struct ctxd_id id)
{
	for (unsigned steps = 0; !wire_id_is_none(id); steps++) {
		const struct share *other = share_of_number(broker, id.number);
		if (!other)
			return 0;
		if (other == share)
			return -EPROTO;
		if (steps > broker->config.depth_max)
			return -EMLINK;
		broker->work += WORK_STEP;
		id = other->parent;
	}
	return 0;
}

/* What was known from those who joined becomes its owner's again. */
static void claim_share(struct share *share)
{
	share->unclaimed = false;
	share_count_depths(share);
	job_begin(share->broker, &share->broker->count_depths);
	listed_event(share->broker, &share->listed, CTXD_EVENT_ADDED);
	share_visit(share);
}

/* 0 and the id; or what the client is answered. */
static int share_pipe(struct peer *peer, const struct wire_share *from, int *pipe_fd, const struct stat *pipe,
		      uint64_t now_ns, struct ctxd_id *ret_id)
{
	struct broker *broker = peer->broker;
	struct share *share = share_of_pipe(broker, pipe);
	struct share *parent;
	int error = find_parent(peer, from->parent, &parent);

	if (error)
		return error;
	if (share && (!share->unclaimed || !is_own_user(peer, share->uid)))
		return -EEXIST;
	if (share && parent && (error = check_above(broker, share, from->parent)) != 0)
		return error;
	if (from->name[0] && !is_own_user(peer, peer->identity.uid))
		return -EPERM; /* it would be a name that many users give */
	if (from->name[0] && share_of_name(broker, peer->identity.uid, from->name))
		return -EEXIST;
	if (peer->identity.pidfd < 0)
		return -ESRCH; /* nobody could tell when it dies */
	if (!share) {
		share = share_new(peer, peer->identity.uid, *pipe_fd, pipe, share_run, now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
		share_set_owner(share, peer, from, parent);
		listed_event(broker, &share->listed, CTXD_EVENT_ADDED);
	} else if (!share_charge_to(share, peer)) {
		return -EDQUOT;
	} else {
		share_set_owner(share, peer, from, parent);
		claim_share(share);
	}
	*ret_id = share_id(share);
	return 0;
}

int handle_share(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	struct ctxd_id id = {0};
	struct stat pipe;
	int error = -EPROTO;
	bool is_pipe = given_done_pipe(peer, pipe_fd, true, &pipe);

	if (is_pipe)
		error = share_pipe(peer, &message->share, &pipe_fd, &pipe, now_ns, &id);
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, id);
	return 0;
}

/* One that peer shares. */
static struct share *find_owned_share(struct peer *peer, struct ctxd_id id)
{
	struct share *share =
		id.epoch == peer->broker->epoch ? share_of_number(peer->broker, id.number) : NULL;

	return share && share->owner == peer ? share : NULL;
}

int handle_unshare(struct peer *peer, const struct wire_message *message)
{
	struct share *share = find_owned_share(peer, message->id);

	peer_result(peer, message->serial, share ? 0 : -ENOENT, (struct ctxd_id){0});
	if (share)
		share_free(share);
	return 0;
}

int handle_move(struct peer *peer, const struct wire_move *move)
{
	struct share *share = find_owned_share(peer, move->id);

	if (!share)
		return 0; /* its end and this met on the way */
	share->deadline_ns = move->deadline_ns;
	listed_event(peer->broker, &share->listed, CTXD_EVENT_MOVED);
	share_visit(share);
	return 0;
}

int handle_ended(struct peer *peer, const struct wire_ended *ended, uint64_t now_ns)
{
	struct share *share = find_owned_share(peer, ended->id);
	struct ctx_cause cause;

	if (!share)
		return 0;
	wire_cause_to(&ended->cause, &cause);
	share_end(share, &cause, now_ns);
	return 0;
}
