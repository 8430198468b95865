/* SPDX-License-Identifier: MIT */
/*
 * JOIN_GLOBAL, and MIRROR of the bridge. Who has a global id may join: its secret takes the place of the
 * mode. A context of this host is joined at once. One of another host is joined when the bridge has made a
 * mirror of it; until then the client waits, also while there is no bridge.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"

/* How long a mirror that was registered again waits for who had joined it before the service was started. */
#define UNJOINED_NS 30000000000ull

/* A client waits until the answer of the bridge is known. It is charged as the join that comes of it. */
struct wait {
	struct pending pending;
	struct list of_remote; /* In remote->waits, or linked to itself. */
	struct map_node by_serial;
	struct remote *remote;
};

/* ---- who waits */

static uint64_t wait_key(const struct peer *peer, uint64_t serial)
{
	uint64_t all[] = {(uintptr_t)peer, serial};

	return hash_bytes(all, sizeof(all));
}

/* NULL: the client does not wait for such an answer. */
static struct wait *wait_find(const struct peer *peer, uint64_t serial)
{
	struct map_node *node = map_find(&peer->broker->waits_by_serial, wait_key(peer, serial));

	for (; node; node = map_older(node)) {
		struct wait *wait = container_of(node, struct wait, by_serial);
		if (wait->pending.peer == peer && wait->pending.serial == serial)
			return wait;
	}
	return NULL;
}

/* Frees the wait. Its charge is returned, or stays for the FETCH until the bridge is told to forget that. */
static void wait_free(struct wait *wait, bool is_joined)
{
	struct remote *remote = wait->remote;

	map_remove(&remote->broker->waits_by_serial, &wait->by_serial);
	pending_remove(&wait->pending);
	list_remove(&wait->of_remote);
	remote->wait_count--;
	if (!remote->wait_count && remote->asked) {
		remote->is_charged = true;
		remote_ref(remote);
		note_add(remote->broker, &remote->note);
	} else if (!is_joined) {
		account_return(remote->account, QUOTA_REMOTE_JOINS, 1);
	}
	free(wait);
	remote_check_wanted(remote);
	remote_unref(remote);
}

static void forget_wait(struct pending *pending)
{
	wait_free(container_of(pending, struct wait, pending), false);
}

/* Nobody waited for that FETCH any more, and it is over. */
static void remote_uncharge(struct remote *remote)
{
	if (!remote->is_charged)
		return;
	remote->is_charged = false;
	account_return(remote->account, QUOTA_REMOTE_JOINS, 1);
	remote_unref(remote);
}

/* The job of a remote: the answer is known, so those who wait for it are ready. */
static bool ready_waits(struct job *job)
{
	struct remote *remote = container_of(job, struct remote, job);
	struct broker *broker = remote->broker;

	for (; !list_empty(&remote->waits) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct wait *wait = container_of(remote->waits.next, struct wait, of_remote);
		list_remove(&wait->of_remote);
		pending_ready(&wait->pending);
	}
	return !list_empty(&remote->waits);
}

/* ---- what the bridge is told */

static int send_fetch(struct remote *remote, struct peer *bridge)
{
	struct wire_message message = {
		.type = WIRE_FETCH,
		.serial = remote->fetch,
		.fetch = {.global = remote->global, .flags = remote->flags, .uid = remote->uid},
	};

	if (peer_offer(bridge, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	remote->asked = bridge->bridge;
	list_append(&bridge->bridge->fetched, &remote->link);
	map_add(&remote->broker->remotes_by_fetch, &remote->by_fetch, remote->fetch);
	return 0;
}

static int send_unwanted(struct remote *remote, struct peer *bridge)
{
	struct share *mirror = remote->mirror;
	struct wire_message message = {.type = WIRE_UNWANTED, .id = share_id(mirror)};

	if (mirror->owner != bridge || mirror->join_count || remote->wait_count)
		return 0;
	if (peer_offer(bridge, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	share_free(mirror);
	return 0;
}

/* Takes a FETCH back. */
static int send_fetch_unwanted(struct remote *remote, struct peer *bridge)
{
	struct wire_message message = {.type = WIRE_UNWANTED, .serial = remote->fetch};

	if (remote->asked != bridge->bridge || remote->wait_count)
		return 0;
	if (peer_offer(bridge, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	remote_unask(remote);
	remote_uncharge(remote);
	return 0;
}

/* The note of a remote is the FETCH until the bridge was asked, and then UNWANTED. */
static int send_remote_note(struct note *note, struct peer *bridge)
{
	struct remote *remote = container_of(note, struct remote, note);

	if (remote->asked)
		return send_fetch_unwanted(remote, bridge);
	return remote->mirror ? send_unwanted(remote, bridge) : send_fetch(remote, bridge);
}

bool fetches_bridge_gone(struct broker *broker, struct bridge *bridge)
{
	for (; !list_empty(&bridge->fetched) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct remote *remote = container_of(bridge->fetched.next, struct remote, link);
		remote_unask(remote);
		if (remote->wait_count)
			note_add(broker, &remote->note);
		else
			remote_uncharge(remote);
	}
	return list_empty(&bridge->fetched);
}

/* ---- waiting for a context of another host */

/* The one that has a mirror, or for which the bridge has been or will be asked. NULL: no memory. */
static struct remote *find_or_fetch(struct broker *broker, const struct wire_global *global, uint32_t flags,
				    const struct identity *identity)
{
	struct remote *remote = remote_find(broker, global, flags, identity->uid);

	if (remote) {
		remote_ref(remote);
		return remote;
	}
	remote = remote_new(broker, global, flags, identity->uid, identity->gid, send_remote_note,
			    ready_waits);
	if (remote)
		note_add(broker, &remote->note);
	return remote;
}

/* The wait has a charge and a reference of its own. */
static void wait_for(struct wait *wait, struct remote *remote)
{
	wait->remote = remote;
	remote->wait_count++;
	list_init(&wait->of_remote);
	if (remote->mirror)
		pending_ready(&wait->pending);
	else
		list_append(&remote->waits, &wait->of_remote);
	if (remote->is_charged)
		remote_uncharge(remote);
}

/*
 * The mirror was lost before the client was told of it, since its bridge is gone: waits for another one. 0,
 * or -ENOMEM.
 */
static int wait_again(struct wait *wait)
{
	struct remote *before = wait->remote;
	struct remote *remote =
		find_or_fetch(before->broker, &before->global, before->flags, &wait->pending.peer->identity);

	if (!remote)
		return -ENOMEM;
	before->broker->work += WORK_ITEM;
	list_remove(&wait->pending.ready);
	before->wait_count--;
	remote_unref(before);
	wait_for(wait, remote);
	return 0;
}

/* Sends the answer. -EAGAIN: it does not fit. */
static int answer_wait(struct pending *pending)
{
	struct wait *wait = container_of(pending, struct wait, pending);
	struct remote *remote = wait->remote;
	struct share *mirror = remote->mirror;
	struct wire_message answer = {.type = WIRE_JOINED, .serial = pending->serial};
	struct join *join = NULL;
	int error = remote->error, fds[WIRE_FDS_MAX] = {0};
	unsigned fd_count = 0;

	if (!error && !mirror && !remote->ended) {
		error = wait_again(wait);
		if (!error)
			return 0;
	} else if (!error && mirror && !mirror->ended_ns) {
		join = join_alloc(pending->peer, mirror);
		error = join ? 0 : -ENOMEM;
	}
	if (error) {
		answer.type = WIRE_RESULT;
		answer.result = (struct wire_result){.error = error};
	} else if (mirror) {
		fd_count = fill_joined(mirror, true, &answer.joined, fds);
	} else {
		answer.joined = *remote->ended;
	}
	if (peer_offer(pending->peer, &answer, fds, fd_count) == -EAGAIN) {
		join_free_memory(join);
		return -EAGAIN;
	}
	if (join)
		join_add(join, remote->broker->now_ns);
	wait_free(wait, join != NULL);
	return 0;
}

static int wait_new(struct peer *peer, uint64_t serial, const struct wire_join_global *wanted)
{
	struct broker *broker = peer->broker;

	if (!account_charge(&broker->accounts, peer->account, QUOTA_REMOTE_JOINS, 1))
		return -EDQUOT;
	struct wait *wait = calloc(1, sizeof(*wait));
	struct remote *remote =
		wait ? find_or_fetch(broker, &wanted->global, wanted->flags, &peer->identity) : NULL;
	if (!remote) {
		account_return(peer->account, QUOTA_REMOTE_JOINS, 1);
		free(wait);
		return -ENOMEM;
	}
	pending_init(&wait->pending, peer, serial);
	wait->pending.send = answer_wait;
	wait->pending.forget = forget_wait;
	map_add(&broker->waits_by_serial, &wait->by_serial, wait_key(peer, serial));
	wait_for(wait, remote);
	return 0;
}

/* ---- JOIN_GLOBAL */

/*
 * Finds a context of this host. What is not there, and what has another secret, cannot be told apart, and the
 * comparison takes as long wherever the secrets differ.
 */
static int find_by_secret(struct broker *broker, const struct wire_global *global, struct share **ret_share)
{
	if (global->id.epoch != broker->epoch)
		return -ESTALE;
	struct share *share = share_of_number(broker, global->id.number);
	volatile uint64_t difference = (share ? share->secret : 0) ^ global->secret;
	if (difference || share->unclaimed)
		return -ENOENT;
	*ret_share = share;
	return 0;
}

static int join_here(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_JOINED, .serial = message->serial};
	struct share *share = NULL;
	struct join *join;
	int fds[WIRE_FDS_MAX];
	int error = find_by_secret(peer->broker, &message->join_global.global, &share);

	if (!error && !share->ended_ns)
		error = join_new(peer, share, now_ns, &join);
	if (error) {
		peer_result(peer, message->serial, error, (struct ctxd_id){0});
		return 0;
	}
	unsigned fd_count = fill_joined(share, false, &answer.joined, fds);
	return peer_send(peer, &answer, fds, fd_count);
}

int handle_join_global(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	const struct wire_join_global *wanted = &message->join_global;
	const struct broker *broker = peer->broker;
	int error;

	if (has_fleet(broker) && !strcmp(wanted->global.host, broker->config.fleet.host))
		return join_here(peer, message, now_ns);
	error = has_fleet(broker) && !is_bridge(peer) ? wait_new(peer, message->serial, wanted) : -ENOTSUP;
	if (error)
		peer_result(peer, message->serial, error, (struct ctxd_id){0});
	return 0;
}

int handle_withdraw(struct peer *peer, uint64_t serial)
{
	struct wait *wait = wait_find(peer, serial);

	if (wait)
		wait_free(wait, false);
	return 0;
}

/* ---- MIRROR */

/*
 * Makes the share the mirror of remote, or a new one of the pipe if share is NULL. 0; -EDQUOT, also without
 * memory.
 */
static int make_mirror(struct peer *bridge, const struct wire_mirror *from, struct remote *remote,
		       struct share *share, int *pipe_fd, const struct stat *pipe, uint64_t now_ns)
{
	struct broker *broker = bridge->broker;
	struct wire_share as = {
		.deadline_ns = from->deadline_ns, .mode = 0600, .flags = from->flags & WIRE_MOVABLE};
	bool is_claimed = share;

	memcpy(as.label, from->label, sizeof(as.label));
	if (share && !share_charge_to(share, remote->uid))
		return -EDQUOT;
	if (!share) {
		share = share_new(broker, remote->uid, remote->uid, *pipe_fd, pipe, share_run, now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
	}
	share_set_owner(share, bridge, &as, NULL);
	share_set_remote(share, remote);
	if (is_claimed)
		share_claim(share);
	else
		listed_event(broker, &share->listed, CTXD_EVENT_ADDED);
	return 0;
}

/* Keeps how the context ended, for those who wait. 0, or -ENOMEM. */
static int keep_end(struct remote *remote, const struct wire_mirror *from)
{
	struct wire_joined *ended = calloc(1, sizeof(*ended));

	if (!ended)
		return -ENOMEM;
	/* There is no share here, so the id is that of the owner's host. */
	*ended = (struct wire_joined){
		.id = from->global.id,
		.deadline_ns = from->deadline_ns,
		.flags = WIRE_REMOTE | (from->flags & WIRE_MOVABLE),
		.ended = 1,
		.cause = from->cause,
	};
	memcpy(ended->label, from->label, sizeof(ended->label));
	remote->ended = ended;
	return 0;
}

/* 0; -ENOENT: nobody waits for it any more; -EPROTO; or why there is no mirror. */
static int answer_fetch(struct peer *bridge, const struct wire_mirror *from, int *pipe_fd,
			const struct stat *pipe, uint64_t now_ns, struct ctxd_id *ret_id)
{
	struct broker *broker = bridge->broker;
	struct remote *remote = remote_of_fetch(broker, from->fetch);
	int error = from->error == -ECANCELED ? 0 : from->error;

	if (!remote || remote->asked != bridge->bridge)
		return from->error ? 0 : -ENOENT;
	if (remote->uid != from->uid || remote->flags != (from->flags & WIRE_SURVIVE) ||
	    !wire_id_equal(remote->global.id, from->global.id) ||
	    remote->global.secret != from->global.secret ||
	    strcmp(remote->global.host, from->global.host) != 0)
		return -EPROTO;
	remote_unask(remote);
	if (!remote->wait_count) {
		remote_uncharge(remote);
		return from->error ? 0 : -ENOENT;
	}
	if (from->error == -ECANCELED)
		error = keep_end(remote, from);
	else if (!error && share_of_pipe(broker, pipe))
		error = -EEXIST;
	else if (!error)
		error = make_mirror(bridge, from, remote, NULL, pipe_fd, pipe, now_ns);
	remote->error = error;
	if (remote->mirror)
		*ret_id = share_id(remote->mirror);
	else
		remote_forget(remote);
	job_begin(broker, &remote->job);
	return from->error ? 0 : error;
}

/*
 * The service was started again, and the bridge has had that mirror before. Clients that have joined it again
 * already have made an unclaimed share of its pipe.
 */
static int register_again(struct peer *bridge, const struct wire_mirror *from, int *pipe_fd,
			  const struct stat *pipe, uint64_t now_ns, struct ctxd_id *ret_id)
{
	struct broker *broker = bridge->broker;
	uint32_t flags = from->flags & WIRE_SURVIVE;
	struct share *share = share_of_pipe(broker, pipe);
	struct remote *remote = remote_find(broker, &from->global, flags, from->uid);

	if (share && !share->unclaimed)
		return -EEXIST;
	if (remote && !remote->mirror)
		remote_ref(remote);
	else
		remote = remote_new(broker, &from->global, flags, from->uid, bridge->identity.gid,
				    send_remote_note, ready_waits);
	if (!remote)
		return -ENOMEM;
	int error = make_mirror(bridge, from, remote, share, pipe_fd, pipe, now_ns);
	if (!error) {
		/* The bridge need not be asked for it, or need not answer. */
		note_remove(broker, &remote->note);
		remote_unask(remote);
		*ret_id = share_id(remote->mirror);
		if (!remote->mirror->join_count && !remote->wait_count) {
			remote->since_ns = now_ns;
			list_append(&broker->unjoined, &remote->link);
		}
		job_begin(broker, &remote->job);
		remote_uncharge(remote);
	}
	remote_unref(remote);
	return error;
}

int handle_mirror(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	const struct wire_mirror *from = &message->mirror;
	struct ctxd_id id = {0};
	struct stat pipe = {0};
	bool is_pipe = pipe_fd >= 0 && given_done_pipe(peer, pipe_fd, true, &pipe) &&
		       pipe.st_uid == peer->identity.uid;
	int error = is_bridge(peer) && is_pipe == !from->error ? 0 : -EPROTO;

	if (!error && from->fetch)
		error = answer_fetch(peer, from, &pipe_fd, &pipe, now_ns, &id);
	else if (!error)
		error = register_again(peer, from, &pipe_fd, &pipe, now_ns, &id);
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, id);
	return 0;
}

/* ---- mirrors that nobody has joined again */

void unjoined_expire(struct broker *broker, uint64_t now_ns)
{
	for (; !list_empty(&broker->unjoined) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct remote *remote = container_of(broker->unjoined.next, struct remote, link);
		if (now_ns < remote->since_ns + UNJOINED_NS)
			return;
		list_remove(&remote->link);
		remote_check_wanted(remote);
	}
}

uint64_t unjoined_next_ns(const struct broker *broker)
{
	if (list_empty(&broker->unjoined))
		return UINT64_MAX;
	return container_of(broker->unjoined.next, struct remote, link)->since_ns + UNJOINED_NS;
}
