/* SPDX-License-Identifier: MIT */
/* What a client asks for as the owner of a shared context: SHARE, UNSHARE, MOVE, ENDED. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"
#include "sys.h"

/*
 * Finds the share that id stands for, which is to be above a new one. 0; -EPROTO: such an id was never given;
 * -EMLINK: a share below that would be too deep. *ret_parent is NULL if there is no id, or if the client has
 * no such join any more: the share may have been freed without a message to those who joined.
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
 * Checks an unclaimed share that its owner claims, with id as its parent. -EPROTO: the chain of parents that
 * begins at id contains share itself, so the client lies, for what it joined was there before what it shares
 * below. -EMLINK: the chain is longer than depth allows; the depths below an unclaimed share are counted
 * later, so it can be.
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

void share_claim(struct share *share)
{
	share->unclaimed = share->withdrawn = false;
	share_recount_depths(share);
	job_begin(share->broker, &share->broker->count_depths);
	listed_event(share->broker, &share->listed, CTXD_EVENT_ADDED);
	share_visit(share);
}

/*
 * A number that nobody can guess, with which other hosts may join, if the share is for the fleet. Else 0. It
 * is never told but to the owner. 0; -ENOTSUP: there is no fleet; or why there is no randomness.
 */
static int make_secret(const struct broker *broker, uint32_t flags, uint64_t *ret_secret)
{
	*ret_secret = 0;
	if (!(flags & WIRE_FLEET))
		return 0;
	if (!has_fleet(broker))
		return -ENOTSUP;
	while (!*ret_secret) {
		int size = sys_random(ret_secret, sizeof(*ret_secret));
		if (size != (int)sizeof(*ret_secret))
			return size < 0 ? size : -EAGAIN;
	}
	return 0;
}

/* 0 and the share, or the error that the client is answered. */
static int share_pipe(struct peer *peer, const struct wire_share *from, int *pipe_fd, const struct stat *pipe,
		      uint64_t now_ns, struct share **ret_share)
{
	struct broker *broker = peer->broker;
	struct share *share = share_of_pipe(broker, pipe);
	struct share *parent;
	uint64_t secret;
	int error = find_parent(peer, from->parent, &parent);

	if (!error)
		error = make_secret(broker, from->flags, &secret);
	if (error)
		return error;
	if (share && (!share->unclaimed || !is_own_user(peer, share->uid)))
		return -EEXIST;
	if (share && parent && (error = check_above(broker, share, from->parent)) != 0)
		return error;
	if (from->name[0] && !is_own_user(peer, peer->identity.uid))
		/*
		 * A peer with the overflow uid: other users may have that number, so the name would not be
		 * its own.
		 */
		return -EPERM;
	if (from->name[0] && share_of_name(broker, peer->identity.uid, from->name))
		return -EEXIST;
	if (peer->identity.pidfd < 0)
		return -ESRCH; /* Without a pidfd nobody who joins could tell when the owner dies. */
	if (!share) {
		share = share_new(broker, peer->identity.uid, peer->identity.uid, *pipe_fd, pipe, share_run,
				  now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
		share_set_owner(share, peer, from, parent);
		share->secret = secret;
		listed_event(broker, &share->listed, CTXD_EVENT_ADDED);
	} else if (!share_charge_to(share, peer->identity.uid)) {
		return -EDQUOT;
	} else {
		share_set_owner(share, peer, from, parent);
		share->secret = secret;
		share_claim(share);
	}
	*ret_share = share;
	return 0;
}

int handle_share(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_SHARED, .serial = message->serial};
	struct share *share = NULL;
	struct stat pipe;
	int error = -EPROTO;
	bool is_pipe = given_done_pipe(peer, pipe_fd, true, &pipe);

	if (is_pipe)
		error = share_pipe(peer, &message->share, &pipe_fd, &pipe, now_ns, &share);
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	if (!error && share->secret) {
		answer.shared = (struct wire_shared){.id = share_id(share), .secret = share->secret};
		return peer_send(peer, &answer, NULL, 0);
	}
	peer_result(peer, message->serial, error, error ? (struct ctxd_id){0} : share_id(share));
	return 0;
}

/* The share of that id, if peer is its owner. */
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
		return 0; /* The share has ended, and that message met this one on its way. */
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
