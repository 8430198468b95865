/* SPDX-License-Identifier: MIT */
/* Shared contexts, and the processes that joined them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "parts.h"

/* So many of one user are remembered after their end, for those who come late. */
#define ENDED_MAX 1024
#define ENDED_NS 60000000000ull

struct ctxd_id share_id(const struct share *share)
{
	return (struct ctxd_id){.epoch = share->broker->epoch, .number = share->number};
}

/* ---- finding */

static uint64_t pipe_key(uint64_t device, uint64_t inode)
{
	return device * 31 + inode;
}

static uint64_t name_key(uid_t uid, const char *name)
{
	uint64_t key = 14695981039346656037ull ^ uid;

	for (; *name; name++)
		key = (key ^ (unsigned char)*name) * 1099511628211ull;
	return key;
}

static struct share *find_number(struct broker *broker, uint64_t number)
{
	struct map_node *node = map_find(&broker->shares_by_number, number);

	return node ? owner_of(node, struct share, by_number) : NULL;
}

static struct share *find_pipe(struct broker *broker, const struct stat *pipe)
{
	struct map_node *node = map_find(&broker->shares_by_pipe, pipe_key(pipe->st_dev, pipe->st_ino));

	for (; node; node = map_again(node)) {
		struct share *share = owner_of(node, struct share, by_pipe);
		if (share->pipe_device == pipe->st_dev && share->pipe_inode == pipe->st_ino)
			return share;
	}
	return NULL;
}

static struct share *find_name(struct broker *broker, uid_t uid, const char *name)
{
	struct map_node *node = map_find(&broker->shares_by_name, name_key(uid, name));

	for (; node; node = map_again(node)) {
		struct share *share = owner_of(node, struct share, by_name);
		if (share->uid == uid && strcmp(share->name, name) == 0)
			return share;
	}
	return NULL;
}

int share_find(struct peer *peer, struct ctxd_id id, enum right right, struct share **ret_share)
{
	struct broker *broker = peer->broker;

	if (id.epoch != broker->epoch)
		return -ESTALE;
	struct share *share = find_number(broker, id.number);
	if (!share || !may(peer, share, right))
		return -ENOENT;
	*ret_share = share;
	return 0;
}

struct share *share_of_context(struct peer *owner, uint64_t ctx_id)
{
	for (struct link *link = owner->shares.next; link != &owner->shares; link = link->next) {
		struct share *share = owner_of(link, struct share, link);
		if (share->ctx_id == ctx_id)
			return share;
	}
	return NULL;
}

/* One that peer joined under that id; by its own id of it too, unless that is UINT64_MAX. */
static struct join *find_join(struct peer *peer, struct ctxd_id id, uint64_t ctx_id)
{
	struct share *share = id.epoch == peer->broker->epoch ? find_number(peer->broker, id.number) : NULL;

	if (!share)
		return NULL;
	for (struct link *link = share->joins.next; link != &share->joins; link = link->next) {
		struct join *join = owner_of(link, struct join, of_share);
		if (join->peer == peer && (ctx_id == UINT64_MAX || join->ctx_id == ctx_id))
			return join;
	}
	return NULL;
}

/* ---- making and freeing */

/*
 * The read end of a pipe that this process, or at least its user, made: no FIFO, which a file system of
 * others may serve, and nothing that was opened with O_PATH.
 */
static bool is_done_pipe(const struct peer *peer, int fd, bool by_owner, struct stat *ret_status)
{
	int mode = fcntl(fd, F_GETFL);

	return mode >= 0 && !(mode & O_PATH) && (mode & O_ACCMODE) == O_RDONLY &&
	       pipe_status(peer->broker, fd, ret_status) &&
	       (!by_owner || peer->identity.uid == 0 || ret_status->st_uid == peer->identity.uid);
}

/* What a live one costs: itself, and its pipe. */
static bool charge(struct broker *broker, struct account *account)
{
	if (!account_charge(&broker->accounts, account, QUOTA_CONTEXTS, 1))
		return false;
	if (account_charge(&broker->accounts, account, QUOTA_FDS, 1))
		return true;
	account_return(account, QUOTA_CONTEXTS, 1);
	return false;
}

static void uncharge(struct account *account)
{
	account_return(account, QUOTA_FDS, 1);
	account_return(account, QUOTA_CONTEXTS, 1);
}

/* One of uid, for which peer pays. Takes pipe_fd over on success. */
static struct share *share_new(struct peer *peer, uid_t uid, int pipe_fd, const struct stat *pipe,
			       uint64_t now_ns)
{
	struct broker *broker = peer->broker;
	struct share *share = calloc(1, sizeof(*share));
	struct account *account = share ? account_hold(&broker->accounts, peer->identity.uid) : NULL;

	if (!account || !charge(broker, account)) {
		account_release(&broker->accounts, account);
		free(share);
		return NULL;
	}
	share->broker = broker;
	share->account = account;
	share->uid = uid;
	share->pipe_fd = pipe_fd;
	share->pipe_device = pipe->st_dev;
	share->pipe_inode = pipe->st_ino;
	share->has_pipe = true;
	share->created_ns = now_ns;
	share->number = ++broker->last_number;
	struct link *lists[] = {&share->link, &share->joins, &share->below, &share->beside, &share->todo};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		link_init(lists[i]);
	map_add(&broker->shares_by_number, &share->by_number, share->number);
	map_add(&broker->shares_by_pipe, &share->by_pipe, pipe_key(pipe->st_dev, pipe->st_ino));
	thing_add(broker, &share->thing, CTXD_SHARED);
	return share;
}

/* It cannot be found by name or pipe any more. */
static void give_back(struct share *share)
{
	struct broker *broker = share->broker;

	if (share->has_pipe) {
		map_remove(&broker->shares_by_pipe, &share->by_pipe);
		dispose(broker, share->account->uid, share->pipe_fd, true);
		share->pipe_fd = -1;
		uncharge(share->account);
	}
	if (share->has_name)
		map_remove(&broker->shares_by_name, &share->by_name);
	share->has_pipe = share->has_name = false;
	share->owner = NULL;
}

void share_free(struct share *share)
{
	struct broker *broker = share->broker;
	bool listed = !share->unclaimed;

	share->unclaimed = false; /* the last join does not free it once more */
	while (!link_alone(&share->joins))
		join_free(owner_of(share->joins.next, struct join, of_share));
	share->unclaimed = !listed;
	if (listed)
		thing_event(broker, &share->thing, CTXD_EVENT_REMOVED);
	thing_remove(broker, &share->thing);
	give_back(share);
	link_remove(&share->link);
	link_remove(&share->beside);
	while (!link_alone(&share->below))
		link_remove(share->below.next);
	map_remove(&broker->shares_by_number, &share->by_number);
	account_release(&broker->accounts, share->account);
	free(share);
}

void join_free(struct join *join)
{
	struct share *share = join->share;
	struct broker *broker = share->broker;

	thing_event(broker, &join->thing, CTXD_EVENT_REMOVED);
	thing_remove(broker, &join->thing);
	link_remove(&join->of_share);
	link_remove(&join->of_peer);
	share->join_count--;
	account_return(join->peer->account, QUOTA_JOINS, 1);
	free(join);
	if (share->unclaimed && !share->join_count)
		share_free(share);
}

/* ---- the end */

void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns)
{
	struct broker *broker = share->broker;
	unsigned kept = 0;

	if (share->ended_ns)
		return;
	share->ended_ns = now_ns ? now_ns : 1;
	share->cause = *cause;
	give_back(share);
	link_remove(&share->link);
	link_append(&broker->ended, &share->link);
	thing_event(broker, &share->thing, CTXD_EVENT_ENDED);
	for (struct link *link = broker->ended.prev, *next; link != &broker->ended; link = next) {
		struct share *other = owner_of(link, struct share, link);
		next = link->prev;
		if (other->uid == share->uid && ++kept > ENDED_MAX) {
			share_free(other);
			return;
		}
	}
}

void share_orphan(struct share *share, uint64_t now_ns)
{
	struct ctx_cause cause = {
		.error = -ECANCELED,
		.kind = CTX_CAUSE_OWNER,
		.inherited = true,
		.time_ns = now_ns,
		.pid = share->pid,
		.uid = share->uid,
		.text = "its owner died, or left the service",
	};

	share_end(share, &cause, now_ns);
}

void shares_expire(struct broker *broker, uint64_t now_ns)
{
	while (!link_alone(&broker->ended)) {
		struct share *share = owner_of(broker->ended.next, struct share, link);
		if (now_ns < share->ended_ns + ENDED_NS)
			return;
		share_free(share);
	}
}

uint64_t shares_next_ns(const struct broker *broker)
{
	if (link_alone(&broker->ended))
		return UINT64_MAX;
	return owner_of(broker->ended.next, struct share, link)->ended_ns + ENDED_NS;
}

/* ---- sharing */

/*
 * 0 and what it stands below; -EPROTO: an id that was never given; -EMLINK: too deep. NULL: nothing, or
 * nothing that is known any more: it may have been withdrawn without a word to who joined.
 */
static int find_parent(struct peer *peer, struct ctxd_id id, struct share **ret_parent)
{
	struct broker *broker = peer->broker;

	*ret_parent = NULL;
	if (wire_id_is_none(id))
		return 0;
	if (id.epoch != broker->epoch || !id.number || id.number > broker->last_number)
		return -EPROTO;
	struct join *join = find_join(peer, id, UINT64_MAX);
	if (!join)
		return 0;
	*ret_parent = join->share;
	return join->share->depth >= broker->config.depth_max ? -EMLINK : 0;
}

/*
 * What was shared below share before it was claimed knew nothing of what is above that. Counts anew from
 * there on; what turns out to be too deep does not stay.
 */
static void count_depths(struct share *share)
{
	struct link todo;

	link_init(&todo);
	link_append(&todo, &share->todo);
	while (!link_alone(&todo)) {
		struct share *above = owner_of(todo.next, struct share, todo);
		link_remove(&above->todo);
		for (struct link *link = above->below.next; link != &above->below; link = link->next) {
			struct share *below = owner_of(link, struct share, beside);
			below->depth = above->depth + 1;
			link_append(&todo, &below->todo);
		}
		if (above->depth > share->broker->config.depth_max)
			share_free(above);
	}
}

/* Its owner pays for it from now on. */
static bool take_over(struct share *share, struct peer *peer)
{
	struct accounts *accounts = &peer->broker->accounts;

	if (share->account == peer->account)
		return true;
	if (!charge(peer->broker, peer->account))
		return false;
	uncharge(share->account);
	account_release(accounts, share->account);
	share->account = account_hold(accounts, peer->identity.uid);
	return true;
}

/*
 * Whether share is the one of that id or stands above it. What is joined was there before what is shared
 * below it, so the chain has an end, unless what only those who joined know of is claimed by somebody who
 * lies.
 */
static bool is_above(struct broker *broker, const struct share *share, struct ctxd_id id)
{
	while (!wire_id_is_none(id)) {
		const struct share *other = find_number(broker, id.number);
		if (!other || other == share)
			return other != NULL;
		id = other->parent;
	}
	return false;
}

/* What was known from those who joined becomes its owner's again. */
static void claim(struct share *share)
{
	share->unclaimed = false;
	count_depths(share);
	thing_event(share->broker, &share->thing, CTXD_EVENT_ADDED);
}

static void fill(struct share *share, struct peer *peer, const struct wire_share *from, struct share *parent)
{
	share->owner = peer;
	share->pid = peer->identity.pid;
	share->uid = peer->identity.uid;
	share->gid = peer->identity.gid;
	memcpy(share->process, peer->process, sizeof(share->process));
	share->table = peer->table;
	share->ctx_id = from->ctx_id;
	memcpy(share->name, from->name, sizeof(share->name));
	memcpy(share->label, from->label, sizeof(share->label));
	share->mode = from->mode;
	share->movable = from->flags & WIRE_MOVABLE;
	share->deadline_ns = from->deadline_ns;
	share->parent = parent ? share_id(parent) : (struct ctxd_id){0};
	share->depth = parent ? parent->depth + 1 : 0;
	if (parent)
		link_append(&parent->below, &share->beside);
	if (from->name[0]) {
		map_add(&peer->broker->shares_by_name, &share->by_name, name_key(share->uid, share->name));
		share->has_name = true;
	}
	link_append(&peer->shares, &share->link);
}

/*
 * Who joined hears of the deadline, unless it knows that one. -EAGAIN: it does not fit the queue, and goes
 * when there is room. What is not claimed yet has none that can be relied on.
 */
static int tell_deadline(struct join *join)
{
	const struct share *share = join->share;
	struct wire_message message = {.type = WIRE_MOVED,
				       .move = {.id = share_id(share), .deadline_ns = share->deadline_ns}};

	if (share->unclaimed || join->deadline_ns == share->deadline_ns)
		return 0;
	if (peer_send(join->peer, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	join->deadline_ns = share->deadline_ns;
	return 0;
}

/* Of those who came first after a restart, who may not see it does not stay, and who does hears what they
 * missed. */
static void check_joins(struct share *share)
{
	for (struct link *link = share->joins.next, *next; link != &share->joins; link = next) {
		struct join *join = owner_of(link, struct join, of_share);
		next = link->next;
		if (may(join->peer, share, RIGHT_SEE))
			tell_deadline(join);
		else
			join_free(join);
	}
}

/* 0 and the id; or what the client is answered. */
static int begin(struct peer *peer, const struct wire_share *from, int *pipe_fd, const struct stat *pipe,
		 uint64_t now_ns, struct ctxd_id *ret_id)
{
	struct broker *broker = peer->broker;
	struct share *share = find_pipe(broker, pipe);
	struct share *parent;
	int error = find_parent(peer, from->parent, &parent);

	if (error)
		return error;
	if (share && (!share->unclaimed || !is_own_user(peer, share->uid)))
		return -EEXIST;
	if (share && parent && is_above(broker, share, from->parent))
		return -EPROTO;
	if (from->name[0] && !is_own_user(peer, peer->identity.uid))
		return -EPERM; /* it would be a name that many users give */
	if (from->name[0] && find_name(broker, peer->identity.uid, from->name))
		return -EEXIST;
	if (peer->identity.pidfd < 0)
		return -ESRCH; /* nobody could tell when it dies */
	if (!share) {
		share = share_new(peer, peer->identity.uid, *pipe_fd, pipe, now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
		fill(share, peer, from, parent);
		thing_event(broker, &share->thing, CTXD_EVENT_ADDED);
	} else if (!take_over(share, peer)) {
		return -EDQUOT;
	} else {
		fill(share, peer, from, parent);
		claim(share);
		check_joins(share);
	}
	*ret_id = share_id(share);
	return 0;
}

int share_begin(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	struct ctxd_id id = {0};
	struct stat pipe;
	int error = -EPROTO;
	bool is_pipe = is_done_pipe(peer, pipe_fd, true, &pipe);

	if (is_pipe)
		error = begin(peer, &message->share, &pipe_fd, &pipe, now_ns, &id);
	dispose(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, id);
	return 0;
}

/* One that peer shares. */
static struct share *find_own(struct peer *peer, struct ctxd_id id)
{
	struct share *share = id.epoch == peer->broker->epoch ? find_number(peer->broker, id.number) : NULL;

	return share && share->owner == peer ? share : NULL;
}

int share_withdraw(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct share *share = find_own(peer, message->id);

	(void)now_ns;
	peer_result(peer, message->serial, share ? 0 : -ENOENT, (struct ctxd_id){0});
	if (share)
		share_free(share);
	return 0;
}

int share_move(struct peer *peer, const struct wire_move *move)
{
	struct share *share = find_own(peer, move->id);

	if (!share)
		return 0; /* its end and this met on the way */
	share->deadline_ns = move->deadline_ns;
	thing_event(peer->broker, &share->thing, CTXD_EVENT_MOVED);
	for (struct link *link = share->joins.next; link != &share->joins; link = link->next)
		tell_deadline(owner_of(link, struct join, of_share));
	return 0;
}

bool moves_resume(struct peer *peer)
{
	for (struct link *link = peer->joins.next; link != &peer->joins; link = link->next)
		if (tell_deadline(owner_of(link, struct join, of_peer)) == -EAGAIN)
			return false;
	return true;
}

int share_told_ended(struct peer *peer, const struct wire_ended *ended, uint64_t now_ns)
{
	struct share *share = find_own(peer, ended->id);
	struct ctx_cause cause;

	if (!share)
		return 0;
	wire_cause_to(&ended->cause, &cause);
	share_end(share, &cause, now_ns);
	return 0;
}

/* ---- joining */

static int join_new(struct peer *peer, struct share *share, uint64_t now_ns, struct join **ret_join)
{
	struct broker *broker = peer->broker;
	struct join *join;

	if (!account_charge(&broker->accounts, peer->account, QUOTA_JOINS, 1))
		return -EDQUOT;
	join = calloc(1, sizeof(*join));
	if (!join) {
		account_return(peer->account, QUOTA_JOINS, 1);
		return -ENOMEM;
	}
	join->share = share;
	join->peer = peer;
	join->created_ns = now_ns;
	join->deadline_ns = share->deadline_ns;
	share->join_count++;
	link_append(&share->joins, &join->of_share);
	link_append(&peer->joins, &join->of_peer);
	thing_add(broker, &join->thing, CTXD_JOINED);
	thing_event(broker, &join->thing, CTXD_EVENT_ADDED);
	*ret_join = join;
	return 0;
}

static int find_wanted(struct peer *peer, const struct wire_join *wanted, struct share **ret_share)
{
	if (!wire_id_is_none(wanted->id))
		return share_find(peer, wanted->id, RIGHT_SEE, ret_share);
	uid_t uid = wanted->uid == UINT32_MAX ? peer->identity.uid : wanted->uid;
	struct share *share = find_name(peer->broker, uid, wanted->name);
	if (!share || !may(peer, share, RIGHT_SEE))
		return -ENOENT;
	*ret_share = share;
	return 0;
}

static void fill_joined(const struct share *share, struct wire_joined *joined)
{
	*joined = (struct wire_joined){
		.id = share_id(share),
		.deadline_ns = share->deadline_ns,
		.ctx_id = share->ctx_id,
		.owner_pid = share->pid,
		.owner_uid = share->uid,
		.flags = share->movable ? WIRE_MOVABLE : 0,
		.ended = share->ended_ns != 0,
	};
	if (share->ended_ns)
		wire_cause_from(&share->cause, share->cause.error == -ETIME ? -ETIME : -ECANCELED,
				&joined->cause);
	memcpy(joined->label, share->label, sizeof(joined->label));
}

int join_begin(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct wire_message answer = {.type = WIRE_JOINED, .serial = message->serial};
	struct share *share = NULL;
	struct join *join = NULL;
	int error = find_wanted(peer, &message->join, &share);

	if (!error && !share->ended_ns)
		error = share->unclaimed ? -ENOENT : join_new(peer, share, now_ns, &join);
	if (error) {
		peer_result(peer, message->serial, error, (struct ctxd_id){0});
		return 0;
	}
	fill_joined(share, &answer.joined);
	if (share->ended_ns)
		return peer_send(peer, &answer, NULL, 0);
	int fds[2] = {share->pipe_fd, share->owner->identity.pidfd};
	return peer_send(peer, &answer, fds, 2);
}

/* After a restart: the pipe says what was joined, also before its owner comes back. */
static int again(struct peer *peer, const struct wire_rejoin *from, int *pipe_fd, const struct stat *pipe,
		 uint64_t now_ns, struct join **ret_join)
{
	struct broker *broker = peer->broker;
	struct share *share = find_pipe(broker, pipe);

	if (share && !share->unclaimed && !may(peer, share, RIGHT_SEE))
		return -ENOENT;
	if (!share) {
		share = share_new(peer, pipe->st_uid, *pipe_fd, pipe, now_ns);
		if (!share)
			return -EDQUOT;
		*pipe_fd = -1;
		share->unclaimed = true;
		share->deadline_ns = from->deadline_ns;
		memcpy(share->label, from->label, sizeof(share->label));
	}
	int error = join_new(peer, share, now_ns, ret_join);
	if (error) {
		if (share->unclaimed && !share->join_count)
			share_free(share);
		return error;
	}
	(*ret_join)->ctx_id = from->ctx_id;
	(*ret_join)->deadline_ns = from->deadline_ns;
	return 0;
}

int join_again(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns)
{
	struct join *join = NULL;
	struct stat pipe;
	int error = -EPROTO;
	bool is_pipe = is_done_pipe(peer, pipe_fd, false, &pipe);

	if (is_pipe)
		error = again(peer, &message->rejoin, &pipe_fd, &pipe, now_ns, &join);
	dispose(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, join ? share_id(join->share) : (struct ctxd_id){0});
	/* Behind the id, by which it is understood. */
	if (join)
		tell_deadline(join);
	return 0;
}

int join_attach(struct peer *peer, const struct wire_attach *attach)
{
	struct join *join = find_join(peer, attach->id, 0);

	if (join)
		join->ctx_id = attach->ctx_id;
	return 0;
}

int join_leave(struct peer *peer, const struct wire_attach *left)
{
	struct join *join = find_join(peer, left->id, left->ctx_id);

	if (!join) /* it left before it was attached */
		join = find_join(peer, left->id, 0);
	if (join)
		join_free(join);
	return 0;
}
