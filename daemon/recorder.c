/* SPDX-License-Identifier: MIT */
/*
 * The flight recorder: tables of processes that were killed or crashed. One that exits leaves nothing to
 * explain, and pushes none of them out. When a connection ends its process may live on, or
 * be about to end: descriptors are closed before the pidfd tells. So a table that was left is looked after
 * for a moment.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "parts.h"

#define LOOK_NS 5000000ull
/* A process that is stuck in its own end longer than this is taken for alive. */
#define PARTED_MAX_NS 2000000000ull

static void death_free(struct death *death)
{
	struct broker *broker = death->broker;

	if (death->dead)
		thing_event(broker, &death->thing, CTXD_EVENT_REMOVED);
	thing_remove(broker, &death->thing);
	link_remove(&death->link);
	dispose(broker, death->uid, death->table_fd, true);
	account_return(death->account, QUOTA_FDS, 1);
	if (death->pidfd >= 0) {
		close(death->pidfd);
		account_return(death->account, QUOTA_FDS, 1);
	}
	account_release(&broker->accounts, death->account);
	free(death);
}

/* The oldest of this user's go until what is kept is within its bounds. */
static void make_room(struct broker *broker, uid_t uid)
{
	uint64_t bytes = 0;
	uint32_t tables = 0;

	for (struct link *link = broker->deaths.prev, *next; link != &broker->deaths; link = next) {
		struct death *death = owner_of(link, struct death, link);
		next = link->prev;
		if (death->uid != uid || !death->dead)
			continue;
		tables++;
		bytes += death->bytes;
		if (tables > broker->config.retain_tables || bytes > broker->config.retain_bytes)
			death_free(death);
	}
}

/* It ended in order, by exit(3): there is nothing to explain. It says so itself, in its table. */
static bool has_exited(int table_fd)
{
	struct ctx_table_header header;

	return pread(table_fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
	       header.contexts.flags & CTX_TABLE_EXITED;
}

/* The table is memory of our own now, or there is none. */
static void copied(void *data, int table_fd)
{
	struct death *death = data;
	struct broker *broker = death->broker;
	struct stat status;

	death->copying = false;
	death->table_fd = table_fd;
	if (table_fd < 0 || fstat(table_fd, &status)) {
		if (table_fd != -ECANCELED)
			log_event(LOG_LEVEL_INFO, "recorder", "uid=%u pid=%d error=%s", death->uid,
				  death->pid, strerrorname_np(table_fd < 0 ? -table_fd : errno));
		death_free(death);
		return;
	}
	if (has_exited(table_fd)) {
		death_free(death);
		return;
	}
	death->dead = true;
	death->bytes = (uint64_t)status.st_blocks * 512;
	thing_add(broker, &death->thing, CTXD_DEAD);
	thing_event(broker, &death->thing, CTXD_EVENT_ADDED);
	make_room(broker, death->uid);
}

/* Another process may map the table and fill it after this one's death: what is kept is a copy. */
static void declare_dead(struct death *death, uint64_t now_ns)
{
	const struct disposal *disposal = &death->broker->disposal;
	int table_fd = death->table_fd;

	death->parted_ns = now_ns;
	if (death->pidfd >= 0) {
		close(death->pidfd);
		account_return(death->account, QUOTA_FDS, 1);
		death->pidfd = -1;
	}
	death->copying = true;
	death->table_fd = -1;
	disposal->copy(disposal->link, death->uid, table_fd, death->broker->config.retain_bytes, copied,
		       death);
}

/* Another connection of the process keeps its table, or it has been recorded. */
static bool is_known(struct broker *broker, uint64_t table)
{
	if (map_find(&broker->peers_by_table, table))
		return true;
	for (struct link *link = broker->deaths.next; link != &broker->deaths; link = link->next)
		if (owner_of(link, struct death, link)->table == table)
			return true;
	return false;
}

static bool has_ended(int pidfd)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&ended, 1, 0) == 1;
}

void recorder_part(struct peer *peer, bool died, uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	struct death *death = is_known(broker, peer->table) ? NULL : calloc(1, sizeof(*death));

	if (!death)
		return;
	*death = (struct death){
		.broker = broker,
		.account = account_hold(&broker->accounts, peer->identity.uid),
		.pid = peer->identity.pid,
		.uid = peer->identity.uid,
		.gid = peer->identity.gid,
		.table_fd = peer->table_fd,
		.pidfd = peer->identity.pidfd,
		.table = peer->table,
		.parted_ns = now_ns,
		.looked_ns = now_ns,
	};
	memcpy(death->process, peer->process, sizeof(death->process));
	/* With their charges. */
	peer->table_fd = peer->identity.pidfd = -1;
	link_append(&broker->deaths, &death->link);
	if (died || has_ended(death->pidfd))
		declare_dead(death, now_ns);
}

void recorder_expire(struct broker *broker, uint64_t now_ns)
{
	for (struct link *link = broker->deaths.next, *next; link != &broker->deaths; link = next) {
		struct death *death = owner_of(link, struct death, link);
		next = link->next;
		if (death->copying)
			continue;
		if (death->dead) {
			if (now_ns - death->parted_ns >= broker->config.retain_ns)
				death_free(death);
			continue;
		}
		if (now_ns - death->looked_ns < LOOK_NS)
			continue;
		death->looked_ns = now_ns;
		if (has_ended(death->pidfd)) {
			declare_dead(death, now_ns);
			return; /* which may have freed the next one */
		}
		if (now_ns - death->parted_ns >= PARTED_MAX_NS)
			death_free(death);
	}
}

uint64_t recorder_next_ns(const struct broker *broker)
{
	uint64_t next_ns = UINT64_MAX;

	for (struct link *link = broker->deaths.next; link != &broker->deaths; link = link->next) {
		const struct death *death = owner_of(link, struct death, link);
		uint64_t due_ns = death->copying ? UINT64_MAX
				  : death->dead	 ? death->parted_ns + broker->config.retain_ns
						 : death->looked_ns + LOOK_NS;
		next_ns = due_ns < next_ns ? due_ns : next_ns;
	}
	return next_ns;
}

void recorder_free(struct broker *broker)
{
	while (!link_alone(&broker->deaths))
		death_free(owner_of(broker->deaths.next, struct death, link));
}

void death_entry(const struct death *death, struct ctxd_entry *entry)
{
	*entry = (struct ctxd_entry){
		.kind = CTXD_DEAD,
		.pid = death->pid,
		.uid = death->uid,
		.gid = death->gid,
		.table = death->table,
		.deadline_ns = CTX_FOREVER,
		.ended_ns = death->parted_ns,
	};
	memcpy(entry->process, death->process, sizeof(entry->process));
}

/* ---- tables, of the living and the dead */

static bool find_table(struct peer *asker, const struct wire_table *wanted, struct ctxd_entry *entry,
		       int *ret_fd)
{
	struct broker *broker = asker->broker;

	for (struct link *link = broker->peers.next; wanted->kind == CTXD_PROCESS && link != &broker->peers;
	     link = link->next) {
		const struct peer *peer = owner_of(link, struct peer, link);
		if (peer->identity.pid != wanted->pid || peer->table_fd < 0 ||
		    !is_same_user(asker, peer->identity.uid))
			continue;
		peer_entry(peer, entry);
		*ret_fd = peer->table_fd;
		return true;
	}
	/* The last one that had this number. */
	for (struct link *link = broker->deaths.prev; wanted->kind == CTXD_DEAD && link != &broker->deaths;
	     link = link->prev) {
		const struct death *death = owner_of(link, struct death, link);
		if (death->pid != wanted->pid || !death->dead || !is_same_user(asker, death->uid))
			continue;
		death_entry(death, entry);
		*ret_fd = death->table_fd;
		return true;
	}
	return false;
}

int table_answer(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_FOUND, .serial = message->serial};
	int fd;

	recorder_expire(peer->broker, now_ns);
	if (find_table(peer, &message->table, &answer.found.entry, &fd))
		return peer_send(peer, &answer, &fd, 1);
	peer_result(peer, message->serial, -ENOENT, (struct ctxd_id){0});
	return 0;
}
