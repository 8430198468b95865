/* SPDX-License-Identifier: MIT */
/* Connecting again to a service: registers again what was shared and joined. */
#include "client.h"

/* At most so many registrations are in flight at a time. */
#define RESTORE_WINDOW 32

/* Puts the live shares or joins of a list on the list of those to register. The client lock is held. */
static void restore_add_all(struct ctxd_client *client, struct list *head)
{
	for (struct list *link = head->next; link != head; link = link->next) {
		struct bond *bond = container_of(link, struct bond, link);
		if (bond->asking || bond->over || bond->pending & (PENDING_ENDED | PENDING_GONE))
			continue;
		list_remove(&bond->restore_link);
		list_append(&client->restore, &bond->restore_link);
	}
}

void bonds_restore(struct ctxd_client *client)
{
	lock_acquire(&client->lock);
	/* Joins first: a share may lie below a join, and then names the id of it. */
	restore_add_all(client, &client->joins);
	restore_add_all(client, &client->shares);
	lock_release(&client->lock);
	bonds_restore_some(client);
}

/* Sends one registration. The client lock is held. */
static int restore_one(struct ctxd_client *client, struct bond *bond)
{
	struct wire_message message = {0};
	int fd = bond->joined ? join_message(bond, &message) : share_message(bond, &message);

	if (fd < 0)
		return fd;
	message.serial = ++client->serial;
	int result = link_send(client, &message, fd);
	if (!result)
		bond->serial = message.serial;
	return result;
}

static void restored_all(struct ctxd_client *client)
{
	static const struct ctxd_event back = {.kind = CTXD_EVENT_BACK};
	struct wire_message watch = {.type = WIRE_WATCH, .watch = {.kinds = client->watch_kinds}};
	bool tell_it = client->come_back;

	lock_acquire(&client->lock);
	bool again = client->watch_kinds && link_send(client, &watch, -1) == -EAGAIN;
	if (!again)
		client->state = CLIENT_READY;
	lock_release(&client->lock);
	if (again)
		return; /* the next turn calls this again */
	remotes_ask(client, false);
	client->was_ready = true;
	client->come_back = false;
	if (tell_it)
		client_tell(client, &back);
}

/* In the list, those that wait for their answer come first, and have a serial. */
void bonds_restore_some(struct ctxd_client *client)
{
	struct list *link = client->restore.next;
	bool joins_wait = false;

	lock_acquire(&client->lock);
	while (link != &client->restore && client->restoring < RESTORE_WINDOW) {
		struct bond *bond = container_of(link, struct bond, restore_link);
		link = link->next;
		if (bond->serial) {
			joins_wait |= bond->joined;
			continue;
		}
		if (joins_wait && !bond->joined)
			break;
		int result = restore_one(client, bond);
		if (result == -EAGAIN || result == -ENOTCONN)
			break;
		if (result)
			list_remove(&bond->restore_link);
		else
			client->restoring++;
		joins_wait |= bond->joined;
	}
	bool all = list_empty(&client->restore);
	lock_release(&client->lock);
	if (all && client->state == CLIENT_RESTORING)
		restored_all(client);
}

/* The id that an answer gives a share or join; none: it was refused. */
static struct ctxd_id id_in(const struct wire_message *answer)
{
	if (answer->type == WIRE_SHARED)
		return answer->shared.id;
	return answer->result.error ? (struct ctxd_id){0} : answer->result.id;
}

bool bonds_restored(struct ctxd_client *client, const struct wire_message *answer)
{
	struct list *link = client->restore.next;

	if (answer->type != WIRE_RESULT && answer->type != WIRE_SHARED)
		return false;
	if (!answer->serial)
		return true; /* an answer to a message without a call */
	while (link != &client->restore &&
	       container_of(link, struct bond, restore_link)->serial != answer->serial)
		link = link->next;
	if (link == &client->restore)
		return false;
	struct bond *bond = container_of(link, struct bond, restore_link);
	list_remove(&bond->restore_link);
	client->restoring--;
	lock_acquire(&client->lock);
	bond->serial = 0;
	/* If it was refused, it goes on without the service, by pipe and pidfd. */
	if (!wire_id_is_none(id_in(answer))) {
		bond_set_id(bond, id_in(answer));
		bond->secret = answer->type == WIRE_SHARED ? answer->shared.secret : 0;
		bond->pending |= bond->joined ? PENDING_ATTACH : 0;
	} else if (answer->result.error == -ENOTSUP && bond->mode & CTXD_FLEET) {
		/* The service belongs to no fleet any more. Its own clients may join all the same. */
		bond->mode &= ~(uint32_t)CTXD_FLEET;
		list_append(&client->restore, &bond->restore_link);
	}
	if (bond->pending)
		bond_pend(bond, 0);
	lock_release(&client->lock);
	bonds_restore_some(client);
	return true;
}
