/* SPDX-License-Identifier: MIT */
/*
 * Shared contexts: finding them, what is charged for them, their owner, their end, and freeing them. A share
 * has ended when its owner said so or is gone; then it is kept for ENDED_NS without pipe and name, so that
 * clients which join late are told the cause.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "parts.h"

/* How many ended shares of one user are kept. */
#define ENDED_MAX 1024
#define ENDED_NS 60000000000ull
/* Who owns an unclaimed share has so much time to come back. */
#define UNCLAIMED_NS 30000000000ull

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

static uint64_t name_key(uid_t uid, const char *name)
{
	return hash_bytes(name, strlen(name)) + uid;
}

static uint64_t context_key(const struct process *owner, uint64_t ctx_id)
{
	return key_of(owner->number, 0, ctx_id);
}

struct share *share_of_number(const struct broker *broker, uint64_t number)
{
	struct map_node *node = map_find(&broker->shares_by_number, number);

	return node ? container_of(node, struct share, by_number) : NULL;
}

struct share *share_of_pipe(const struct broker *broker, const struct stat *pipe)
{
	struct map_node *node = map_find(&broker->shares_by_pipe, pipe_key(pipe->st_dev, pipe->st_ino));

	for (; node; node = map_older(node)) {
		struct share *share = container_of(node, struct share, by_pipe);
		if (share->pipe_device == pipe->st_dev && share->pipe_inode == pipe->st_ino)
			return share;
	}
	return NULL;
}

struct share *share_of_name(const struct broker *broker, uid_t uid, const char *name)
{
	struct map_node *node = map_find(&broker->shares_by_name, name_key(uid, name));

	for (; node; node = map_older(node)) {
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
	struct share *share = share_of_number(broker, id.number);
	if (!share || !may_use_share(peer, share, right))
		return -ENOENT;
	*ret_share = share;
	return 0;
}

struct share *share_of_context(const struct broker *broker, const struct process *owner, uint64_t ctx_id)
{
	struct map_node *node = map_find(&broker->shares_by_context, context_key(owner, ctx_id));

	return node ? container_of(node, struct share, by_context) : NULL;
}

/* ---- making and freeing */

/* A share that has not ended is charged as one context and, for its pipe, as one descriptor. */
static bool charge_share(struct broker *broker, struct account *account)
{
	if (!account_charge(&broker->accounts, account, QUOTA_CONTEXTS, 1))
		return false;
	if (account_charge(&broker->accounts, account, QUOTA_FDS, 1))
		return true;
	account_return(account, QUOTA_CONTEXTS, 1);
	return false;
}

static void uncharge_share(struct account *account)
{
	account_return(account, QUOTA_FDS, 1);
	account_return(account, QUOTA_CONTEXTS, 1);
}

bool share_charge_to(struct share *share, uid_t payer)
{
	struct accounts *accounts = &share->broker->accounts;
	struct account *account = account_ref(accounts, payer);

	if (!account)
		return false;
	if (share->account != account && !charge_share(share->broker, account)) {
		account_unref(accounts, account);
		return false;
	}
	if (share->account != account)
		uncharge_share(share->account);
	account_unref(accounts, share->account);
	share->account = account;
	return true;
}

struct share *share_new(struct broker *broker, uid_t uid, uid_t payer, int pipe_fd, const struct stat *pipe,
			bool (*run)(struct job *job), uint64_t now_ns)
{
	struct share *share = calloc(1, sizeof(*share));
	struct account *account = share ? account_ref(&broker->accounts, payer) : NULL;

	if (!account || !charge_share(broker, account)) {
		account_unref(&broker->accounts, account);
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
	share->job.run = run;
	struct list *lists[] = {&share->link,	&share->joins,	     &share->untold,	 &share->below,
				&share->beside, &share->of_to_count, &share->of_account, &share->job.link};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	map_add(&broker->shares_by_number, &share->by_number, share->number);
	map_add(&broker->shares_by_pipe, &share->by_pipe, pipe_key(pipe->st_dev, pipe->st_ino));
	listed_add(broker, &share->listed, CTXD_SHARED);
	return share;
}

void share_set_owner(struct share *share, struct peer *peer, const struct wire_share *from,
		     struct share *parent)
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
	map_add(&peer->broker->shares_by_context, &share->by_context,
		context_key(peer->process, share->ctx_id));
	if (from->name[0]) {
		map_add(&peer->broker->shares_by_name, &share->by_name, name_key(share->uid, share->name));
		share->has_name = true;
	}
	list_remove(&share->link); /* It may have been unclaimed. */
	list_append(&peer->shares, &share->link);
}

void share_set_remote(struct share *share, struct remote *remote)
{
	remote_ref(remote);
	share->remote = remote;
	share->uid = remote->uid;
	share->gid = remote->gid;
	remote->mirror = share;
}

/*
 * Takes the share out of the maps by pipe, name and context, closes its pipe and returns its charge. It has
 * no owner from then on.
 */
static void detach_owner(struct share *share)
{
	struct broker *broker = share->broker;

	if (share->has_pipe) {
		map_remove(&broker->shares_by_pipe, &share->by_pipe);
		given_close(broker, share->account->uid, share->pipe_fd, true);
		share->pipe_fd = -1;
		uncharge_share(share->account);
	}
	if (share->has_name)
		map_remove(&broker->shares_by_name, &share->by_name);
	if (share->owner)
		map_remove(&broker->shares_by_context, &share->by_context);
	share->has_pipe = share->has_name = false;
	share->owner = NULL;
}

static void leave_ended_list(struct share *share)
{
	if (list_empty(&share->of_account))
		return;
	list_remove(&share->of_account);
	share->account->ended_count--;
}

static void leave_share_above(struct share *share)
{
	list_remove(&share->beside);
	if (share->above)
		share->above->below_count--;
	share->above = NULL;
}

void share_hide(struct share *share)
{
	struct broker *broker = share->broker;

	if (share->hidden)
		return;
	share->hidden = true;
	share->withdrawn |= !share->ended_ns;
	listed_event(broker, &share->listed, CTXD_EVENT_REMOVED);
	listed_remove(broker, &share->listed);
	if (share->remote)
		remote_lose_mirror(share->remote);
	detach_owner(share);
	leave_ended_list(share);
	leave_share_above(share);
	list_remove(&share->link);
	list_remove(&share->of_to_count);
	map_remove(&broker->shares_by_number, &share->by_number);
}

void share_free(struct share *share)
{
	share_hide(share);
	job_begin(share->broker, &share->job);
}

void share_free_memory(struct share *share)
{
	lanes_remove(&share->broker->jobs, &share->job.link);
	if (share->remote)
		remote_unref(share->remote);
	account_unref(&share->broker->accounts, share->account);
	free(share);
}

/* ---- work on joins and on shares below, which spread.c does */

void share_visit(struct share *share)
{
	share->joins_left = share->join_count;
	job_begin(share->broker, &share->job);
}

void share_recount_depths(struct share *share)
{
	struct broker *broker = share->broker;

	share->below_left = share->below_count;
	if (share->below_left && list_empty(&share->of_to_count))
		list_append(&broker->to_count, &share->of_to_count);
}

/* ---- the end of a share */

void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns)
{
	struct broker *broker = share->broker;
	struct account *account = share->account;

	if (share->ended_ns)
		return;
	share->ended_ns = now_ns ? now_ns : 1;
	share->cause = *cause;
	if (share->remote)
		remote_forget(share->remote); /* Who joins it later asks the owner's host again. */
	detach_owner(share);
	list_remove(&share->link);
	list_append(&broker->ended, &share->link);
	listed_event(broker, &share->listed, CTXD_EVENT_ENDED);
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
		.text = "the owner died or disconnected",
	};

	/* The context may live on: the bridge, which has its pipe, must not let further hosts join it. */
	bool is_known = share->bridge_join_count && !share->ended_ns;
	share->withdrawn |= is_known;
	share_end(share, &cause, now_ns);
	if (is_known)
		share_visit(share);
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

/*
 * The owner has not come back, or shares the context no more: perhaps since a time when the service or the
 * bridge was away, which was not told then. Those who joined keep it, and the owner may still claim it.
 */
void unclaimed_expire(struct broker *broker, uint64_t now_ns)
{
	for (; !list_empty(&broker->unclaimed) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct share *share = container_of(broker->unclaimed.next, struct share, link);
		if (now_ns < share->created_ns + UNCLAIMED_NS)
			return;
		list_remove(&share->link);
		share->withdrawn = true;
		if (share->bridge_join_count)
			share_visit(share);
	}
}

uint64_t unclaimed_next_ns(const struct broker *broker)
{
	if (list_empty(&broker->unclaimed))
		return UINT64_MAX;
	return container_of(broker->unclaimed.next, struct share, link)->created_ns + UNCLAIMED_NS;
}

uint64_t shares_next_ns(const struct broker *broker)
{
	if (list_empty(&broker->ended))
		return UINT64_MAX;
	return container_of(broker->ended.next, struct share, link)->ended_ns + ENDED_NS;
}
