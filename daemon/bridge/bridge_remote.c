/* SPDX-License-Identifier: MIT */
/*
 * One context of another host: making it, noting what is to be said of it, its end.
 *
 * Anybody can make up names of hosts, and the core keeps 1,024 of those that are asked from here. So a user
 * may wait for no more strangers, which are hosts that have not answered since the user joined something
 * there, than a quarter of those that are left. Alone that is 102. By the time 22 users have used up their
 * parts, each other user may still wait for four. Who is refused asks again: so after a start of the bridge a
 * user gets to any number of hosts that answer, some at a time.
 */
#include "bridge_remote.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hash.h"

/* What users share. The core has as much room again for the others, and for the hosts of cancels and lists.
 */
#define STRANGERS_SHARED 512
#define STRANGERS_PART 4
/* What each user may have in any case. */
#define STRANGERS_LEAST 4

struct user {
	uint32_t next_free;
	uint32_t uid;
	uint32_t hosts; /* How many struct host_name it has. */
	uint32_t strangers;
};

/* A host of which a user has joined contexts. */
struct host_name {
	uint32_t next_free;
	uint32_t count;
	uint32_t uid, user;
	bool is_stranger;
	char name[FLEET_HOST_MAX + 1];
};

static uint64_t number_of(const void *structure)
{
	return ((const struct remote *)structure)->number;
}

static uint64_t name_number(const char *name, uint32_t uid)
{
	return hash_bytes(name, strlen(name)) + uid;
}

static uint64_t host_number(const void *structure)
{
	const struct host_name *host = structure;

	return name_number(host->name, host->uid);
}

static uint64_t user_number(const void *structure)
{
	return ((const struct user *)structure)->uid;
}

void bridge_mirrors_init(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	store_init(&mirrors->store, sizeof(struct remote));
	store_init(&mirrors->hosts, sizeof(struct host_name));
	lookup_init(&mirrors->by_number, &mirrors->store, number_of);
	store_init(&mirrors->users, sizeof(struct user));
	lookup_init(&mirrors->by_host, &mirrors->hosts, host_number);
	lookup_init(&mirrors->by_user, &mirrors->users, user_number);
	mirrors->strangers = 0;
	store_list_init(&mirrors->pending, offsetof(struct remote, pending));
	store_list_init(&mirrors->ended, offsetof(struct remote, ended));
	mirrors->timers = (struct heap){0};
}

void bridge_mirrors_finish(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	for (uint32_t slot = 0; slot < mirrors->store.used; slot++) {
		struct remote *remote = store_at(&mirrors->store, slot);
		if (remote->state == REMOTE_FREE)
			continue;
		if (remote->pipe >= 0)
			close(remote->pipe);
		free(remote->label);
	}
	lookup_free(&mirrors->by_number);
	lookup_free(&mirrors->by_host);
	lookup_free(&mirrors->by_user);
	store_free(&mirrors->store);
	store_free(&mirrors->hosts);
	store_free(&mirrors->users);
}

/* ---- users, and hosts of which they have joined something */

/* STORE_NONE: no memory. */
static uint32_t user_get(struct mirrors *mirrors, uint32_t uid)
{
	struct user *user;
	uint32_t at = 0, slot;

	if (lookup_next(&mirrors->by_user, uid, &at, &slot))
		return slot;
	slot = store_take(&mirrors->users);
	if (slot == STORE_NONE)
		return slot;
	user = store_at(&mirrors->users, slot);
	user->uid = uid;
	if (!lookup_add(&mirrors->by_user, slot))
		return slot;
	store_release(&mirrors->users, slot);
	return STORE_NONE;
}

static void user_check_used(struct mirrors *mirrors, uint32_t slot)
{
	const struct user *user = store_at(&mirrors->users, slot);

	if (user->hosts)
		return;
	lookup_remove(&mirrors->by_user, slot);
	store_release(&mirrors->users, slot);
}

static bool may_have_stranger(const struct mirrors *mirrors, const struct user *user)
{
	uint32_t left = mirrors->strangers < STRANGERS_SHARED ? STRANGERS_SHARED - mirrors->strangers : 0;

	return user->strangers < STRANGERS_LEAST || user->strangers < left / STRANGERS_PART;
}

static void host_set_stranger(struct mirrors *mirrors, struct host_name *host, bool is_stranger)
{
	struct user *user = store_at(&mirrors->users, host->user);

	user->strangers += (uint32_t)is_stranger - host->is_stranger;
	mirrors->strangers += (uint32_t)is_stranger - host->is_stranger;
	host->is_stranger = is_stranger;
}

/* STORE_NONE: *ret_error says why. */
static uint32_t host_new(struct mirrors *mirrors, const char *name, uint32_t user_slot, bool is_stranger,
			 int *ret_error)
{
	struct user *user = store_at(&mirrors->users, user_slot);
	bool has_room = !is_stranger || may_have_stranger(mirrors, user);
	uint32_t slot = has_room ? store_take(&mirrors->hosts) : STORE_NONE;

	*ret_error = has_room ? -ENOMEM : -EDQUOT;
	if (slot == STORE_NONE)
		return slot;
	struct host_name *host = store_at(&mirrors->hosts, slot);
	memcpy(host->name, name, strlen(name) + 1);
	host->uid = user->uid;
	host->user = user_slot;
	host->count = 1;
	if (lookup_add(&mirrors->by_host, slot)) {
		store_release(&mirrors->hosts, slot);
		return STORE_NONE;
	}
	user->hosts++;
	host_set_stranger(mirrors, host, is_stranger);
	return slot;
}

/* STORE_NONE: *ret_error says why. */
static uint32_t host_get(struct bridge *bridge, const char *name, uint32_t uid, int *ret_error)
{
	struct mirrors *mirrors = &bridge->mirrors;
	struct host_name *host;
	uint32_t at = 0, slot, user;

	while ((host = lookup_next(&mirrors->by_host, name_number(name, uid), &at, &slot))) {
		if (host->uid != uid || strcmp(host->name, name) != 0)
			continue;
		host->count++;
		return slot;
	}
	*ret_error = -ENOMEM;
	user = user_get(mirrors, uid);
	if (user == STORE_NONE)
		return user;
	slot = host_new(mirrors, name, user, !fleet_has_heard(bridge->fleet, name), ret_error);
	user_check_used(mirrors, user);
	return slot;
}

static void host_unref(struct mirrors *mirrors, uint32_t slot)
{
	struct host_name *host = store_at(&mirrors->hosts, slot);
	uint32_t user = host->user;

	if (--host->count)
		return;
	host_set_stranger(mirrors, host, false);
	((struct user *)store_at(&mirrors->users, user))->hosts--;
	lookup_remove(&mirrors->by_host, slot);
	store_release(&mirrors->hosts, slot);
	user_check_used(mirrors, user);
}

void bridge_remote_heard(struct remote *remote)
{
	struct mirrors *mirrors = mirrors_of(remote);

	host_set_stranger(mirrors, store_at(&mirrors->hosts, remote->host), false);
}

const char *bridge_remote_host(const struct remote *remote)
{
	return ((const struct host_name *)store_at(&remote->bridge->mirrors.hosts, remote->host))->name;
}

uint32_t bridge_remote_uid(const struct remote *remote)
{
	return ((const struct host_name *)store_at(&mirrors_of(remote)->hosts, remote->host))->uid;
}

/* ---- one mirror */

struct remote *bridge_remote_new(struct bridge *bridge, const struct wire_fetch *fetch, uint64_t serial,
				 int *ret_error)
{
	struct mirrors *mirrors = &bridge->mirrors;
	uint32_t slot = store_take(&mirrors->store);
	struct remote *remote = slot == STORE_NONE ? NULL : store_at(&mirrors->store, slot);
	uint32_t host = STORE_NONE;

	*ret_error = -ENOMEM;
	if (remote)
		host = host_get(bridge, fetch->global.host, fetch->uid, ret_error);
	if (host == STORE_NONE) {
		if (remote)
			store_release(&mirrors->store, slot);
		return NULL;
	}
	remote->bridge = bridge;
	remote->slot = slot;
	remote->host = host;
	remote->key = (struct fleet_key){fetch->global.id, fetch->global.secret};
	remote->survives = fetch->flags & WIRE_SURVIVE;
	remote->state = REMOTE_ASKING;
	remote->timer.key_ns = CTX_FOREVER;
	remote->number = serial;
	remote->is_fetching = true;
	remote->pipe = -1;
	/* Without memory for that it is not found when ctxd takes the FETCH back. ctxd refuses the MIRROR
	 * then. */
	lookup_add(&mirrors->by_number, slot);
	return remote;
}

void bridge_remote_say(struct remote *remote, unsigned what)
{
	remote->say |= (uint8_t)what;
	if (remote->is_pending)
		return;
	remote->is_pending = true;
	store_list_append(&mirrors_of(remote)->store, &mirrors_of(remote)->pending, remote->slot);
}

void bridge_remote_say_nothing(struct remote *remote)
{
	if (remote->is_pending)
		store_list_remove(&mirrors_of(remote)->store, &mirrors_of(remote)->pending, remote->slot);
	remote->is_pending = false;
	remote->say = 0;
}

void bridge_remote_forget_number(struct remote *remote)
{
	if (remote->number)
		lookup_remove(&mirrors_of(remote)->by_number, remote->slot);
	if (!remote->is_fetching)
		remote->number = 0;
}

void bridge_remote_set_deadline(struct remote *remote, uint64_t deadline_ns)
{
	struct heap *timers = &mirrors_of(remote)->timers;

	heap_remove(timers, &remote->timer);
	remote->timer.key_ns = deadline_ns;
	if (deadline_ns != CTX_FOREVER)
		heap_insert(timers, &remote->timer, deadline_ns);
}

void bridge_remote_free(struct remote *remote)
{
	struct mirrors *mirrors = mirrors_of(remote);

	if (remote->is_leaving)
		store_list_remove(&mirrors->store, &mirrors->ended, remote->slot);
	if (remote->mirror)
		fleet_leave(remote->bridge->fleet, remote->mirror);
	bridge_remote_say_nothing(remote);
	bridge_remote_forget_number(remote);
	heap_remove(&mirrors->timers, &remote->timer);
	if (remote->pipe >= 0)
		close(remote->pipe);
	free(remote->label);
	host_unref(mirrors, remote->host);
	store_release(&mirrors->store, remote->slot);
}

/* ---- ends */

void bridge_remote_end(struct remote *remote, const struct wire_cause *cause)
{
	struct mirrors *mirrors = mirrors_of(remote);

	heap_remove(&mirrors->timers, &remote->timer);
	if (remote->pipe >= 0) {
		/* Who has joined waits for the words. The pipe is closed when this is freed. */
		if (!words_write(remote->pipe, cause)) {
			close(remote->pipe);
			remote->pipe = -1;
		}
	}
	free(remote->label);
	remote->cause = malloc(sizeof(*remote->cause));
	if (remote->cause)
		*remote->cause = *cause;
	remote->state = REMOTE_ENDED;
	bridge_remote_say_nothing(remote);
	/* Where MIRROR has no answer yet, ENDED follows that. */
	if (remote->is_fetching)
		bridge_remote_say(remote, SAY_MIRROR);
	else if (remote->number)
		bridge_remote_say(remote, SAY_ENDED);
	/* The core forgets it in this turn: bridge_mirrors_tick(). What is said to ctxd is said after that.
	 */
	if (!remote->is_leaving) {
		remote->is_leaving = true;
		store_list_append(&mirrors->store, &mirrors->ended, remote->slot);
	}
}

/* ---- readers */

void bridge_remote_watch_readers(struct remote *remote)
{
	int error = watch_add(remote->bridge, WATCHED_READERS, remote->slot, remote->pipe, EPOLLET);

	if (error && error != -EEXIST)
		report_event(&remote->bridge->reports, REPORT_DESCRIPTORS, remote->bridge->now_ns,
			     LOG_LEVEL_WARNING, "mirror", "reason=\"its readers cannot be watched\"");
}

bool bridge_remote_has_readers(const struct remote *remote)
{
	struct pollfd pipe = {.fd = remote->pipe};

	return poll(&pipe, 1, 0) != 1 || !(pipe.revents & POLLERR);
}
