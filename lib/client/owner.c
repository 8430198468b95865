/* SPDX-License-Identifier: MIT */
/* The processes that own what was joined. All joins of one process share a watch on its pidfd. */
#include "client.h"
#include "memory.h"
#include "sys.h"

bool owner_is_dead(const struct owner *owner)
{
	struct pollfd ended = {.fd = owner->entry.fd, .events = POLLIN};
	const struct timespec now = {0};

	return owner->entry.fd < 0 || sys_poll(&ended, 1, &now) == 1;
}

/* Finds or makes the owner of a joined context. Takes over pidfd. The client lock is held. */
static int owner_join(struct ctxd_client *client, const struct wire_joined *joined, int pidfd,
		      struct owner **ret_owner)
{
	/*
	 * A process that is not dead is the same one under the same number. 0 stands for a process of another
	 * PID namespace.
	 */
	for (struct list *link = client->owners.next; link != &client->owners; link = link->next) {
		struct owner *owner = container_of(link, struct owner, link);
		if (!owner->pid || owner->pid != joined->owner_pid || owner_is_dead(owner))
			continue;
		sys_close(pidfd);
		*ret_owner = owner;
		return 0;
	}
	struct owner *owner = memory_allocate(sizeof(*owner));
	if (!owner) {
		sys_close(pidfd);
		return -ENOMEM;
	}
	*owner = (struct owner){.entry = {.kind = POLL_OWNER, .fd = pidfd},
				.pid = joined->owner_pid,
				.uid = joined->owner_uid};
	int result = client_poll(client, &owner->entry, EPOLLIN);
	if (result) {
		sys_close(pidfd);
		memory_release(owner);
		return result;
	}
	list_init(&owner->joins);
	list_append(&client->owners, &owner->link);
	*ret_owner = owner;
	return 0;
}

int bond_set_owner(struct bond *bond, const struct wire_joined *joined, const int *fds)
{
	struct ctxd_client *client = bond->client;

	if (joined->flags & WIRE_REMOTE)
		return 0;
	lock_acquire(&client->lock);
	int result = owner_join(client, joined, fds[1], &bond->owner);
	if (!result)
		list_append(&bond->owner->joins, &bond->owner_link);
	lock_release(&client->lock);
	return result;
}

void owner_leave(struct bond *bond)
{
	struct ctxd_client *client = bond->client;
	struct owner *owner = bond->owner;

	lock_acquire(&client->lock);
	list_remove(&bond->owner_link);
	bond->owner = NULL;
	bool last = list_empty(&owner->joins);
	if (last) {
		list_remove(&owner->link);
		if (client->fork_count == thread_fork_count)
			client_unpoll(client, &owner->entry);
	}
	lock_release(&client->lock);
	if (last)
		memory_release(owner);
}
