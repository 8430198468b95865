/* SPDX-License-Identifier: MIT */
/* Whether there is a fleet, and telling the clients what they need to know of it. */
#include <errno.h>
#include <string.h>

#include "parts.h"

bool has_fleet(const struct broker *broker)
{
	return broker->config.fleet.engine[0] && broker->config.fleet.host[0];
}

static struct wire_terms terms_of(const struct broker *broker)
{
	struct wire_terms terms = {0};

	if (has_fleet(broker)) {
		terms.grace_ns = broker->config.fleet.grace_ns;
		memcpy(terms.host, broker->config.fleet.host, sizeof(terms.host));
	}
	return terms;
}

int terms_send(struct peer *peer)
{
	struct wire_message message = {.type = WIRE_TERMS, .terms = terms_of(peer->broker)};

	peer->terms_due = peer_offer(peer, &message, NULL, 0) == -EAGAIN;
	return peer->terms_due ? -EAGAIN : 0;
}

void terms_set(struct broker *broker, const struct config *config)
{
	struct wire_terms before = terms_of(broker);

	broker->config = *config;
	struct wire_terms now = terms_of(broker);
	if (before.grace_ns == now.grace_ns && !strcmp(before.host, now.host))
		return;
	broker->terms_left = broker->peer_count;
	job_queue(broker, &broker->tell_terms);
}

/*
 * Each client that was seen goes to the end of the list, behind which new ones are added. If clients have
 * gone meanwhile, some are told twice.
 */
bool terms_tell(struct job *job)
{
	struct broker *broker = container_of(job, struct broker, tell_terms);

	if (list_empty(&broker->peers))
		broker->terms_left = 0;
	for (; broker->terms_left && piece_lasts(broker); broker->terms_left--) {
		struct peer *peer = container_of(broker->peers.next, struct peer, link);
		list_remove(&peer->link);
		list_append(&broker->peers, &peer->link);
		broker->work += WORK_STEP;
		if (!peer->greeted || peer->gone)
			continue;
		peer->terms_due = true;
		job_queue(broker, &peer->job);
	}
	return broker->terms_left != 0;
}
