/* SPDX-License-Identifier: MIT */
/* Answers that another client has to give first, and which are sent in the turns of who asked. */
#include "parts.h"

void pending_init(struct pending *pending, struct peer *peer, uint64_t serial)
{
	pending->peer = peer;
	pending->serial = serial;
	list_append(&peer->pending, &pending->of_peer);
	list_init(&pending->ready);
}

void pending_ready(struct pending *pending)
{
	struct peer *peer = pending->peer;

	if (peer->gone || !list_empty(&pending->ready))
		return;
	list_append(&peer->ready, &pending->ready);
	job_queue(peer->broker, &peer->job);
}

void pending_remove(struct pending *pending)
{
	list_remove(&pending->of_peer);
	list_remove(&pending->ready);
}

int pending_send_next(struct peer *peer)
{
	struct pending *pending = container_of(peer->ready.next, struct pending, ready);

	return pending->send(pending);
}

bool pending_peer_gone(struct peer *peer)
{
	struct broker *broker = peer->broker;

	for (; !list_empty(&peer->pending) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct pending *pending = container_of(peer->pending.next, struct pending, of_peer);
		pending->forget(pending);
	}
	return list_empty(&peer->pending);
}
