/* SPDX-License-Identifier: MIT */
/*
 * Processes. One process may have several connections: the program's own, that of CTXRING_PUBLISH, those of
 * its libraries. It is listed once, and any of its contexts is found by its table, whichever connection
 * brought that.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

bool process_has_ended(int pidfd)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&ended, 1, 0) == 1;
}

static struct peer *first_connection(const struct process *process)
{
	return container_of(process->peers.next, struct peer, of_process);
}

/*
 * Finds the process of a new connection, by its pid: while another connection with that pid belongs to a
 * process that has not ended, the pid cannot have been used again. A process of another pid namespace has no
 * pid here, and is found by its table if another connection brought that.
 */
static struct process *find_process(const struct peer *peer)
{
	const struct identity *identity = &peer->identity;
	struct map_node *node = map_find(&peer->broker->processes, (uint64_t)identity->pid);

	for (; node && identity->pid > 0; node = map_older(node)) {
		struct process *process = container_of(node, struct process, by_pid);
		if (process->uid == identity->uid && !list_empty(&process->peers) &&
		    !process_has_ended(first_connection(process)->identity.pidfd))
			return process;
	}
	node = peer->table_fd >= 0 ? map_find(&peer->broker->peers_by_table, peer->table) : NULL;
	for (; node && identity->pid == 0; node = map_older(node)) {
		const struct peer *other = container_of(node, struct peer, by_table);
		if (other->process && other->process->uid == identity->uid && !other->process->pid)
			return other->process;
	}
	return NULL;
}

static struct process *process_new(struct peer *peer)
{
	struct broker *broker = peer->broker;
	struct process *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->number = ++broker->last_process;
	process->pid = peer->identity.pid;
	process->uid = peer->identity.uid;
	process->gid = peer->identity.gid;
	process->created_ns = peer->created_ns;
	process->table = peer->table;
	memcpy(process->name, peer->name, sizeof(process->name));
	list_init(&process->peers);
	map_add(&broker->processes, &process->by_pid, (uint64_t)process->pid);
	listed_add(broker, &process->listed, CTXD_PROCESS);
	listed_event(broker, &process->listed, CTXD_EVENT_ADDED);
	return process;
}

int process_attach(struct peer *peer)
{
	struct process *process = find_process(peer);

	if (!process)
		process = process_new(peer);
	if (!process)
		return -ENOMEM;
	if (!process->table)
		process->table = peer->table;
	process->refs++;
	peer->process = process;
	list_append(&process->peers, &peer->of_process);
	return 0;
}

struct peer *process_publisher(const struct process *process)
{
	for (struct list *link = process->peers.next; link != &process->peers; link = link->next) {
		struct peer *peer = container_of(link, struct peer, of_process);
		if (peer->table_fd >= 0)
			return peer;
	}
	return NULL;
}

void process_detach(struct peer *peer)
{
	struct process *process = peer->process;

	list_remove(&peer->of_process);
	/* What is listed of a process whose last connection closed stays as it was. */
	if (!process || list_empty(&process->peers) || peer->table_fd < 0)
		return;
	const struct peer *publisher = process_publisher(process);
	process->table = publisher ? publisher->table : 0;
}

void process_unref(struct peer *peer)
{
	struct broker *broker = peer->broker;
	struct process *process = peer->process;

	peer->process = NULL;
	if (!process || --process->refs)
		return;
	listed_event(broker, &process->listed, CTXD_EVENT_REMOVED);
	listed_remove(broker, &process->listed);
	map_remove(&broker->processes, &process->by_pid);
	free(process);
}
