/* SPDX-License-Identifier: MIT */
/*
 * A client from its connection to its end: HELLO, the handlers of its messages, its turns, and taking apart
 * what it had.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"
#include "parts.h"
#include "table_copy.h"

/* ---- the end of a client */

static void forget_table(struct peer *peer)
{
	struct broker *broker = peer->broker;

	if (peer->table_fd < 0)
		return;
	map_remove(&broker->peers_by_table, &peer->by_table);
	map_remove(&broker->peers_by_pid, &peer->by_pid);
}

static void session_free(struct peer *peer)
{
	struct broker *broker = peer->broker;

	process_unref(peer);
	list_remove(&peer->link);
	broker->peer_count--;
	lanes_remove(&broker->jobs, &peer->job.link);
	if (peer->table_fd >= 0)
		recorder_add(peer, peer->died, peer->gone_ns);
	if (peer->table_fd >= 0) {
		given_close(broker, peer->identity.uid, peer->table_fd, true);
		account_return(peer->account, QUOTA_FDS, 1);
	}
	if (peer->identity.pidfd >= 0) {
		close(peer->identity.pidfd);
		account_return(peer->account, QUOTA_FDS, 1);
	}
	account_return(peer->account, QUOTA_FDS, peer->connection_fds);
	account_return(peer->account, QUOTA_CONNECTIONS, 1);
	account_unref(&broker->accounts, peer->account);
	free(peer->identity.groups);
	free(peer);
}

/*
 * The end of the bridge is not the end of a context of another host. Who has joined its mirror knows by the
 * pipe that the link is lost, and joins it again.
 */
static void orphan_share(struct share *share, uint64_t now_ns)
{
	if (share->remote)
		share_free(share);
	else
		share_orphan(share, now_ns);
}

/*
 * Takes apart what a gone client had, as far as the piece lasts. False: all is done, and the client is freed.
 * Until then it is charged for all it had.
 */
static bool session_take_apart(struct peer *peer)
{
	struct broker *broker = peer->broker;

	if (!bridge_take_apart(peer) || !pending_peer_gone(peer) || !cancels_peer_gone(peer, peer->gone_ns))
		return true;
	for (; !list_empty(&peer->joins) && piece_lasts(broker); broker->work += WORK_ITEM)
		join_free(container_of(peer->joins.next, struct join, of_peer));
	for (; !list_empty(&peer->shares) && piece_lasts(broker); broker->work += WORK_ITEM)
		orphan_share(container_of(peer->shares.next, struct share, link), peer->gone_ns);
	if (!list_empty(&peer->joins) || !list_empty(&peer->shares))
		return true;
	session_free(peer);
	return false;
}

/* ---- the turns of a client */

/*
 * Sends one message of those that wait. Orders go before moved deadlines, these before answers that others
 * gave and what the bridge is told, and all of these before events.
 */
static bool tell_next(struct peer *peer)
{
	int result;

	if (peer->full)
		return watch_tell_next(peer);
	if (peer->terms_due)
		result = terms_send(peer);
	else if (!list_empty(&peer->unsent))
		result = order_send_next(peer);
	else if (!list_empty(&peer->moved))
		result = join_tell_next(peer);
	else if (!list_empty(&peer->ready))
		result = pending_send_next(peer);
	else if (is_bridge(peer) && peer->broker->notes.count)
		result = note_send_next(peer);
	else
		return watch_tell_next(peer);
	peer->full = result == -EAGAIN;
	return true;
}

static bool peer_run(struct job *job)
{
	struct peer *peer = container_of(job, struct peer, job);
	bool more = true;

	if (peer->gone)
		return session_take_apart(peer);
	while (more && piece_lasts(peer->broker))
		more = tell_next(peer);
	return more;
}

/* ---- the beginning of a client */

static int compare_groups(const void *a, const void *b)
{
	gid_t left = *(const gid_t *)a, right = *(const gid_t *)b;

	return (left > right) - (left < right);
}

/*
 * Sorts the groups. The kernel has them sorted, but by its own numbers, which may differ from those in our
 * user namespace.
 */
static void sort_groups(struct identity *identity)
{
	for (unsigned i = 1; i < identity->group_count; i++)
		if (identity->groups[i - 1] > identity->groups[i]) {
			qsort(identity->groups, identity->group_count, sizeof(gid_t), compare_groups);
			return;
		}
}

int peer_new(struct broker *broker, const struct identity *identity, const struct peer_output *output,
	     uint64_t now_ns, struct peer **ret_peer)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	struct account *account = peer ? account_ref(&broker->accounts, identity->uid) : NULL;
	/* The socket, and a second pidfd by which the connection watches the process. */
	uint64_t connection_fds = identity->pidfd >= 0 ? 2 : 1;
	uint64_t fds = identity->pidfd >= 0 ? connection_fds + 1 : connection_fds;
	int error = account ? 0 : -ENOMEM;

	if (!error && !given_has_room(broker, identity->uid))
		error = -EDQUOT;
	if (!error && !account_charge(&broker->accounts, account, QUOTA_CONNECTIONS, 1))
		error = -EDQUOT;
	if (!error && !account_charge(&broker->accounts, account, QUOTA_FDS, fds)) {
		account_return(account, QUOTA_CONNECTIONS, 1);
		error = -EDQUOT;
	}
	if (error) {
		account_unref(&broker->accounts, account);
		free(peer);
		free(identity->groups);
		if (identity->pidfd >= 0)
			close(identity->pidfd);
		return error;
	}
	peer->broker = broker;
	peer->identity = *identity;
	sort_groups(&peer->identity);
	peer->account = account;
	peer->output = *output;
	peer->connection_fds = connection_fds;
	peer->table_fd = -1;
	peer->created_ns = now_ns;
	peer->job.uid = identity->uid;
	peer->job.run = peer_run;
	struct list *lists[] = {&peer->watch_link, &peer->shares,  &peer->joins, &peer->orders,
				&peer->cancels,	   &peer->unsent,  &peer->moved, &peer->job.link,
				&peer->of_process, &peer->pending, &peer->ready};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	list_append(&broker->peers, &peer->link);
	broker->peer_count++;
	*ret_peer = peer;
	return 0;
}

void peer_free(struct peer *peer, bool died, uint64_t now_ns)
{
	struct broker *broker = peer->broker;

	broker->now_ns = now_ns;
	piece_begin(broker);
	peer->gone = true;
	peer->died = died;
	peer->gone_ns = now_ns;
	bridge_gone(peer);
	watch_end(peer);
	process_detach(peer);
	forget_table(peer);
	lanes_remove(&broker->jobs, &peer->job.link);
	job_begin(broker, &peer->job);
}

/* ---- HELLO */

/*
 * Whether fd is not on tmpfs. A table is known by its inode, which is unique within one file system only, and
 * all memfds but those on hugetlbfs are on one tmpfs.
 */
static bool is_on_hugetlbfs(int fd)
{
	struct statfs system;

	return !fstatfs(fd, &system) && system.f_type != TMPFS_MAGIC;
}

/* Whether fd can be a context table: a memfd of the peer's user, with the seals of a table. */
static bool is_table(const struct peer *peer, int fd, struct stat *ret_status)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & TABLE_SEALS) == TABLE_SEALS && !is_on_hugetlbfs(fd) &&
	       !fstat(fd, ret_status) && S_ISREG(ret_status->st_mode) &&
	       (peer->identity.uid == 0 || ret_status->st_uid == peer->identity.uid) &&
	       ret_status->st_size >= (off_t)sizeof(struct ctx_table_header);
}

/* Takes over table_fd, the table that the client published. */
static int take_table(struct peer *peer, int table_fd)
{
	struct broker *broker = peer->broker;
	struct stat status;
	bool good = is_table(peer, table_fd, &status);

	if (!good || !account_charge(&broker->accounts, peer->account, QUOTA_FDS, 1)) {
		given_close(broker, peer->identity.uid, table_fd, good);
		return good ? -EDQUOT : -EPROTO;
	}
	peer->table_fd = table_fd;
	peer->table = status.st_ino;
	map_add(&broker->peers_by_table, &peer->by_table, peer->table);
	map_add(&broker->peers_by_pid, &peer->by_pid, (uint64_t)peer->identity.pid);
	return 0;
}

static int handle_hello(struct peer *peer, const struct wire_message *message, int *fds)
{
	const struct wire_hello *hello = &message->hello;
	struct broker *broker = peer->broker;
	struct wire_message welcome = {.type = WIRE_WELCOME,
				       .serial = message->serial,
				       .welcome = {.version = WIRE_VERSION, .epoch = broker->epoch}};
	int error = 0;

	if (hello->version_min > WIRE_VERSION || hello->version_max < WIRE_VERSION)
		error = -EPROTONOSUPPORT;
	else if (!has_our_clock(peer))
		error = -EXDEV;
	if (error && hello->flags & WIRE_PUBLISH)
		given_close(broker, peer->identity.uid, fds[0], false);
	else if (hello->flags & WIRE_PUBLISH)
		error = take_table(peer, fds[0]);
	if (error)
		return error;
	memcpy(peer->name, hello->process, sizeof(peer->name));
	error = process_attach(peer);
	if (error)
		return error;
	peer->greeted = true;
	peer_send(peer, &welcome, NULL, 0);
	peer->full = terms_send(peer) == -EAGAIN;
	if (log_admits(LOG_LEVEL_DEBUG, peer->identity.uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_DEBUG, "connected", "uid=%u pid=%d published=%d", peer->identity.uid,
			  peer->identity.pid, peer->table_fd >= 0);
	return 0;
}

/* ---- messages */

static int handle_message(struct peer *peer, const struct wire_message *message, int *fds, uint64_t now_ns)
{
	switch (message->type) {
	case WIRE_SHARE:
		return handle_share(peer, message, fds[0], now_ns);
	case WIRE_UNSHARE:
		return handle_unshare(peer, message);
	case WIRE_MOVE:
		return handle_move(peer, &message->move);
	case WIRE_ENDED:
		return handle_ended(peer, &message->ended, now_ns);
	case WIRE_JOIN:
		return handle_join(peer, message, now_ns);
	case WIRE_REJOIN:
		return handle_rejoin(peer, message, fds[0], now_ns);
	case WIRE_ATTACH:
		return handle_attach(peer, &message->attach);
	case WIRE_LEAVE:
		return handle_leave(peer, &message->attach);
	case WIRE_LIST:
		return handle_list(peer, message);
	case WIRE_WATCH:
		return handle_watch(peer, message);
	case WIRE_CANCEL:
		return handle_cancel(peer, message, now_ns);
	case WIRE_TABLE:
		return handle_table(peer, message, now_ns);
	case WIRE_OBEYED:
		return handle_obeyed(peer, message, now_ns);
	case WIRE_JOIN_GLOBAL:
		return handle_join_global(peer, message, now_ns);
	case WIRE_WITHDRAW:
		return handle_withdraw(peer, message->serial);
	case WIRE_ASK:
		return handle_ask(peer, message, now_ns);
	case WIRE_BRIDGE:
		return handle_bridge(peer, message);
	case WIRE_MIRROR:
		return handle_mirror(peer, message, message->mirror.error ? -1 : fds[0], now_ns);
	case WIRE_TELL:
		return handle_tell(peer, message, message->told.error ? -1 : fds[0]);
	default:
		return -EPROTO; /* A second HELLO. */
	}
}

int peer_receive(struct peer *peer, const uint8_t *bytes, size_t size, int *fds, unsigned fd_count,
		 uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	struct wire_message message;
	int error = wire_unpack(bytes, size, fd_count, false, &message);

	broker->now_ns = now_ns;
	broker->work += WORK_MESSAGE;
	piece_begin(broker);

	if (!error && (message.type == WIRE_HELLO) == peer->greeted)
		error = -EPROTO;
	if (!error && fd_count && !given_has_room(peer->broker, peer->identity.uid))
		error = -EDQUOT;
	if (error) {
		peer_close_given(peer, fds, fd_count);
		return error;
	}
	if (message.type == WIRE_HELLO)
		return handle_hello(peer, &message, fds);
	error = handle_message(peer, &message, fds, now_ns);
	/* If the client's queue is full, that is no error of its own: what it is to be told is kept. */
	return error == -EPROTO || error == -EPROTONOSUPPORT || error == -EDQUOT || error == -ENOMEM ? error
												     : 0;
}
