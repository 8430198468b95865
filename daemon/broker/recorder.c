/* SPDX-License-Identifier: MIT */
/*
 * The flight recorder keeps the tables of processes that were killed or crashed. It keeps none of a process
 * that ended by exit(3): there is nothing to explain, and it would push out others.
 *
 * When a connection ends its process may live on, or be dying: the kernel closes descriptors before the pidfd
 * becomes readable. So a table whose client is gone is parted first, and for PARTED_MAX_NS its process is
 * looked at every LOOK_NS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "parts.h"

#define LOOK_NS 5000000ull
/* A process that has not ended by then is taken to be alive, and its table is not kept. */
#define PARTED_MAX_NS 2000000000ull
/*
 * How many parted tables of one user are looked after. More of them only come of connections that are closed
 * faster than processes end.
 */
#define PARTED_MAX 1024

/* While its table is being copied, a death is in no list. */
static void leave_death_lists(struct death *death)
{
	if (list_empty(&death->link))
		return;
	if (death->dead) {
		death->account->dead_count--;
		death->account->dead_bytes -= death->bytes;
	} else {
		death->account->parted_count--;
	}
	list_remove(&death->link);
	list_remove(&death->of_account);
}

static void death_free(struct death *death)
{
	struct broker *broker = death->broker;

	if (death->dead) {
		listed_event(broker, &death->listed, CTXD_EVENT_REMOVED);
		map_remove(&broker->deaths_by_pid, &death->by_pid);
	}
	listed_remove(broker, &death->listed);
	leave_death_lists(death);
	map_remove(&broker->deaths_by_table, &death->by_table);
	given_close(broker, death->uid, death->table_fd, true);
	account_return(death->account, QUOTA_FDS, 1);
	if (death->pidfd >= 0) {
		close(death->pidfd);
		account_return(death->account, QUOTA_FDS, 1);
	}
	account_unref(&broker->accounts, death->account);
	free(death);
}

/*
 * Frees the oldest tables of this user until those that are kept are within the limits. A new configuration
 * may have lowered these.
 */
static void trim_dead(struct broker *broker, struct account *account)
{
	/* The last reference on the account may be that of a death. */
	account->refs++;
	while (!list_empty(&account->dead) && (account->dead_count > broker->config.retain_tables ||
					       account->dead_bytes > broker->config.retain_bytes))
		death_free(container_of(account->dead.next, struct death, of_account));
	account_unref(&broker->accounts, account);
}

/* Whether the process ended by exit(3). Its library notes that in the table. */
static bool has_exited(int table_fd)
{
	struct ctx_table_header header;

	return pread(table_fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
	       header.contexts.flags & CTX_TABLE_EXITED;
}

/* The copy of the table is there, or could not be made. */
static void table_copied(void *data, int table_fd)
{
	struct death *death = data;
	struct broker *broker = death->broker;
	struct account *account = death->account;
	struct stat status;

	death->copying = false;
	death->table_fd = table_fd;
	if (table_fd < 0 || fstat(table_fd, &status)) {
		if (table_fd != -ECANCELED && log_admits(LOG_LEVEL_INFO, death->uid, LOG_TROUBLE))
			log_event(LOG_LEVEL_INFO, "recorder", "uid=%u pid=%d error=%s", death->uid,
				  death->pid, strerrorname_np(table_fd < 0 ? -table_fd : errno));
		death_free(death);
		return;
	}
	if (broker->emptied || has_exited(table_fd)) {
		death_free(death);
		return;
	}
	death->dead = true;
	death->bytes = (uint64_t)status.st_blocks * 512;
	account->dead_count++;
	account->dead_bytes += death->bytes;
	map_add(&broker->deaths_by_pid, &death->by_pid, (uint64_t)death->pid);
	list_append(&broker->dead, &death->link);
	list_append(&account->dead, &death->of_account);
	listed_add(broker, &death->listed, CTXD_DEAD);
	listed_event(broker, &death->listed, CTXD_EVENT_ADDED);
	trim_dead(broker, account);
}

/*
 * The process is dead: has its table copied. The original may be mapped by another process, which could fill
 * it later.
 */
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
	leave_death_lists(death);
	death->copying = true;
	death->table_fd = -1;
	disposal->copy(disposal->link, death->uid, table_fd, death->broker->config.retain_bytes, table_copied,
		       death);
}

/* Whether another connection of the process keeps this table, or the recorder has it. */
static bool is_table_known(struct broker *broker, uint64_t table)
{
	return map_find(&broker->peers_by_table, table) || map_find(&broker->deaths_by_table, table);
}

void recorder_add(struct peer *peer, bool died, uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	struct account *account = peer->account;
	struct death *death = is_table_known(broker, peer->table) ? NULL : calloc(1, sizeof(*death));

	if (!death)
		return;
	*death = (struct death){
		.broker = broker,
		.account = account_ref(&broker->accounts, peer->identity.uid),
		.pid = peer->identity.pid,
		.uid = peer->identity.uid,
		.gid = peer->identity.gid,
		.table_fd = peer->table_fd,
		.pidfd = peer->identity.pidfd,
		.table = peer->table,
		.parted_ns = now_ns,
		.looked_ns = now_ns,
	};
	memcpy(death->process, peer->name, sizeof(death->process));
	/* The death has these two now, and their charges. */
	peer->table_fd = peer->identity.pidfd = -1;
	map_add(&broker->deaths_by_table, &death->by_table, death->table);
	list_append(&broker->parted, &death->link);
	list_append(&account->parted, &death->of_account);
	account->parted_count++;
	if (died || process_has_ended(death->pidfd))
		declare_dead(death, now_ns);
	else if (account->parted_count > PARTED_MAX)
		death_free(container_of(account->parted.next, struct death, of_account));
}

/*
 * Looks whether the process of the death that was looked at longest ago has ended. The death goes to the end
 * of the list, or is freed.
 */
static void look_at_parted(struct death *death, uint64_t now_ns)
{
	struct broker *broker = death->broker;

	broker->work += WORK_ITEM;
	death->looked_ns = now_ns;
	list_remove(&death->link);
	list_append(&broker->parted, &death->link);
	if (process_has_ended(death->pidfd))
		declare_dead(death, now_ns);
	else if (now_ns >= death->parted_ns + PARTED_MAX_NS)
		death_free(death);
}

/* Both lists have the death that is to be looked at next at their beginning. */
void recorder_expire(struct broker *broker, uint64_t now_ns)
{
	while (!list_empty(&broker->parted) && piece_lasts(broker)) {
		struct death *death = container_of(broker->parted.next, struct death, link);
		if (now_ns < death->looked_ns + LOOK_NS)
			break;
		look_at_parted(death, now_ns);
	}
	for (; !list_empty(&broker->dead) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct death *death = container_of(broker->dead.next, struct death, link);
		if (now_ns < death->parted_ns + broker->config.retain_ns)
			break;
		death_free(death);
	}
}

uint64_t recorder_next_ns(const struct broker *broker)
{
	uint64_t next_ns = UINT64_MAX;

	if (!list_empty(&broker->parted))
		next_ns = container_of(broker->parted.next, struct death, link)->looked_ns + LOOK_NS;
	if (!list_empty(&broker->dead)) {
		uint64_t due_ns = container_of(broker->dead.next, struct death, link)->parted_ns +
				  broker->config.retain_ns;
		next_ns = due_ns < next_ns ? due_ns : next_ns;
	}
	return next_ns;
}

void recorder_free(struct broker *broker)
{
	struct list *lists[] = {&broker->dead, &broker->parted};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		while (!list_empty(lists[i]))
			death_free(container_of(lists[i]->next, struct death, link));
}

/* ---- tables, of the living and the dead */

/*
 * Finds the table of the latest process with that pid that asker may see. A pid may have been used again, so
 * there can be several.
 */
static bool find_table_of_pid(struct peer *asker, const struct wire_table *wanted, struct ctxd_entry *entry,
			      int *ret_fd)
{
	struct broker *broker = asker->broker;
	bool living = wanted->kind == CTXD_PROCESS;
	struct map_node *node =
		map_find(living ? &broker->peers_by_pid : &broker->deaths_by_pid, (uint64_t)wanted->pid);

	for (; node && piece_lasts(broker); node = map_older(node), broker->work += WORK_STEP) {
		if (living) {
			const struct peer *peer = container_of(node, struct peer, by_pid);
			/* There was no memory for its process, so the client is being disconnected. */
			if (!peer->process || !is_same_user(asker, peer->identity.uid))
				continue;
			listed_entry(&peer->process->listed, entry);
			*ret_fd = peer->table_fd;
			return true;
		}
		const struct death *death = container_of(node, struct death, by_pid);
		if (!is_same_user(asker, death->uid))
			continue;
		listed_entry(&death->listed, entry);
		*ret_fd = death->table_fd;
		return true;
	}
	return false;
}

int handle_table(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_FOUND, .serial = message->serial};
	int fd;

	recorder_expire(peer->broker, now_ns);
	if (find_table_of_pid(peer, &message->table, &answer.found.entry, &fd))
		return peer_send(peer, &answer, &fd, 1);
	peer_result(peer, message->serial, -ENOENT, (struct ctxd_id){0});
	return 0;
}
