/* SPDX-License-Identifier: MIT */
/* What is said to ctxd of mirrors. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bridge_remote.h"

static void fill_global(const struct remote *remote, struct wire_mirror *mirror)
{
	mirror->global.id = remote->key.id;
	mirror->global.secret = remote->key.secret;
	strcpy(mirror->global.host, bridge_remote_host(remote));
	mirror->flags = (remote->survives ? WIRE_SURVIVE : 0) | (remote->is_movable ? WIRE_MOVABLE : 0);
	mirror->uid = bridge_remote_uid(remote);
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
		bridge_remote_free(remote);
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
		bridge_remote_say_nothing(remote);
		bridge_remote_watch_readers(remote);
		return;
	}
	words_cause(&cause, CTX_CAUSE_UNREACHABLE, bridge->now_ns, bridge_remote_host(remote),
		    "ctxd-fleet has no descriptor for it");
	bridge_remote_end(remote, &cause);
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
	lookup_remove(&remote->bridge->mirrors.by_number, remote->slot);
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
		words_cause(&message.ended.cause, CTX_CAUSE_HOST, remote->bridge->now_ns,
			    bridge_remote_host(remote), "its cause is lost for want of memory");
	int result = service_send(remote->bridge, &message, -1);
	if (!result)
		bridge_remote_free(remote);
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
	} else if (remote->say & SAY_MOVE && bridge_remote_is_registered(remote)) {
		result = say_moved(remote);
		if (result)
			return result;
	}
	/* What is left to say has to wait for the answer to MIRROR. */
	if (remote->is_pending && !(remote->say & (SAY_MIRROR | SAY_ENDED)) &&
	    (!(remote->say & SAY_MOVE) || !bridge_remote_is_registered(remote))) {
		store_list_remove(&mirrors->store, &mirrors->pending, slot);
		remote->is_pending = false;
	}
	return 1;
}
