/* SPDX-License-Identifier: MIT */
/*
 * The bridge: the client that connects this host with the others of the fleet. What the service waits for
 * from a bridge that is gone, the next one is asked for; questions are answered with an error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "parts.h"

static int become_bridge(struct peer *peer, const struct wire_bridge *wanted)
{
	struct broker *broker = peer->broker;

	if (!has_fleet(broker))
		return -ENOTSUP;
	if (!may_be_bridge(peer))
		return -EPERM;
	if (strcmp(wanted->host, broker->config.fleet.host) != 0)
		return -EINVAL;
	if (broker->bridge)
		return -EBUSY;
	/* What a bridge has is charged otherwise than what other clients have. */
	if (!list_empty(&peer->pending) || !list_empty(&peer->joins) || !list_empty(&peer->shares))
		return -EALREADY;
	if (peer->identity.pidfd < 0)
		return -ESRCH; /* Without a pidfd nobody who joins a mirror could tell when the bridge dies.
				*/
	peer->bridge = calloc(1, sizeof(*peer->bridge));
	if (!peer->bridge)
		return -ENOMEM;
	list_init(&peer->bridge->fetched);
	list_init(&peer->bridge->asked);
	broker->bridge = peer;
	return 0;
}

int handle_bridge(struct peer *peer, const struct wire_message *message)
{
	struct broker *broker = peer->broker;
	int error = become_bridge(peer, &message->bridge);

	peer_result(peer, message->serial, error, (struct ctxd_id){0});
	if (error) {
		if (log_admits(LOG_LEVEL_WARNING, peer->identity.uid, LOG_TROUBLE))
			log_event(LOG_LEVEL_WARNING, "bridge-refused", "uid=%u pid=%d error=%s",
				  peer->identity.uid, peer->identity.pid, strerrorname_np(-error));
		return 0;
	}
	if (log_admits(LOG_LEVEL_INFO, peer->identity.uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_INFO, "bridge", "uid=%u pid=%d host=%s", peer->identity.uid,
			  peer->identity.pid, broker->config.fleet.host);
	/* What waited for a bridge is sent in its turns. */
	job_queue(broker, &peer->job);
	return 0;
}

void bridge_gone(struct peer *peer)
{
	struct broker *broker = peer->broker;

	if (!is_bridge(peer))
		return;
	broker->bridge = NULL;
	if (log_admits(LOG_LEVEL_INFO, peer->identity.uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_INFO, "bridge-gone", "uid=%u pid=%d", peer->identity.uid,
			  peer->identity.pid);
}

bool bridge_take_apart(struct peer *peer)
{
	if (!peer->bridge)
		return true;
	if (!fetches_bridge_gone(peer->broker, peer->bridge) ||
	    !questions_bridge_gone(peer->broker, peer->bridge))
		return false;
	free(peer->bridge);
	peer->bridge = NULL;
	return true;
}
