/* SPDX-License-Identifier: MIT */
/*
 * Contexts of other hosts. Who joins one first has the bridge asked for a mirror of it; who joins it later
 * gets the same mirror, while it is live and its bridge is there. A mirror that nobody has joined any more is
 * not wanted, and the bridge is told so in one of its turns; who joins it before that keeps it.
 */
#include <stdlib.h>
#include <string.h>

#include "parts.h"

static uint64_t remote_key(const struct wire_global *global, uint32_t flags, uid_t uid)
{
	uint64_t all[] = {hash_bytes(global->host, strlen(global->host)),
			  global->id.epoch,
			  global->id.number,
			  global->secret,
			  flags,
			  uid};

	return hash_bytes(all, sizeof(all));
}

static bool is_remote_of(const struct remote *remote, const struct wire_global *global, uint32_t flags,
			 uid_t uid)
{
	return remote->uid == uid && remote->flags == flags && remote->global.secret == global->secret &&
	       wire_id_equal(remote->global.id, global->id) && !strcmp(remote->global.host, global->host);
}

struct remote *remote_find(struct broker *broker, const struct wire_global *global, uint32_t flags, uid_t uid)
{
	struct map_node *node = map_find(&broker->remotes_by_key, remote_key(global, flags, uid));

	for (; node; node = map_older(node)) {
		struct remote *remote = container_of(node, struct remote, by_key);
		/* The mirrors of a bridge that is gone are freed in pieces. */
		bool is_left = remote->mirror && remote->mirror->owner->gone;
		if (!is_left && is_remote_of(remote, global, flags, uid))
			return remote;
	}
	return NULL;
}

struct remote *remote_of_fetch(struct broker *broker, uint64_t fetch)
{
	struct map_node *node = map_find(&broker->remotes_by_fetch, fetch);

	return node ? container_of(node, struct remote, by_fetch) : NULL;
}

struct remote *remote_new(struct broker *broker, const struct wire_global *global, uint32_t flags, uid_t uid,
			  gid_t gid, int (*send)(struct note *note, struct peer *bridge),
			  bool (*run)(struct job *job))
{
	struct remote *remote = calloc(1, sizeof(*remote));
	struct account *account = remote ? account_ref(&broker->accounts, uid) : NULL;

	if (!account) {
		free(remote);
		return NULL;
	}
	remote->broker = broker;
	remote->account = account;
	remote->global = *global;
	remote->flags = flags;
	remote->uid = uid;
	remote->gid = gid;
	remote->refs = 1;
	remote->is_known = true;
	remote->fetch = ++broker->last_fetch;
	remote->job.uid = uid;
	remote->job.run = run;
	note_init(&remote->note, uid, send);
	list_init(&remote->link);
	list_init(&remote->job.link);
	list_init(&remote->waits);
	map_add(&broker->remotes_by_key, &remote->by_key, remote_key(global, flags, uid));
	return remote;
}

void remote_ref(struct remote *remote)
{
	remote->refs++;
}

void remote_unref(struct remote *remote)
{
	struct broker *broker = remote->broker;

	if (--remote->refs)
		return;
	remote_unask(remote);
	remote_forget(remote);
	lanes_remove(&broker->jobs, &remote->job.link);
	account_unref(&broker->accounts, remote->account);
	free(remote->ended);
	free(remote);
}

void remote_forget(struct remote *remote)
{
	if (remote->is_known)
		map_remove(&remote->broker->remotes_by_key, &remote->by_key);
	remote->is_known = false;
	note_remove(remote->broker, &remote->note);
	if (!remote->asked)
		list_remove(&remote->link);
}

void remote_unask(struct remote *remote)
{
	if (!remote->asked)
		return;
	map_remove(&remote->broker->remotes_by_fetch, &remote->by_fetch);
	list_remove(&remote->link);
	remote->asked = NULL;
}

void remote_lose_mirror(struct remote *remote)
{
	remote_forget(remote);
	remote->mirror = NULL;
}

void remote_check_wanted(struct remote *remote)
{
	const struct share *mirror = remote->mirror;

	if (mirror && !mirror->ended_ns && !mirror->join_count && !remote->wait_count)
		note_add(remote->broker, &remote->note);
}
