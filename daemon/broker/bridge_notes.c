/* SPDX-License-Identifier: MIT */
/* What the bridge is to be told: it waits for a bridge, and for its turns, in which the users take turns. */
#include <errno.h>

#include "parts.h"

void note_init(struct note *note, uid_t uid, int (*send)(struct note *note, struct peer *bridge))
{
	list_init(&note->link);
	note->uid = uid;
	note->send = send;
}

void note_add(struct broker *broker, struct note *note)
{
	if (!list_empty(&note->link))
		return;
	lanes_add(&broker->notes, note->uid, &note->link);
	if (broker->bridge)
		job_queue(broker, &broker->bridge->job);
}

void note_remove(struct broker *broker, struct note *note)
{
	lanes_remove(&broker->notes, &note->link);
}

int note_send_next(struct peer *bridge)
{
	struct broker *broker = bridge->broker;
	struct list *link = lanes_take(&broker->notes);
	struct note *note = link ? container_of(link, struct note, link) : NULL;

	if (!note)
		return 0;
	if (note->send(note, bridge) != -EAGAIN)
		return 0;
	lanes_add(&broker->notes, note->uid, &note->link);
	return -EAGAIN;
}
