/* SPDX-License-Identifier: MIT */
/*
 * What shares and joins have in common: telling the service about them, registering them with the next one,
 * and freeing them.
 */
#include <string.h>

#include "cancel.h"
#include "cause.h"
#include "client.h"
#include "clock.h"
#include "memory.h"
#include "node.h"
#include "sys.h"

#define LINGER_NS NS_PER_SECOND

struct bond *bond_new(struct ctxd_client *client, struct ctx_context *ctx, bool joined,
		      const struct wire_global *global)
{
	size_t size = sizeof(struct bond) + (global ? sizeof(struct remote) : 0);
	struct bond *bond = memory_allocate(size);

	if (!bond)
		return NULL;
	memset(bond, 0, size);
	if (global) {
		bond->remote = (struct remote *)(bond + 1);
		bond->remote->global = *global;
		list_init(&bond->remote->link);
	}
	bond->entry = (struct poll_entry){.kind = POLL_JOIN, .fd = -1};
	bond->done_fd = -1;
	bond->client = client;
	bond->ctx = ctx;
	bond->joined = joined;
	list_init(&bond->link);
	list_init(&bond->pending_link);
	list_init(&bond->restore_link);
	return bond;
}

_Atomic unsigned bonds_global;

void bond_list(struct bond *bond, struct list *list)
{
	list_append(list, &bond->link);
	bond_index_add(bond->client, bond, BOND_CONTEXT);
	bond_index_add(bond->client, bond, BOND_ID);
	bond->global = bond->remote || bond->mode & CTXD_FLEET;
	if (bond->global)
		atomic_fetch_add_explicit(&bonds_global, 1, memory_order_relaxed);
}

/* The opposite of bond_list(). The client lock is held. */
static void bond_unlist(struct bond *bond)
{
	list_remove(&bond->link);
	bond_index_remove(bond->client, bond, BOND_CONTEXT);
	bond_index_remove(bond->client, bond, BOND_ID);
}

void bond_set_id(struct bond *bond, struct ctxd_id id)
{
	bond_index_remove(bond->client, bond, BOND_ID);
	bond->id = id;
	bond->known = true;
	bond_index_add(bond->client, bond, BOND_ID);
}

int bond_global(const struct bond *bond, struct wire_global *ret_global)
{
	const struct ctxd_client *client = bond->client;

	if (bond->asking || bond->pending & (PENDING_ENDED | PENDING_GONE))
		return -ENOENT;
	if (bond->remote) {
		*ret_global = bond->remote->global;
		return 0;
	}
	if (!(bond->mode & CTXD_FLEET))
		return -ENOENT;
	/* A service that has come back gives another id, and does not know the one from before. */
	if (!bond->known || !bond->secret || !client->host[0])
		return -ENOTCONN;
	*ret_global = (struct wire_global){.id = bond->id, .secret = bond->secret};
	memcpy(ret_global->host, client->host, sizeof(ret_global->host));
	return 0;
}

void bond_give_back(struct ctxd_client *client, struct ctxd_id id, bool joined)
{
	struct bond *bond = bond_new(client, NULL, joined, NULL);

	if (!bond)
		return;
	lock_acquire(&client->lock);
	bond_list(bond, joined ? &client->joins : &client->shares);
	bond_set_id(bond, id);
	bond_pend(bond, PENDING_GONE);
	lock_release(&client->lock);
}

void bond_withdraw(struct bond *bond, uint64_t serial)
{
	struct ctxd_client *client = bond->client;

	lock_acquire(&client->lock);
	bond->serial = serial;
	bond->remote->asked = client->state == CLIENT_READY;
	bond_list(bond, &client->joins);
	bond_pend(bond, PENDING_GONE);
	lock_release(&client->lock);
}

void bond_pend(struct bond *bond, unsigned pending)
{
	bond->pending |= pending;
	if (!list_empty(&bond->pending_link))
		return;
	list_append(&bond->client->pending, &bond->pending_link);
	client_wake(bond->client);
}

/* The values of wake_deferred. */
enum {
	WAKE_NOT_DEFERRED,
	WAKE_DEFERRED,
	WAKE_AWAITED, /* and a thread sleeps until it is done */
};

void bonds_wake_later(struct deferred *deferred)
{
	struct ctxd_client *client = container_of(deferred, struct ctxd_client, wake_later);

	lock_acquire(&client->lock);
	client_wake(client);
	if (atomic_exchange(&client->wake_deferred, WAKE_NOT_DEFERRED) == WAKE_AWAITED)
		sys_futex_wake(&client->wake_deferred, 1);
	lock_release(&client->lock);
}

void bonds_await_sweeps(struct ctxd_client *client)
{
	uint32_t state = WAKE_DEFERRED;

	while (atomic_compare_exchange_strong(&client->wake_deferred, &state, WAKE_AWAITED) ||
	       state == WAKE_AWAITED) {
		sys_futex_wait(&client->wake_deferred, WAKE_AWAITED, NULL);
		state = WAKE_DEFERRED;
	}
	/* The thread that has woken the dispatcher may still hold the lock. */
	lock_acquire(&client->lock);
	lock_release(&client->lock);
}

void bond_told(struct watch *watch, unsigned pending, struct deferred_list *later)
{
	struct bond *bond = container_of(watch, struct bond, watch);
	struct ctxd_client *client = bond->client;

	/* In a forked child the context is a copy, and the service is the parent's. */
	if (client->fork_count != thread_fork_count)
		return;
	lock_acquire(&client->lock);
	if (!later) {
		bond_pend(bond, pending);
	} else {
		bond->pending |= pending;
		if (list_empty(&bond->pending_link))
			list_append(&client->pending, &bond->pending_link);
		if (atomic_exchange(&client->wake_deferred, WAKE_DEFERRED) == WAKE_NOT_DEFERRED)
			defer(later, &client->wake_later);
	}
	lock_release(&client->lock);
}

void bond_end(struct bond *bond, int error, const struct ctx_cause *cause)
{
	/*
	 * The pipe stays open until the bond is freed, after the operations under the context were cancelled.
	 */
	bond->over = bond->client->ended_some = true;
	context_end_foreign(bond->ctx, error, cause);
}

struct bond *bond_find(struct ctxd_client *client, struct ctxd_id id)
{
	struct bond *bond = NULL, *found = NULL;

	lock_acquire(&client->lock);
	while ((bond = bond_index_next(client, BOND_ID, id.number, bond)))
		/* A process may have joined what it shares: then the share comes first. */
		if (bond->known && wire_id_equal(bond->id, id) && !(bond->pending & PENDING_GONE) &&
		    !context_error(bond->ctx) && (!found || !bond->joined))
			found = bond;
	lock_release(&client->lock);
	return found;
}

/* ---- how a share and a join are registered */

/* The id of the nearest joined context above ctx, or none. The client lock is held. */
static struct ctxd_id parent_of(struct ctxd_client *client, const struct ctx_context *ctx)
{
	for (; ctx; ctx = ctx->parent) {
		struct bond *bond = NULL;
		if (!(ctx->flags & NODE_JOINED))
			continue;
		while ((bond = bond_index_next(client, BOND_CONTEXT, (uintptr_t)ctx, bond)))
			if (bond->joined && bond->known && !(bond->pending & PENDING_GONE))
				return bond->id;
	}
	return (struct ctxd_id){0};
}

int share_message(struct bond *bond, struct wire_message *ret_message)
{
	const struct ctx_context *ctx = bond->ctx;

	*ret_message = (struct wire_message){.type = WIRE_SHARE};
	ret_message->share = (struct wire_share){
		.parent = parent_of(bond->client, ctx),
		.ctx_id = ctx_id(ctx),
		.deadline_ns = context_deadline(ctx),
		.mode = bond->mode & ~(uint32_t)CTXD_FLEET,
		.flags = (ctx->flags & NODE_MOVABLE ? WIRE_MOVABLE : 0) |
			 (bond->mode & CTXD_FLEET ? WIRE_FLEET : 0),
	};
	memcpy(ret_message->share.name, bond->name, sizeof(bond->name));
	memcpy(ret_message->share.label, bond->label, sizeof(bond->label));
	return bond->done_fd;
}

int join_message(struct bond *bond, struct wire_message *ret_message)
{
	*ret_message = (struct wire_message){.type = WIRE_REJOIN};
	ret_message->rejoin = (struct wire_rejoin){
		.old_id = bond->id,
		.ctx_id = bond->own_id,
		.deadline_ns = context_deadline(bond->ctx),
		.flags = bond->ctx->flags & NODE_MOVABLE ? WIRE_MOVABLE : 0,
	};
	memcpy(ret_message->rejoin.label, bond->label, sizeof(bond->label));
	return bond->entry.fd >= 0 ? bond->entry.fd : -EBADF;
}

/* ---- telling */

static int tell_moved(struct bond *bond)
{
	struct wire_message message = {.type = WIRE_MOVE,
				       .move = {.id = bond->id, .deadline_ns = context_deadline(bond->ctx)}};

	return link_send(bond->client, &message, -1);
}

static int tell_ended(struct bond *bond)
{
	struct wire_message message = {.type = WIRE_ENDED, .ended = {.id = bond->id}};
	struct ctxd_client *client = bond->client;
	uint64_t origin = ctx_id(cause_origin(bond->ctx));
	struct ctx_cause cause;

	/* Most contexts that end together have the same cause. To find it out takes two system calls. */
	if (!origin || origin != client->told_origin || client->told_error != ctx_err(bond->ctx)) {
		ctx_get_cause(bond->ctx, &cause);
		client->told_origin = origin;
		client->told_error = ctx_err(bond->ctx);
		wire_cause_from(&cause, client->told_error, &client->told);
	}
	message.ended.cause = client->told;
	return link_send(client, &message, -1);
}

static int tell_attached(struct bond *bond)
{
	struct wire_message message = {.type = WIRE_ATTACH,
				       .attach = {.id = bond->id, .ctx_id = bond->own_id}};

	return link_send(bond->client, &message, -1);
}

static int tell_gone(struct bond *bond)
{
	struct wire_message message = {.type = WIRE_UNSHARE, .id = bond->id};

	if (bond->joined)
		message = (struct wire_message){.type = WIRE_LEAVE,
						.attach = {.id = bond->id, .ctx_id = bond->own_id}};
	return link_send(bond->client, &message, -1);
}

/* Sends the message of one pending flag, by function, and clears the flag. 0, also if it is not set; -EAGAIN:
 * not now. The client lock is held. */
static int bond_tell(struct bond *bond, unsigned what, int (*function)(struct bond *bond))
{
	if (!(bond->pending & what))
		return 0;
	if (bond->known && bond->client->state >= CLIENT_RESTORING && function(bond) == -EAGAIN)
		return -EAGAIN;
	bond->pending &= ~what;
	return 0;
}

/*
 * Asks the service for the pipe of a join by a global id, having left what it was joined to before. 0, also
 * if this is not the time: then the flag stays set, and whoever waits for that time makes the join pending
 * again; -EAGAIN: not now. The client lock is held.
 */
static int bond_ask(struct bond *bond)
{
	struct ctxd_client *client = bond->client;
	struct remote *remote = bond->remote;
	struct wire_message message = {.type = WIRE_JOIN_GLOBAL};

	if (client->state != CLIENT_READY || remote->refused)
		return 0;
	if (bond->known && tell_gone(bond) == -EAGAIN)
		return -EAGAIN;
	bond->known = false;
	message.serial = ++client->serial;
	message.join_global.global = remote->global;
	message.join_global.flags = remote->survive ? WIRE_SURVIVE : 0;
	int result = link_send(client, &message, -1);
	if (result)
		return result == -EAGAIN ? -EAGAIN : 0;
	bond->pending &= ~(unsigned)PENDING_WANTED;
	bond->serial = message.serial;
	remote->asked = true;
	list_append(&client->asked, &bond->restore_link);
	return 0;
}

/* The service need not answer the JOIN_GLOBAL any more, and does not count it against the user. */
static int tell_withdrawn(struct bond *bond)
{
	struct wire_message message = {.type = WIRE_WITHDRAW, .serial = bond->serial};

	return link_send(bond->client, &message, -1);
}

/*
 * Sends all that is pending of one share or join. 1: it is to be freed; 0: nothing is pending any more;
 * -EAGAIN: not now. The client lock is held.
 */
static int bond_flush(struct bond *bond)
{
	/*
	 * Until the service has answered it knows nothing that could be told about or taken back. A
	 * JOIN_GLOBAL may stay unanswered for long: that of a join that is gone is withdrawn.
	 */
	bool asked = bond->remote && bond->remote->asked;
	if (bond->asking || (bond->serial && !(asked && bond->pending & PENDING_GONE)))
		return 0;
	/*
	 * A service that comes back hears all but the end: a share that ended meanwhile is not registered
	 * again.
	 */
	bool ended = bond->pending & PENDING_ENDED;
	if (bond_tell(bond, PENDING_ATTACH, tell_attached) || bond_tell(bond, PENDING_MOVED, tell_moved) ||
	    bond_tell(bond, PENDING_ENDED, tell_ended))
		return -EAGAIN;
	if (ended)
		return 1;
	if (bond->pending & PENDING_GONE && asked && tell_withdrawn(bond) == -EAGAIN)
		return -EAGAIN;
	if (bond->pending & PENDING_GONE)
		return bond_tell(bond, PENDING_GONE, tell_gone) ? -EAGAIN : 1;
	return bond->pending & PENDING_WANTED ? bond_ask(bond) : 0;
}

static void bond_free(struct bond *bond)
{
	struct ctxd_client *client = bond->client;

	list_remove(&bond->restore_link);
	client_unpoll(client, &bond->entry);
	context_unwatch(&bond->watch);
	/* A watch function may have made it pending again before that. */
	lock_acquire(&client->lock);
	list_remove(&bond->pending_link);
	if (bond->remote) {
		list_remove(&bond->remote->link);
		client->unheard -= bond->remote->extracted && !bond->remote->known_live;
	}
	lock_release(&client->lock);
	if (bond->global)
		atomic_fetch_sub_explicit(&bonds_global, 1, memory_order_relaxed);
	if (bond->owner)
		owner_leave(bond);
	memory_release(bond);
}

/*
 * Looks at a join that the program has released: it is gone if no work is left under it, else it is looked at
 * again later. No lock is held.
 */
static void review_released(struct ctxd_client *client, struct bond *bond)
{
	bool used = context_is_used(bond->ctx);

	lock_acquire(&client->lock);
	if (!used)
		bond->pending |= PENDING_GONE;
	else if (!client->due_ns[TIMER_LINGER])
		client_timer_set(client, TIMER_LINGER, clock_now_ns() + LINGER_NS);
	lock_release(&client->lock);
}

void bonds_look_again(struct ctxd_client *client)
{
	lock_acquire(&client->lock);
	for (struct list *link = client->joins.next; link != &client->joins; link = link->next) {
		struct bond *bond = container_of(link, struct bond, link);
		if (bond->pending & PENDING_RELEASED)
			bond_pend(bond, 0);
	}
	lock_release(&client->lock);
}

/* Takes the next share or join out of the pending list, and says what is pending. NULL: the list is empty. */
static struct bond *next_pending(struct ctxd_client *client, unsigned *ret_pending)
{
	struct bond *bond = NULL;

	lock_acquire(&client->lock);
	if (!list_empty(&client->pending)) {
		bond = container_of(client->pending.next, struct bond, pending_link);
		list_remove(&bond->pending_link);
		*ret_pending = bond->pending;
	}
	lock_release(&client->lock);
	return bond;
}

void bonds_flush(struct ctxd_client *client)
{
	struct bond *bond;
	unsigned pending = 0;

	while ((bond = next_pending(client, &pending))) {
		if ((pending & (PENDING_RELEASED | PENDING_GONE)) == PENDING_RELEASED)
			review_released(client, bond);
		lock_acquire(&client->lock);
		int result = bond_flush(bond);
		if (result == -EAGAIN && list_empty(&bond->pending_link))
			list_insert(&client->pending, &bond->pending_link);
		if (result == 1) {
			/* Until it is unwatched it can still be found by its context. */
			bond->pending |= PENDING_GONE;
			bond_unlist(bond);
			list_remove(&bond->pending_link);
		}
		lock_release(&client->lock);
		if (result == 1)
			bond_free(bond);
		if (result == -EAGAIN)
			return; /* the socket or the timer says when to go on */
	}
}

void bonds_forget(struct ctxd_client *client)
{
	struct list *heads[] = {&client->shares, &client->joins};

	lock_acquire(&client->lock);
	client->restoring = 0;
	for (int i = 0; i < 2; i++)
		for (struct list *link = heads[i]->next; link != heads[i]; link = link->next) {
			struct bond *bond = container_of(link, struct bond, link);
			bond->known = false;
			bond->serial = 0;
			list_remove(&bond->restore_link);
			if (bond->remote && bond->remote->asked) {
				bond->remote->asked = false;
				bond->pending |= PENDING_WANTED;
			}
			if (bond->pending)
				bond_pend(bond, 0);
		}
	lock_release(&client->lock);
}

void bonds_free(struct ctxd_client *client)
{
	struct list *heads[] = {&client->shares, &client->joins};

	for (int i = 0; i < 2; i++)
		while (!list_empty(heads[i])) {
			struct bond *bond = container_of(heads[i]->next, struct bond, link);
			/*
			 * Other threads may still call bond_told() on the remaining bonds, so unlink under
			 * the lock.
			 */
			lock_acquire(&client->lock);
			bond_unlist(bond);
			lock_release(&client->lock);
			bond_free(bond);
		}
}

int ctxd_id_of(struct ctxd_client *client, const struct ctx_context *ctx, struct ctxd_id *ret_id)
{
	struct bond *bond = NULL;
	int result = -ENOENT;

	if (!client || !ctx || !ret_id)
		return debug_invalid(NULL, client, ctx, ret_id);
	if (client->fork_count != thread_fork_count)
		return client_result(-EPERM);
	lock_acquire(&client->lock);
	while ((bond = bond_index_next(client, BOND_CONTEXT, (uintptr_t)ctx, bond))) {
		if (bond->asking || bond->pending & PENDING_GONE)
			continue;
		/* Of a joined context that is shared as well this is the id that its owner has given. */
		if (!bond->joined && result != -ENOENT)
			continue;
		result = bond->known ? 0 : -ENOTCONN;
		if (bond->known)
			*ret_id = bond->id;
	}
	lock_release(&client->lock);
	return client_result(result);
}
