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
#include <stdlib.h>
#include <string.h>

#include "bridge_remote.h"

static void cause_of_end(const struct remote *remote, enum fleet_end end, const struct wire_cause *from,
			 struct wire_cause *ret_cause)
{
	const char *host = bridge_remote_host(remote);
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
	bridge_remote_heard(remote);
	remote->state = REMOTE_LIVE;
	remote->is_movable = live->movable;
	/* Without memory the programs see no label. */
	remote->label = live->label && live->label[0] ? strndup(live->label, CTX_LABEL_MAX) : NULL;
	bridge_remote_set_deadline(remote, live->deadline_ns);
	bridge_remote_say(remote, SAY_MIRROR);
}

void mirror_has_moved(void *data, uint64_t deadline_ns)
{
	struct remote *remote = data;

	if (remote->state != REMOTE_LIVE || remote->timer.key_ns == deadline_ns)
		return;
	bridge_remote_set_deadline(remote, deadline_ns);
	/* MIRROR says it as well, if it was not sent yet. */
	if (!remote->is_fetching)
		bridge_remote_say(remote, SAY_MOVE);
}

void mirror_has_ended(void *data, enum fleet_end end, const struct wire_cause *cause)
{
	struct remote *remote = data;
	struct wire_cause reason;

	if (remote->state == REMOTE_ENDED)
		return;
	if (end == FLEET_END_CAUSE || end == FLEET_END_UNKNOWN)
		bridge_remote_heard(remote);
	cause_of_end(remote, end, cause, &reason);
	/* Before anything was said of it to ctxd, such a context is no context. */
	bool is_none = end == FLEET_END_UNKNOWN && remote->is_fetching;
	bridge_remote_end(remote, &reason);
	if (is_none) {
		free(remote->cause);
		remote->cause = NULL;
	}
}

uint64_t mirror_number(void *data)
{
	const struct remote *remote = data;

	return bridge_remote_is_registered(remote) ? remote->number : 0;
}

/* ---- what ctxd wants */

/* There is no mirror. Who is refused for want of room is to ask again. */
static void refuse_fetch(struct bridge *bridge, const struct wire_message *fetch, int error)
{
	struct wire_message message = {.type = WIRE_MIRROR};
	struct wire_mirror *mirror = &message.mirror;
	uint32_t tag;

	message.serial = service_serial(&bridge->service, REQUEST_MIRROR, STORE_NONE, &tag);
	*mirror = (struct wire_mirror){.fetch = fetch->serial,
				       .global = fetch->fetch.global,
				       .flags = fetch->fetch.flags & WIRE_SURVIVE,
				       .uid = fetch->fetch.uid,
				       .error = error == -EDQUOT ? -EDQUOT : -ECANCELED};
	report_event(&bridge->reports, REPORT_REFUSED, bridge->now_ns, LOG_LEVEL_WARNING, "join",
		     "error=%s side=joiner host=%s uid=%u", strerrorname_np(-error), mirror->global.host,
		     mirror->uid);
	if (mirror->error == -ECANCELED)
		words_cause(&mirror->cause, CTX_CAUSE_UNREACHABLE, bridge->now_ns, mirror->global.host,
			    error == -ENOMEM ? "ctxd-fleet has no memory for it"
					     : "ctxd-fleet could not join it");
	service_answer(bridge, &message, -1);
}

void bridge_mirrors_fetch(struct bridge *bridge, const struct wire_message *message)
{
	const struct wire_fetch *fetch = &message->fetch;
	int error;
	struct remote *remote = bridge_remote_new(bridge, fetch, message->serial, &error);
	struct fleet_id id = {0};

	if (!remote) {
		refuse_fetch(bridge, message, error);
		return;
	}
	id.key = remote->key;
	strcpy(id.host, fetch->global.host);
	error = fleet_join(bridge->fleet, &id, remote->survives ? FLEET_JOIN_SURVIVE : 0, remote,
			   bridge->now_ns, &remote->mirror);
	if (!error)
		return;
	refuse_fetch(bridge, message, error);
	bridge_remote_free(remote);
}

/* is_fetching: the number is the serial of a FETCH that is not answered. */
static struct remote *find_by_number(const struct bridge *bridge, uint64_t number, bool is_fetching)
{
	struct remote *remote = NULL;
	uint32_t at = 0, slot;

	while (number && (remote = lookup_next(&bridge->mirrors.by_number, number, &at, &slot)) &&
	       remote->is_fetching != is_fetching)
		;
	return remote;
}

void bridge_mirrors_unwanted(struct bridge *bridge, struct ctxd_id id)
{
	struct remote *remote = find_by_number(bridge, id.number, false);

	if (remote)
		bridge_remote_free(remote);
}

void bridge_mirrors_fetch_unwanted(struct bridge *bridge, uint64_t serial)
{
	struct remote *remote = find_by_number(bridge, serial, true);

	if (remote)
		bridge_remote_free(remote);
}

int bridge_mirrors_order(struct bridge *bridge, uint64_t number, const struct wire_order *order)
{
	struct remote *remote = find_by_number(bridge, number, false);
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
	memcpy(cause.host, order->host, sizeof(cause.host));
	bridge_remote_end(remote, &cause);
	return 0;
}

void bridge_mirrors_answer(struct bridge *bridge, const struct wire_message *message)
{
	struct remote *remote = store_at(&bridge->mirrors.store, (uint32_t)message->serial);
	const struct wire_result *answer = &message->result;

	/* Nothing is done about the answer to a MIRROR with an error. */
	if (!remote || remote->state == REMOTE_FREE || !remote->tag ||
	    remote->tag != service_tag(message->serial))
		return;
	bridge->service.waiting--;
	remote->tag = 0;
	if (answer->error || wire_id_is_none(answer->id)) {
		report_event(&bridge->reports, REPORT_REFUSED, bridge->now_ns, LOG_LEVEL_WARNING, "mirror",
			     "error=%s host=%s", strerrorname_np(-answer->error), bridge_remote_host(remote));
		/* The pipe may be watched already, and the event that its readers are gone is over. */
		if (remote->state == REMOTE_ENDED || !bridge_remote_has_readers(remote))
			bridge_remote_free(remote);
		else
			bridge_remote_watch_readers(remote);
		return;
	}
	remote->number = answer->id.number;
	if (lookup_add(&bridge->mirrors.by_number, remote->slot))
		remote->number = 0;
	if (remote->state == REMOTE_ENDED && !remote->number)
		bridge_remote_free(remote);
	else if (remote->state == REMOTE_ENDED)
		bridge_remote_say(remote, SAY_ENDED);
	else if (remote->say && remote->number)
		bridge_remote_say(remote, 0); /* It was moved meanwhile. */
}

void bridge_mirrors_readers_ready(struct bridge *bridge, uint32_t slot)
{
	struct remote *remote = store_at(&bridge->mirrors.store, slot);

	/* The answer to a MIRROR is waited for, and may give it an id. */
	if (remote && remote->state == REMOTE_LIVE && remote->pipe >= 0 && !remote->tag &&
	    !bridge_remote_is_registered(remote) && !bridge_remote_has_readers(remote))
		bridge_remote_free(remote);
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
		bridge_remote_say_nothing(remote);
		/* Those who wait for the answer to a FETCH ask the next ctxd again. Of what has ended, the
		 * pipe has said it. */
		if (remote->is_fetching || remote->state == REMOTE_ENDED)
			bridge_remote_free(remote);
		else
			bridge_remote_forget_number(remote);
	}
}

void bridge_mirrors_service_ready(struct bridge *bridge)
{
	struct mirrors *mirrors = &bridge->mirrors;

	for (uint32_t slot = 0; slot < mirrors->store.used; slot++) {
		struct remote *remote = store_at(&mirrors->store, slot);
		if (remote->state != REMOTE_LIVE)
			continue;
		if (bridge_remote_has_readers(remote))
			bridge_remote_say(remote, SAY_MIRROR);
		else
			bridge_remote_free(remote);
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
		bridge_remote_end(remote, &cause);
	}
	bool has_left = mirrors->ended.first != STORE_NONE;
	while (mirrors->ended.first != STORE_NONE) {
		struct remote *remote = store_at(&mirrors->store, mirrors->ended.first);
		store_list_remove(&mirrors->store, &mirrors->ended, remote->slot);
		fleet_leave(bridge->fleet, remote->mirror);
		remote->mirror = NULL;
		remote->is_leaving = false;
		/* One of which ctxd is told nothing, and from which no answer comes, is over. */
		if (!remote->say && !remote->tag)
			bridge_remote_free(remote);
	}
	return has_left;
}
