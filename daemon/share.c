/* SPDX-License-Identifier: MIT */
/* Shared contexts, and the processes that joined them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"

/* So many of one user are remembered after their end, for those who come late. */
#define ENDED_MAX 1024
#define ENDED_NS 60000000000ull

/* ---- finding */

static uint64_t key_of(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t all[] = {a, b, c};

	return hash_bytes(all, sizeof(all));
}

static uint64_t pipe_key(uint64_t device, uint64_t inode)
{
	return key_of(device, inode, 0);
}

/* Of what peer joined. */
static uint64_t peer_key(const struct peer *peer, uint64_t number, uint64_t ctx_id)
{
	return key_of((uintptr_t)peer, number, ctx_id);
}

static uint64_t name_key(uid_t uid, const char *name)
{
	return hash_bytes(name, strlen(name)) + uid;
}

static struct share *find_number(struct broker *broker, uint64_t number)
{
	struct map_node *node = map_find(&broker->shares_by_number, number);

	return node ? container_of(node, struct share, by_number) : NULL;
}

static struct share *find_pipe(struct broker *broker, const struct stat *pipe)
{
	struct map_node *node = map_find(&broker->shares_by_pipe, pipe_key(pipe->st_dev, pipe->st_ino));

	for (; node; node = map_again(node)) {
		struct share *share = container_of(node, struct share, by_pipe);
		if (share->pipe_device == pipe->st_dev && share->pipe_inode == pipe->st_ino)
			return share;
	}
	return NULL;
}

static struct share *find_name(struct broker *broker, uid_t uid, const char *name)
{
	struct map_node *node = map_find(&broker->shares_by_name, name_key(uid, name));

	for (; node; node = map_again(node)) {
		struct share *share = container_of(node, struct share, by_name);
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

static uint64_t context_key(const struct process *owner, uint64_t ctx_id)
{
	return key_of(owner->number, 0, ctx_id);
}

struct share *share_of_context(const struct broker *broker, const struct process *owner, uint64_t ctx_id)
{
	struct map_node *node = map_find(&broker->shares_by_context, context_key(owner, ctx_id));

	return node ? container_of(node, struct share, by_context) : NULL;
}

/* The latest that peer joined under that id. */
static struct join *find_joined(struct peer *peer, struct ctxd_id id)
{
	struct broker *broker = peer->broker;
	struct map_node *node = id.epoch == broker->epoch
					? map_find(&broker->joins_by_share, peer_key(peer, id.number, 0))
					: NULL;

	return node ? container_of(node, struct join, by_share) : NULL;
}

/* And the one that has this id in its own table. */
static struct join *find_join(struct peer *peer, struct ctxd_id id, uint64_t ctx_id)
{
	struct broker *broker = peer->broker;
	struct map_node *node = id.epoch == broker->epoch ? map_find(&broker->joins_by_context,
								     peer_key(peer, id.number, ctx_id))
							  : NULL;

	return node ? container_of(node, struct join, by_context) : NULL;
}

static void set_context(struct join *join, uint64_t ctx_id)
{
	struct map *map = &join->share->broker->joins_by_context;

	map_remove(map, &join->by_context);
	join->ctx_id = ctx_id;
	map_add(map, &join->by_context, peer_key(join->peer, join->share->number, ctx_id));
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
	       given_pipe_status(peer->broker, fd, ret_status) &&
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
	share->job.uid = uid;
	share->job.run = share_run;
	struct list *lists[] = {&share->link, &share->joins,	  &share->below,   &share->beside,
				&share->todo, &share->of_account, &share->job.link};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
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
		given_close(broker, share->account->uid, share->pipe_fd, true);
		share->pipe_fd = -1;
		uncharge(share->account);
	}
	if (share->has_name)
		map_remove(&broker->shares_by_name, &share->by_name);
	if (share->owner)
		map_remove(&broker->shares_by_context, &share->by_context);
	share->has_pipe = share->has_name = false;
	share->owner = NULL;
}

static void leave_ended(struct share *share)
{
	if (list_empty(&share->of_account))
		return;
	list_remove(&share->of_account);
	share->account->ended_count--;
}

static void leave_above(struct share *share)
{
	list_remove(&share->beside);
	if (share->above)
		share->above->below_count--;
	share->above = NULL;
}

void share_hide(struct share *share)
{
	struct broker *broker = share->broker;

	if (share->leaving)
		return;
	share->leaving = true;
	thing_event(broker, &share->thing, CTXD_EVENT_REMOVED);
	thing_remove(broker, &share->thing);
	give_back(share);
	leave_ended(share);
	leave_above(share);
	list_remove(&share->link);
	list_remove(&share->todo);
	map_remove(&broker->shares_by_number, &share->by_number);
}

void share_free(struct share *share)
{
	share_hide(share);
	job_begin(share->broker, &share->job);
}

void share_dispose(struct share *share)
{
	lanes_drop(&share->broker->jobs, &share->job.link);
	account_release(&share->broker->accounts, share->account);
	free(share);
}

void join_free(struct join *join)
{
	struct share *share = join->share;
	struct broker *broker = share->broker;

	thing_event(broker, &join->thing, CTXD_EVENT_REMOVED);
	thing_remove(broker, &join->thing);
	map_remove(&broker->joins_by_share, &join->by_share);
	map_remove(&broker->joins_by_context, &join->by_context);
	list_remove(&join->of_share);
	list_remove(&join->of_peer);
	list_remove(&join->of_moved);
	share->join_count--;
	if (share->joins_left > share->join_count)
		share->joins_left = share->join_count;
	account_return(join->peer->account, QUOTA_JOINS, 1);
	free(join);
	if (share->unclaimed && !share->join_count)
		share_free(share);
}

/* ---- the end */

void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns)
{
	struct broker *broker = share->broker;
	struct account *account = share->account;

	if (share->ended_ns)
		return;
	share->ended_ns = now_ns ? now_ns : 1;
	share->cause = *cause;
	give_back(share);
	list_remove(&share->link);
	list_append(&broker->ended, &share->link);
	thing_event(broker, &share->thing, CTXD_EVENT_ENDED);
	list_append(&account->ended, &share->of_account);
	if (++account->ended_count > ENDED_MAX)
		share_free(container_of(account->ended.next, struct share, of_account));
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
	for (; !list_empty(&broker->ended) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct share *share = container_of(broker->ended.next, struct share, link);
		if (now_ns < share->ended_ns + ENDED_NS)
			return;
		share_free(share);
	}
}

uint64_t shares_next_ns(const struct broker *broker)
{
	if (list_empty(&broker->ended))
		return UINT64_MAX;
	return container_of(broker->ended.next, struct share, link)->ended_ns + ENDED_NS;
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
	struct join *join = find_joined(peer, id);
	if (!join || join->share->leaving)
		return 0;
	*ret_parent = join->share;
	return join->share->depth >= broker->config.depth_max ? -EMLINK : 0;
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
 * -EPROTO: share is the one of that id or stands above it, which only who lies says of what is not claimed
 * yet: what is joined was there before what is shared below it. -EMLINK: the chain is longer than any may be,
 * and has not been counted anew yet.
 */
static int check_above(struct broker *broker, const struct share *share, struct ctxd_id id)
{
	for (unsigned steps = 0; !wire_id_is_none(id); steps++) {
		const struct share *other = find_number(broker, id.number);
		if (!other)
			return 0;
		if (other == share)
			return -EPROTO;
		if (steps > broker->config.depth_max)
			return -EMLINK;
		broker->work += WORK_STEP;
		id = other->parent;
	}
	return 0;
}

/* What was known from those who joined becomes its owner's again. */
static void claim(struct share *share)
{
	share->unclaimed = false;
	share_deepen(share);
	job_begin(share->broker, &share->broker->deepen);
	thing_event(share->broker, &share->thing, CTXD_EVENT_ADDED);
	share_visit(share);
}

static void fill(struct share *share, struct peer *peer, const struct wire_share *from, struct share *parent)
{
	share->owner = peer;
	share->pid = peer->identity.pid;
	share->uid = peer->identity.uid;
	share->gid = peer->identity.gid;
	memcpy(share->process, peer->name, sizeof(share->process));
	share->table = peer->table;
	share->ctx_id = from->ctx_id;
	memcpy(share->name, from->name, sizeof(share->name));
	memcpy(share->label, from->label, sizeof(share->label));
	share->mode = from->mode;
	share->movable = from->flags & WIRE_MOVABLE;
	share->deadline_ns = from->deadline_ns;
	share->parent = parent ? share_id(parent) : (struct ctxd_id){0};
	share->depth = parent ? parent->depth + 1 : 0;
	if (parent) {
		list_append(&parent->below, &share->beside);
		parent->below_count++;
		share->above = parent;
	}
	map_add(&peer->broker->shares_by_context, &share->by_context, context_key(peer->process, share->ctx_id));
	if (from->name[0]) {
		map_add(&peer->broker->shares_by_name, &share->by_name, name_key(share->uid, share->name));
		share->has_name = true;
	}
	list_append(&peer->shares, &share->link);
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
	if (share && parent && (error = check_above(broker, share, from->parent)) != 0)
		return error;
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
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
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
	share_visit(share);
	return 0;
}

/* What is not claimed yet has none that can be relied on, what has ended none that counts. */
static bool has_news(const struct join *join)
{
	const struct share *share = join->share;

	return !share->unclaimed && !share->ended_ns && join->deadline_ns != share->deadline_ns;
}

void join_tell(struct join *join)
{
	struct peer *peer = join->peer;

	if (!has_news(join) || !list_empty(&join->of_moved))
		return;
	list_append(&peer->moved, &join->of_moved);
	job_queue(peer->broker, &peer->job);
}

int moves_step(struct peer *peer)
{
	struct join *join = container_of(peer->moved.next, struct join, of_moved);
	const struct share *share = join->share;
	struct wire_message message = {.type = WIRE_MOVED,
				       .move = {.id = share_id(share), .deadline_ns = share->deadline_ns}};

	if (has_news(join) && peer_send(peer, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	join->deadline_ns = share->deadline_ns;
	list_remove(&join->of_moved);
	return 0;
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
	list_append(&share->joins, &join->of_share);
	list_append(&peer->joins, &join->of_peer);
	list_init(&join->of_moved);
	map_add(&broker->joins_by_share, &join->by_share, peer_key(peer, share->number, 0));
	map_add(&broker->joins_by_context, &join->by_context, peer_key(peer, share->number, 0));
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
	set_context(*ret_join, from->ctx_id);
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
	given_close(peer->broker, peer->identity.uid, pipe_fd, is_pipe);
	if (error == -EPROTO)
		return error;
	peer_result(peer, message->serial, error, join ? share_id(join->share) : (struct ctxd_id){0});
	/* Behind the id, by which it is understood. */
	if (join)
		join_tell(join);
	return 0;
}

int join_attach(struct peer *peer, const struct wire_attach *attach)
{
	struct join *join = find_join(peer, attach->id, 0);

	if (join)
		set_context(join, attach->ctx_id);
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
