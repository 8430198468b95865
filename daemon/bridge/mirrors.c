/* SPDX-License-Identifier: MIT */
/*
 * The joiner's side: contexts of other hosts that programs of this host have joined. Each has a mirror, a
 * context without operations that the bridge shares at ctxd, and of which it has the write end of the done
 * pipe only. The end that another host tells is written into the pipe at once; ctxd hears of it later.
 *
 * A mirror ends by its own deadline as well, so that nobody has to be asked for that. When ctxd is started
 * again, mirrors are registered there again by the same pipes. One that ctxd does not take back goes on until
 * it ends or nobody has the other end of its pipe any more.
 *
 * Without a descriptor for the pipe the answer to ctxd is that the context has ended, with
 * CTX_CAUSE_UNREACHABLE: a program that waited for it could not be told of its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hash.h"
#include "parts.h"

enum remote_state {
	REMOTE_FREE, /* The slot is not in use. */
	REMOTE_ASKING,
	REMOTE_LIVE,
	REMOTE_ENDED,
};

/* What is to be said to ctxd. */
enum {
	SAY_MIRROR = 1 << 0,
	SAY_MOVE = 1 << 1,
	SAY_ENDED = 1 << 2,
};

/* A context of another host. Its size is part of what a joined context costs, see ctxd-fleet(8). */
struct remote {
	uint32_t next_free; /* Of the store. */
	uint32_t tag;	    /* Of the MIRROR that has no answer; 0: there is none. */
	struct bridge *bridge;
	struct mirror *mirror;	/* Of the core; NULL: it was left. */
	struct heap_node timer; /* key_ns is the deadline, also where it is in no heap. */
	struct fleet_key key;
	/* The serial of the FETCH, until it is answered; then the number of the id at ctxd, 0 until it gave
	 * one. */
	uint64_t number;
	union {
		char *label;		  /* NULL: none. */
		struct wire_cause *cause; /* Of one that has ended. NULL: there was no memory for it. */
	};
	struct store_link pending, ended;
	uint32_t slot;
	uint32_t host;
	uint32_t uid;
	int pipe; /* -1: there is none yet. */
	uint8_t state, say;
	bool is_fetching; /* The FETCH is not answered. */
	bool is_movable, survives;
	bool is_pending;
	bool is_unknown; /* To the core. */
};

struct remote_host {
	uint32_t next_free;
	uint32_t count;
	char name[FLEET_HOST_MAX + 1];
};

static uint64_t number_of(const void *structure)
{
	return ((const struct remote *)structure)->number;
}

static uint64_t name_number(const char *name)
{
	return hash_bytes(name, strlen(name));
}

static uint64_t host_number(const void *structure)
{
	return name_number(((const struct remote_host *)structure)->name);
}

void bridge_mirrors_init(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	store_init(&mirrors->store, sizeof(struct remote));
	store_init(&mirrors->hosts, sizeof(struct remote_host));
	lookup_init(&mirrors->by_number, &mirrors->store, number_of);
	lookup_init(&mirrors->by_host, &mirrors->hosts, host_number);
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
	store_free(&mirrors->store);
	store_free(&mirrors->hosts);
}

/* ---- names of hosts */

/* STORE_NONE: no memory. */
static uint32_t host_get(struct mirrors *mirrors, const char *name)
{
	struct remote_host *host;
	uint32_t at = 0, slot;

	while ((host = lookup_next(&mirrors->by_host, name_number(name), &at, &slot))) {
		if (strcmp(host->name, name) != 0)
			continue;
		host->count++;
		return slot;
	}
	slot = store_take(&mirrors->hosts);
	if (slot == STORE_NONE)
		return slot;
	host = store_at(&mirrors->hosts, slot);
	memcpy(host->name, name, strlen(name) + 1);
	host->count = 1;
	if (!lookup_add(&mirrors->by_host, slot))
		return slot;
	store_release(&mirrors->hosts, slot);
	return STORE_NONE;
}

static void host_unref(struct mirrors *mirrors, uint32_t slot)
{
	struct remote_host *host = store_at(&mirrors->hosts, slot);

	if (--host->count)
		return;
	lookup_remove(&mirrors->by_host, slot);
	store_release(&mirrors->hosts, slot);
}

static const char *host_of(const struct remote *remote)
{
	return ((const struct remote_host *)store_at(&remote->bridge->mirrors.hosts, remote->host))->name;
}

/* ---- one mirror */

static struct mirrors *mirrors_of(const struct remote *remote)
{
	return &remote->bridge->mirrors;
}

static void remote_say(struct remote *remote, unsigned what)
{
	remote->say |= (uint8_t)what;
	if (remote->is_pending)
		return;
	remote->is_pending = true;
	store_list_append(&mirrors_of(remote)->store, &mirrors_of(remote)->pending, remote->slot);
}

static void clear_pending(struct remote *remote)
{
	if (remote->is_pending)
		store_list_remove(&mirrors_of(remote)->store, &mirrors_of(remote)->pending, remote->slot);
	remote->is_pending = false;
	remote->say = 0;
}

static bool is_registered(const struct remote *remote)
{
	return !remote->is_fetching && remote->number;
}

static void forget_number(struct remote *remote)
{
	if (is_registered(remote))
		lookup_remove(&mirrors_of(remote)->by_number, remote->slot);
	if (!remote->is_fetching)
		remote->number = 0;
}

static void set_deadline(struct remote *remote, uint64_t deadline_ns)
{
	struct heap *timers = &mirrors_of(remote)->timers;

	heap_remove(timers, &remote->timer);
	remote->timer.key_ns = deadline_ns;
	if (deadline_ns != CTX_FOREVER)
		heap_insert(timers, &remote->timer, deadline_ns);
}

/* Not to be called from within the core. */
static void remote_free(struct remote *remote)
{
	struct mirrors *mirrors = mirrors_of(remote);

	if (remote->is_unknown)
		store_list_remove(&mirrors->store, &mirrors->ended, remote->slot);
	if (remote->mirror)
		fleet_leave(remote->bridge->fleet, remote->mirror);
	clear_pending(remote);
	forget_number(remote);
	heap_remove(&mirrors->timers, &remote->timer);
	if (remote->pipe >= 0)
		close(remote->pipe);
	free(remote->label);
	host_unref(mirrors, remote->host);
	store_release(&mirrors->store, remote->slot);
}

/* ---- ends */

/* The mirror has ended for the programs of this host. Whether the core still knows it does not matter. */
static void remote_end(struct remote *remote, const struct wire_cause *cause)
{
	struct mirrors *mirrors = mirrors_of(remote);

	heap_remove(&mirrors->timers, &remote->timer);
	if (remote->pipe >= 0) {
		words_write(remote->pipe, cause);
		close(remote->pipe);
		remote->pipe = -1;
	}
	free(remote->label);
	remote->cause = malloc(sizeof(*remote->cause));
	if (remote->cause)
		*remote->cause = *cause;
	remote->state = REMOTE_ENDED;
	clear_pending(remote);
	/* Where MIRROR has no answer yet, ENDED follows that. */
	if (remote->is_fetching)
		remote_say(remote, SAY_MIRROR);
	else if (remote->number)
		remote_say(remote, SAY_ENDED);
	/* The core forgets it in this turn: bridge_mirrors_tick(). What is said to ctxd is said after that.
	 */
	if (!remote->is_unknown) {
		remote->is_unknown = true;
		store_list_append(&mirrors->store, &mirrors->ended, remote->slot);
	}
}

static void cause_of_end(const struct remote *remote, enum fleet_end end, const struct wire_cause *from,
			 struct wire_cause *ret_cause)
{
	const char *host = host_of(remote);
	uint64_t now_ns = remote->bridge->now_ns;

	switch (end) {
	case FLEET_END_CAUSE:
		*ret_cause = *from;
		if (!ret_cause->host[0])
			memcpy(ret_cause->host, host, strlen(host));
		break;
	case FLEET_END_UNKNOWN:
		words_cause(ret_cause, CTX_CAUSE_HOST, now_ns, host,
			    "host %s knows no such context, or does not share it with others", host);
		break;
	case FLEET_END_FORGOTTEN:
		words_cause(ret_cause, CTX_CAUSE_HOST, now_ns, host, "host %s has forgotten the context",
			    host);
		break;
	case FLEET_END_HOST:
		words_cause(ret_cause, CTX_CAUSE_HOST, now_ns, host, "host %s, its owner's, is gone", host);
		break;
	case FLEET_END_UNREACHABLE:
		words_cause(ret_cause, CTX_CAUSE_UNREACHABLE, now_ns, host,
			    "host %s, its owner's, could not be asked", host);
		break;
	}
}

/* ---- what the core tells */

void mirror_is_live(void *data, const struct fleet_live *live)
{
	struct remote *remote = data;

	if (remote->state != REMOTE_ASKING) {
		mirror_has_moved(data, live->deadline_ns);
		return;
	}
	remote->state = REMOTE_LIVE;
	remote->is_movable = live->movable;
	/* Without memory the programs see no label. */
	remote->label = live->label && live->label[0] ? strndup(live->label, CTX_LABEL_MAX) : NULL;
	set_deadline(remote, live->deadline_ns);
	remote_say(remote, SAY_MIRROR);
}

void mirror_has_moved(void *data, uint64_t deadline_ns)
{
	struct remote *remote = data;

	if (remote->state != REMOTE_LIVE || remote->timer.key_ns == deadline_ns)
		return;
	set_deadline(remote, deadline_ns);
	/* MIRROR says it as well, if it was not sent yet. */
	if (!remote->is_fetching)
		remote_say(remote, SAY_MOVE);
}

void mirror_has_ended(void *data, enum fleet_end end, const struct wire_cause *cause)
{
	struct remote *remote = data;
	struct wire_cause reason;

	if (remote->state == REMOTE_ENDED)
		return;
	cause_of_end(remote, end, cause, &reason);
	/* Before anything was said of it to ctxd, such a context is no context. */
	bool is_none = end == FLEET_END_UNKNOWN && remote->is_fetching;
	remote_end(remote, &reason);
	if (is_none) {
		free(remote->cause);
		remote->cause = NULL;
	}
}

uint64_t mirror_number(void *data)
{
	const struct remote *remote = data;

	return is_registered(remote) ? remote->number : 0;
}

/* ---- what ctxd wants */

static void answer_fetch(struct bridge *bridge, const struct wire_message *fetch, const char *text)
{
	struct wire_message message = {.type = WIRE_MIRROR};
	struct wire_mirror *mirror = &message.mirror;
	uint32_t tag;

	message.serial = service_serial(&bridge->service, REQUEST_MIRROR, STORE_NONE, &tag);
	*mirror = (struct wire_mirror){.fetch = fetch->serial,
				       .global = fetch->fetch.global,
				       .flags = fetch->fetch.flags & WIRE_SURVIVE,
				       .uid = fetch->fetch.uid,
				       .error = -ECANCELED};
	words_cause(&mirror->cause, CTX_CAUSE_UNREACHABLE, bridge->now_ns, mirror->global.host, "%s", text);
	service_answer(bridge, &message, -1);
}

/* NULL: no memory. */
static struct remote *remote_new(struct bridge *bridge, const struct wire_fetch *fetch, uint64_t serial)
{
	struct mirrors *mirrors = &bridge->mirrors;
	uint32_t slot = store_take(&mirrors->store);
	struct remote *remote = slot == STORE_NONE ? NULL : store_at(&mirrors->store, slot);
	uint32_t host = remote ? host_get(mirrors, fetch->global.host) : STORE_NONE;

	if (host == STORE_NONE) {
		if (remote)
			store_release(&mirrors->store, slot);
		return NULL;
	}
	remote->bridge = bridge;
	remote->slot = slot;
	remote->host = host;
	remote->key = (struct fleet_key){fetch->global.id, fetch->global.secret};
	remote->uid = fetch->uid;
	remote->survives = fetch->flags & WIRE_SURVIVE;
	remote->state = REMOTE_ASKING;
	remote->timer.key_ns = CTX_FOREVER;
	remote->number = serial;
	remote->is_fetching = true;
	remote->pipe = -1;
	return remote;
}

void bridge_mirrors_fetch(struct bridge *bridge, const struct wire_message *message)
{
	const struct wire_fetch *fetch = &message->fetch;
	struct remote *remote = remote_new(bridge, fetch, message->serial);
	struct fleet_id id = {0};

	if (!remote) {
		answer_fetch(bridge, message, "ctxd-fleet has no memory for it");
		return;
	}
	id.key = remote->key;
	strcpy(id.host, fetch->global.host);
	int result = fleet_join(bridge->fleet, &id, remote->survives ? FLEET_JOIN_SURVIVE : 0, remote,
				bridge->now_ns, &remote->mirror);
	if (!result)
		return;
	report_event(&bridge->reports, REPORT_REFUSED, bridge->now_ns, LOG_LEVEL_WARNING, "join",
		     "error=%s side=joiner host=%s", strerrorname_np(-result), id.host);
	answer_fetch(bridge, message,
		     result == -EDQUOT ? "ctxd-fleet has joined as much as it can"
				       : "ctxd-fleet could not join it");
	remote_free(remote);
}

static struct remote *find_by_number(const struct bridge *bridge, uint64_t number)
{
	uint32_t at = 0, slot;

	return number ? lookup_next(&bridge->mirrors.by_number, number, &at, &slot) : NULL;
}

void bridge_mirrors_unwanted(struct bridge *bridge, struct ctxd_id id)
{
	struct remote *remote = find_by_number(bridge, id.number);

	if (remote)
		remote_free(remote);
}

int bridge_mirrors_order(struct bridge *bridge, uint64_t number, const struct wire_order *order)
{
	struct remote *remote = find_by_number(bridge, number);
	struct wire_cause cause = {
		.error = order->error ? order->error : -ECANCELED,
		.kind = CTX_CAUSE_SERVICE,
		.time_ns = bridge->now_ns,
		.pid = order->pid,
		.uid = order->uid,
	};

	if (!remote)
		return -ENOENT;
	if (remote->state == REMOTE_ENDED)
		return -EALREADY;
	memcpy(cause.text, order->text, sizeof(cause.text));
	remote_end(remote, &cause);
	return 0;
}

/* ctxd does not take the mirror back. Those who have joined it still have its pipe. */
static void watch_readers(struct remote *remote)
{
	int error = watch_add(remote->bridge, WATCHED_READERS, remote->slot, remote->pipe, EPOLLET);

	if (error && error != -EEXIST)
		report_event(&remote->bridge->reports, REPORT_DESCRIPTORS, remote->bridge->now_ns,
			     LOG_LEVEL_WARNING, "mirror", "reason=\"its readers cannot be watched\"");
}

void bridge_mirrors_answer(struct bridge *bridge, const struct wire_message *message)
{
	struct remote *remote = store_at(&bridge->mirrors.store, (uint32_t)message->serial);
	const struct wire_result *answer = &message->result;

	/* Nothing is done about the answer to a MIRROR with an error. */
	if (!remote || !remote->tag || remote->tag != service_tag(message->serial))
		return;
	bridge->service.waiting--;
	remote->tag = 0;
	if (answer->error || wire_id_is_none(answer->id)) {
		report_event(&bridge->reports, REPORT_REFUSED, bridge->now_ns, LOG_LEVEL_WARNING, "mirror",
			     "error=%s host=%s", strerrorname_np(-answer->error), host_of(remote));
		if (remote->state == REMOTE_ENDED)
			remote_free(remote);
		else
			watch_readers(remote);
		return;
	}
	remote->number = answer->id.number;
	if (lookup_add(&bridge->mirrors.by_number, remote->slot))
		remote->number = 0;
	if (remote->state == REMOTE_ENDED && !remote->number)
		remote_free(remote);
	else if (remote->state == REMOTE_ENDED)
		remote_say(remote, SAY_ENDED);
	else if (remote->say && remote->number)
		remote_say(remote, 0); /* It was moved meanwhile. */
}

/* Whether anybody has the other end of the pipe. */
static bool has_readers(const struct remote *remote)
{
	struct pollfd pipe = {.fd = remote->pipe};

	return poll(&pipe, 1, 0) != 1 || !(pipe.revents & POLLERR);
}

void bridge_mirrors_readers_ready(struct bridge *bridge, uint32_t slot)
{
	struct remote *remote = store_at(&bridge->mirrors.store, slot);

	if (remote && remote->state == REMOTE_LIVE && remote->pipe >= 0 && !is_registered(remote) &&
	    !has_readers(remote))
		remote_free(remote);
}

/* ---- the connection */

void bridge_mirrors_service_lost(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	for (uint32_t slot = 0; slot < mirrors->store.used; slot++) {
		struct remote *remote = store_at(&mirrors->store, slot);
		if (remote->state == REMOTE_FREE)
			continue;
		remote->tag = 0;
		clear_pending(remote);
		/* Those who wait for the answer to a FETCH ask the next ctxd again. Of what has ended, the
		 * pipe has said it. */
		if (remote->is_fetching || remote->state == REMOTE_ENDED)
			remote_free(remote);
		else
			forget_number(remote);
	}
}

void bridge_mirrors_service_ready(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	for (uint32_t slot = 0; slot < mirrors->store.used; slot++) {
		struct remote *remote = store_at(&mirrors->store, slot);
		if (remote->state != REMOTE_LIVE)
			continue;
		if (has_readers(remote))
			remote_say(remote, SAY_MIRROR);
		else
			remote_free(remote);
	}
}

/* ---- what is due */

bool bridge_mirrors_tick(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;
	struct wire_cause cause;

	while (mirrors->timers.root && mirrors->timers.root->key_ns <= bridge->now_ns) {
		struct remote *remote = container_of(mirrors->timers.root, struct remote, timer);
		words_cause(&cause, CTX_CAUSE_DEADLINE, bridge->now_ns, "", "%s", "");
		remote_end(remote, &cause);
	}
	bool has_left = mirrors->ended.first != STORE_NONE;
	while (mirrors->ended.first != STORE_NONE) {
		struct remote *remote = store_at(&mirrors->store, mirrors->ended.first);
		store_list_remove(&mirrors->store, &mirrors->ended, remote->slot);
		fleet_leave(bridge->fleet, remote->mirror);
		remote->mirror = NULL;
		remote->is_unknown = false;
		/* One of which ctxd is told nothing, and from which no answer comes, is over. */
		if (!remote->say && !remote->tag)
			remote_free(remote);
	}
	return has_left;
}

/* ---- saying */

static void fill_global(const struct remote *remote, struct wire_mirror *mirror)
{
	mirror->global.id = remote->key.id;
	mirror->global.secret = remote->key.secret;
	strcpy(mirror->global.host, host_of(remote));
	mirror->flags = (remote->survives ? WIRE_SURVIVE : 0) | (remote->is_movable ? WIRE_MOVABLE : 0);
	mirror->uid = remote->uid;
	mirror->fetch = remote->is_fetching ? remote->number : 0;
}

static uint64_t mirror_serial(struct remote *remote, uint32_t *ret_tag)
{
	return service_serial(&remote->bridge->service, REQUEST_MIRROR, remote->slot, ret_tag);
}

/* Of one that ended before ctxd was told anything. */
static int say_none(struct remote *remote)
{
	struct wire_message message = {.type = WIRE_MIRROR};
	uint32_t tag;

	message.serial = mirror_serial(remote, &tag);
	fill_global(remote, &message.mirror);
	message.mirror.flags &= WIRE_SURVIVE;
	message.mirror.error = remote->cause ? -ECANCELED : -ENOENT;
	if (remote->cause)
		message.mirror.cause = *remote->cause;
	int result = service_send(remote->bridge, &message, -1);
	if (!result)
		remote_free(remote);
	return result;
}

/* The read end of the done pipe, which is made if there is none; or -errno. */
static int read_end(struct remote *remote)
{
	char path[32];
	int ends[2];

	if (remote->pipe < 0) {
		if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
			return -errno;
		remote->pipe = ends[1];
		return ends[0];
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", remote->pipe);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* There is no read end. */
static void cannot_register(struct remote *remote, int error)
{
	struct bridge *bridge = remote->bridge;
	struct wire_cause cause;

	report_event(&bridge->reports, REPORT_DESCRIPTORS, bridge->now_ns, LOG_LEVEL_WARNING, "mirror",
		     "error=%s remedy=\"raise LimitNOFILE= or ulimit -Hn\"", strerrorname_np(-error));
	if (!remote->is_fetching) {
		clear_pending(remote);
		watch_readers(remote);
		return;
	}
	words_cause(&cause, CTX_CAUSE_UNREACHABLE, bridge->now_ns, host_of(remote),
		    "ctxd-fleet has no descriptor for it");
	remote_end(remote, &cause);
}

static int say_live(struct remote *remote)
{
	struct wire_message message = {.type = WIRE_MIRROR};
	int fd = read_end(remote);
	uint32_t tag;

	if (fd < 0) {
		cannot_register(remote, fd);
		return 0;
	}
	message.serial = mirror_serial(remote, &tag);
	fill_global(remote, &message.mirror);
	message.mirror.deadline_ns = remote->timer.key_ns;
	if (remote->label)
		strncpy(message.mirror.label, remote->label, CTX_LABEL_MAX);
	int result = service_send(remote->bridge, &message, fd);
	close(fd);
	if (result)
		return result;
	remote->bridge->service.waiting++;
	remote->tag = tag;
	remote->is_fetching = false;
	remote->number = 0;
	remote->say &= (uint8_t) ~(SAY_MIRROR | SAY_MOVE);
	return 0;
}

static int say_moved(struct remote *remote)
{
	struct wire_message message = {.type = WIRE_MOVE};

	message.move.id = (struct ctxd_id){remote->bridge->service.epoch, remote->number};
	message.move.deadline_ns = remote->timer.key_ns;
	int result = service_send(remote->bridge, &message, -1);
	if (!result)
		remote->say &= (uint8_t)~SAY_MOVE;
	return result;
}

static int say_ended(struct remote *remote)
{
	struct wire_message message = {.type = WIRE_ENDED};

	message.ended.id = (struct ctxd_id){remote->bridge->service.epoch, remote->number};
	if (remote->cause)
		message.ended.cause = *remote->cause;
	else
		words_cause(&message.ended.cause, CTX_CAUSE_HOST, remote->bridge->now_ns, host_of(remote),
			    "its cause is lost for want of memory");
	int result = service_send(remote->bridge, &message, -1);
	if (!result)
		remote_free(remote);
	return result;
}

int bridge_mirrors_send(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;
	uint32_t slot = mirrors->pending.first;
	int result;

	if (slot == STORE_NONE)
		return 0;
	struct remote *remote = store_at(&mirrors->store, slot);
	if (remote->say & SAY_MIRROR) {
		if (!service_has_room(&bridge->service))
			return 0;
		bool has_ended = remote->state == REMOTE_ENDED;
		result = has_ended ? say_none(remote) : say_live(remote);
		if (result || has_ended)
			return result ? result : 1;
	} else if (remote->say & SAY_ENDED) {
		result = say_ended(remote);
		return result ? result : 1;
	} else if (remote->say & SAY_MOVE && is_registered(remote)) {
		result = say_moved(remote);
		if (result)
			return result;
	}
	/* What is left to say has to wait for the answer to MIRROR. */
	if (remote->is_pending && !(remote->say & (SAY_MIRROR | SAY_ENDED)) &&
	    (!(remote->say & SAY_MOVE) || !is_registered(remote))) {
		store_list_remove(&mirrors->store, &mirrors->pending, slot);
		remote->is_pending = false;
	}
	return 1;
}
