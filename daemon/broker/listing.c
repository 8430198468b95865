/* SPDX-License-Identifier: MIT */
/* The answer to LIST: one page of entries. */

#include "parts.h"

/*
 * How many listed objects are looked at for one page. A client that may not see them gets an empty page and
 * asks again, so that the cost is its own.
 */
#define LOOK_MAX 512

/* Costs O(log n) to find the first object of the page, and then at most LOOK_MAX steps. */
int handle_list(struct peer *peer, const struct wire_message *message)
{
	struct broker *broker = peer->broker;
	struct wire_message answer = {.type = WIRE_ENTRIES, .serial = message->serial};
	struct wire_entries *entries = &answer.entries;
	struct tree_node *node = tree_after(broker->listed_by_serial, message->list.cursor);
	const struct list *link =
		node ? &container_of(node, struct listed, by_serial)->link : &broker->listed;
	uint64_t last = message->list.cursor;

	for (unsigned looked = 0; link != &broker->listed; link = link->next, looked++) {
		const struct listed *listed = container_of(link, struct listed, link);
		if (looked == LOOK_MAX || entries->count == WIRE_ENTRIES_MAX) {
			entries->next = last;
			break;
		}
		last = listed->serial;
		broker->work += WORK_STEP;
		struct sight sight = listed_sight(listed);
		if (message->list.kinds & listed->kind && peer_sees(peer, &sight))
			listed_entry(listed, &entries->entries[entries->count++]);
	}
	return peer_send(peer, &answer, NULL, 0);
}
