/* SPDX-License-Identifier: MIT */
/* Sharing contexts of this process, so that other processes can join them. */
#include <string.h>

#include "cause.h"
#include "client.h"
#include "done.h"
#include "memory.h"
#include "node.h"

static void share_context_done(struct watch *watch, struct deferred_list *later)
{
	bond_told(watch, PENDING_ENDED, later);
}

static void share_context_released(struct watch *watch)
{
	bond_told(watch, PENDING_GONE, NULL);
}

static void share_context_moved(struct watch *watch)
{
	bond_told(watch, PENDING_MOVED, NULL);
}

const struct watch_ops share_watch_ops = {
	.done = share_context_done, .released = share_context_released, .moved = share_context_moved};

static bool is_shared(struct ctxd_client *client, const struct ctx_context *ctx)
{
	struct bond *bond = NULL;

	while ((bond = bond_index_next(client, BOND_CONTEXT, (uintptr_t)ctx, bond)))
		if (!bond->joined && !(bond->pending & PENDING_GONE))
			return true;
	return false;
}

/* Other processes will have the read end of the context's pipe. */
static void give_pipe(struct ctx_context *ctx)
{
	node_lock(ctx);
	done_set_given(node_extension(ctx)->done);
	lock_release(&ctx->lock);
}

/* Lists a share. -EEXIST: its context is shared already. */
static int share_add(struct ctxd_client *client, struct bond *bond)
{
	lock_acquire(&client->lock);
	int result = is_shared(client, bond->ctx) ? -EEXIST : 0;
	if (!result)
		bond_list(bond, &client->shares);
	lock_release(&client->lock);
	return result;
}

struct sharing {
	struct call call;
	struct bond *bond;
};

/* Notes the id before the next message is read, which may be an order for it. */
static int take_share(struct ctxd_client *client, struct call *call)
{
	struct bond *bond = container_of(call, struct sharing, call)->bond;
	const struct wire_message *answer = call->answer;

	dispose(call->fds, call->fd_count);
	bool fleet = bond->mode & CTXD_FLEET;
	if (fleet ? answer->type != WIRE_SHARED
		  : answer->type != WIRE_RESULT || wire_id_is_none(answer->result.id))
		return -EPROTO;
	lock_acquire(&client->lock);
	bond_set_id(bond, fleet ? answer->shared.id : answer->result.id);
	bond->secret = fleet ? answer->shared.secret : 0;
	lock_release(&client->lock);
	return 0;
}

static int share_ask(struct ctxd_client *client, struct bond *bond, struct ctxd_id *ret_id)
{
	struct wire_message request, answer;
	struct sharing sharing = {.call = {.answer = &answer, .take = take_share}, .bond = bond};

	lock_acquire(&client->lock);
	int fd = share_message(bond, &request);
	lock_release(&client->lock);
	int result = call_run(client, &sharing.call, &request, fd, client->options.timeout_ns);

	lock_acquire(&client->lock);
	bond->asking = false;
	/* The answer came from a service that is gone by now. */
	if (!result && !bond->known)
		result = -ENOTCONN;
	if (!result && ret_id)
		*ret_id = bond->id;
	if (result)
		bond_pend(bond, PENDING_GONE);
	else if (bond->pending)
		bond_pend(bond, 0);
	lock_release(&client->lock); /* the bond may be freed from here on */
	return result;
}

int ctxd_share(struct ctxd_client *client, struct ctx_context *ctx, const char *name, mode_t mode,
	       struct ctxd_id *ret_id)
{
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!ctx || !node_can_end(ctx) || (mode & ~(mode_t)(0666 | CTXD_FLEET)) ||
	    (name && (!name[0] || strlen(name) > CTXD_NAME_MAX)))
		return debug_invalid("another argument is out of range", ctx);
	if (context_error(ctx))
		return debug_done(-EALREADY, ctx);
	int done_fd = ctx_done_fd(ctx);
	if (done_fd < 0)
		return client_result(done_fd);
	give_pipe(ctx);
	struct bond *bond = bond_new(client, ctx, false, NULL);
	if (!bond)
		return client_result(-ENOMEM);
	bond->done_fd = done_fd;
	bond->mode = mode & 0666 ? mode : mode | 0600;
	bond->asking = true;
	if (name)
		strcpy(bond->name, name);
	context_label(ctx, bond->label);
	result = share_add(client, bond);
	if (result) {
		memory_release(bond);
		return client_result(result);
	}
	int error = context_watch(ctx, &bond->watch, &share_watch_ops);
	if (error) {
		lock_acquire(&client->lock);
		bond->asking = false;
		bond_pend(bond, PENDING_GONE);
		lock_release(&client->lock);
		return client_result(error < 0 ? error : -EALREADY);
	}
	return client_result(share_ask(client, bond, ret_id));
}

int ctxd_unshare(struct ctxd_client *client, const struct ctx_context *ctx)
{
	struct wire_message request = {.type = WIRE_UNSHARE}, answer;
	bool found = false, known = false;
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!ctx)
		return debug_invalid(NULL, ctx);
	lock_acquire(&client->lock);
	struct bond *bond = NULL;
	while ((bond = bond_index_next(client, BOND_CONTEXT, (uintptr_t)ctx, bond))) {
		if (bond->joined || bond->asking || bond->pending & PENDING_GONE)
			continue;
		found = true;
		/*
		 * This call tells the service. While shares are registered again the dispatcher does it
		 * instead.
		 */
		known = bond->known && client->state == CLIENT_READY;
		request.id = bond->id;
		bond->known &= !known;
		bond_pend(bond, PENDING_GONE);
	}
	lock_release(&client->lock);
	if (!found)
		return client_result(-ENOENT);
	if (known)
		result = call_make(client, &request, -1, client->options.timeout_ns, &answer, NULL);
	/* A service that is away or does not know the share needs no withdrawal. */
	return client_result(result == -ENOTCONN || result == -ENOENT ? 0 : result);
}
