/* SPDX-License-Identifier: MIT */
/* What a client asks for to join a shared context: JOIN, REJOIN, ATTACH, LEAVE. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"

static int find_wanted_share(struct peer *peer, const struct wire_join *wanted, struct share **ret_share)
{
	if (!wire_id_is_none(wanted->id))
		return share_find(peer, wanted->id, RIGHT_SEE, ret_share);
	uid_t uid = wanted->uid == UINT32_MAX ? peer->identity.uid : wanted->uid;
	struct share *share = share_of_name(peer->broker, uid, wanted->name);
	if (!share || !may_use_share(peer, share, RIGHT_SEE))
		return -ENOENT;
	*ret_share = share;
	return 0;
}

unsigned fill_joined(const struct share *share, bool is_remote, struct wire_joined *joined,
		     int fds[WIRE_FDS_MAX])
{
	bool is_live_mirror = share->remote && share->owner;

	*joined = (struct wire_joined){
		.id = share_id(share),
		.deadline_ns = share->deadline_ns,
		.ctx_id = share->ctx_id,
		.owner_pid = share->pid,
		/* A mirror belongs to who asked for it, and is owned by the bridge. */
		.owner_uid = is_live_mirror ? share->owner->identity.uid : share->uid,
		.flags = (share->movable ? WIRE_MOVABLE : 0) | (is_remote ? WIRE_REMOTE : 0),
		.ended = share->ended_ns != 0,
	};
	if (share->ended_ns)
		wire_cause_from(&share->cause, share->cause.error == -ETIME ? -ETIME : -ECANCELED,
				&joined->cause);
	memcpy(joined->label, share->label, sizeof(joined->label));
	if (share->ended_ns)
		return 0;
	fds[0] = share->pipe_fd;
	fds[1] = share->owner->identity.pidfd;
	return is_remote ? 1 : 2;
}

int handle_join(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_JOINED, .serial = message->serial};
	struct share *share = NULL;
	struct join *join = NULL;
	int error = find_wanted_share(peer, &message->join, &share);
	int fds[WIRE_FDS_MAX];

	if (!error && !share->ended_ns)
		error = share->unclaimed ? -ENOENT : join_new(peer, share, now_ns, &join);
	if (error) {
		peer_result(peer, message->serial, error, (struct ctxd_id){0});
		return 0;
	}
	unsigned fd_count = fill_joined(share, false, &answer.joined, fds);
	return peer_send(peer, &answer, fds, fd_count);
}

/*
 * Joins again after a restart of the service. The pipe tells which context it was, also if its owner has not
 * come back yet: then an unclaimed share is made, which the owner claims by the same pipe. The bridge joins
 * for other hosts, so what it makes is charged to the owner.
 */
static int rejoin_pipe(struct peer *peer, const struct wire_rejoin *from, int *pipe_fd,
		       const struct stat *pipe, uint64_t now_ns, struct join **ret_join)
{
	struct broker *broker = peer->broker;
	struct share *share = share_of_pipe(broker, pipe);

	if (share && !share->unclaimed && !is_joined_by_pipe(share) && !may_use_share(peer, share, RIGHT_SEE))
		return -ENOENT;
	if (!share) {
		uid_t payer = is_bridge(peer) ? pipe->st_uid : peer->identity.uid;
		share = share_new(broker, pipe->st_uid, payer, *pipe_fd, pipe, share_run, now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
		share->unclaimed = true;
		list_append(&broker->unclaimed, &share->link);
		share->deadline_ns = from->deadline_ns;
		memcpy(share->label, from->label, sizeof(share->label));
	}
	int error = join_new(peer, share, now_ns, ret_join);
	if (error) {
		if (share->unclaimed && !share->join_count)
			share_free(share);
		return error;
	}
	join_set_context(*ret_join, from->ctx_id);
	(*ret_join)->deadline_ns = from->deadline_ns;
	return 0;
}

int handle_rejoin(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	struct join *join = NULL;
	struct stat pipe;
	int error = -EPROTO;
	bool is_pipe = given_done_pipe(peer, pipe_fd, false, &pipe);

	if (is_pipe)
		error = rejoin_pipe(peer, &message->rejoin, &pipe_fd, &pipe, now_ns, &join);
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, join ? share_id(join->share) : (struct ctxd_id){0});
	/* This message follows the answer with the id, since the client knows the join by that. */
	if (join)
		join_tell(join);
	return 0;
}

int handle_attach(struct peer *peer, const struct wire_attach *attach)
{
	struct join *join = join_find_context(peer, attach->id, 0);

	if (join)
		join_set_context(join, attach->ctx_id);
	return 0;
}

int handle_leave(struct peer *peer, const struct wire_attach *left)
{
	struct join *join = join_find_context(peer, left->id, left->ctx_id);

	if (!join) /* The client left before it sent ATTACH. */
		join = join_find_context(peer, left->id, 0);
	if (join)
		join_free(join);
	return 0;
}
