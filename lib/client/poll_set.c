/* SPDX-License-Identifier: MIT */
/* The descriptors that a client's dispatcher waits for. */
#include "cause.h"
#include "client.h"
#include "sys.h"

int client_usable(const struct ctxd_client *client)
{
	if (!client)
		return -EINVAL;
	if (client->fork_count != thread_fork_count)
		return -EPERM;
	return atomic_load(&client->dispatcher_tid) == thread_self()->tid ? -EDEADLK : 0;
}

int client_check(const struct ctxd_client *client)
{
	int result = client_usable(client);

	if (result == -EINVAL)
		return debug_note(result, "argument client is NULL", 0, 0);
	if (result == -EPERM)
		return debug_note(result,
				  "the client was connected in process %lu, before a fork: connect anew here",
				  cause_pid_before_fork(), 0);
	if (result)
		return debug_note(
			result,
			"it is called from the event function of the client, or in a callback on its thread",
			0, 0);
	return 0;
}

void client_wake(struct ctxd_client *client)
{
	uint64_t one = 1;

	/* The dispatcher itself looks at what is pending at the end of its turn. */
	if (atomic_load(&client->dispatcher_tid) == thread_self()->tid)
		return;
	if (!atomic_exchange(&client->woken, true) && file_id_matches(client->wake.file, client->wake.fd))
		sys_tell(client->wake.fd, &one, sizeof(one));
}

int client_poll(struct ctxd_client *client, struct poll_entry *entry, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = entry};

	entry->file = file_id_of(entry->fd);
	return sys_epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, entry->fd, &event);
}

void client_rearm(struct ctxd_client *client, struct poll_entry *entry, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = entry};

	epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, entry->fd, &event);
}

void client_unpoll(struct ctxd_client *client, struct poll_entry *entry)
{
	if (entry->fd < 0)
		return;
	if (file_id_matches(entry->file, entry->fd)) {
		epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, entry->fd, NULL);
		sys_close(entry->fd);
	}
	entry->fd = -1;
}

bool client_has_scratch(const struct ctxd_client *client)
{
	return file_id_matches(client->scratch_file, client->scratch[0]) &&
	       file_id_matches(client->scratch_file, client->scratch[1]);
}

void client_tell(struct ctxd_client *client, const struct ctxd_event *event)
{
	int state = thread_hold();

	if (client->options.event)
		client->options.event(client, event, client->options.data);
	thread_release(state);
}
