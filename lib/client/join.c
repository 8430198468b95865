/* SPDX-License-Identifier: MIT */
/* Joining contexts of other processes, so that work of this one can be done under them. */
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "client.h"
#include "clock.h"
#include "memory.h"
#include "node.h"
#include "sys.h"

static int join_ended(const struct wire_joined *joined, const void *site, struct ctx_context **ret_ctx)
{
	struct ctx_cause cause;
	int result = context_new_joined(CTX_FOREVER, false, joined->label, site, ret_ctx);

	if (result)
		return result;
	wire_cause_to(&joined->cause, &cause);
	context_end_foreign(*ret_ctx, joined->cause.expired ? ETIME : ECANCELED, &cause);
	return 0;
}

/* Watches the done pipe, the owner and the context here. Takes over the descriptors. */
static int connect_bond(struct bond *bond, const struct wire_joined *joined, const int fds[2])
{
	struct ctxd_client *client = bond->client;

	bond->entry.fd = fds[0];
	bond->entry.file = file_id_of(fds[0]);
	lock_acquire(&client->lock);
	int result = owner_join(client, joined, fds[1], &bond->owner);
	lock_release(&client->lock);
	if (result)
		return result;
	result = context_watch(bond->ctx, &bond->watch, &join_watch_ops);
	if (result > 0)
		result = 0; /* the deadline has come already, and the dispatcher frees the bond */
	if (!result)
		result = client_poll(client, &bond->entry, JOIN_EVENTS);
	return result;
}

/*
 * Makes the context of a join and lists the bond, also on failure: the dispatcher frees it at the end of a
 * turn.
 */
static int join_live(struct bond *bond, const struct wire_joined *joined, const int fds[2], const void *site,
		     struct ctx_context **ret_ctx)
{
	struct ctxd_client *client = bond->client;
	struct ctx_context *ctx = NULL;
	int result = context_new_joined(joined->deadline_ns, joined->flags & WIRE_MOVABLE, joined->label,
					site, &ctx);

	if (result) {
		sys_close(fds[0]);
		sys_close(fds[1]);
	} else {
		bond->ctx = ctx;
		bond->own_id = ctx_id(ctx);
		bond->moved_ns = joined->deadline_ns;
		memcpy(bond->label, joined->label, sizeof(bond->label));
		result = connect_bond(bond, joined, fds);
	}
	lock_acquire(&client->lock);
	list_append(&client->joins, &bond->link);
	bond->id = joined->id;
	bond->known = true;
	bond_pend(bond, result || context_error(ctx) ? PENDING_GONE : PENDING_ATTACH);
	lock_release(&client->lock);
	if (!result)
		*ret_ctx = ctx;
	else
		ctx_unref(ctx); /* the bond is PENDING_GONE, and is not used to reach ctx */
	return result;
}

struct joining {
	struct call call;
	struct bond *bond; /* NULL once the bond is in the list of joins */
	const void *site;  /* the return address of the program's call */
	struct ctx_context *ctx;
};

/* Makes the context before the next message is read, which may be an order or a deadline for it. */
static int take_join(struct ctxd_client *client, struct call *call)
{
	struct joining *joining = container_of(call, struct joining, call);
	const struct wire_message *answer = call->answer;
	struct bond *bond = joining->bond;

	(void)client;
	if (answer->type != WIRE_JOINED) {
		dispose(call->fds, call->fd_count);
		return -EPROTO;
	}
	if (answer->joined.ended)
		return join_ended(&answer->joined, joining->site, &joining->ctx);
	joining->bond = NULL;
	return join_live(bond, &answer->joined, call->fds, joining->site, &joining->ctx);
}

static int join_context(struct ctxd_client *client, struct wire_message *request, const void *site,
			struct ctx_context **ret_ctx)
{
	struct wire_message answer;
	struct joining joining = {.call = {.answer = &answer, .take = take_join},
				  .bond = bond_new(client, NULL, true),
				  .site = site};

	if (!joining.bond)
		return -ENOMEM;
	int result = call_run(client, &joining.call, request, -1, client->options.timeout_ns);
	if (joining.bond)
		memory_release(joining.bond);
	if (!result)
		*ret_ctx = joining.ctx;
	return result;
}

int ctxd_join(struct ctxd_client *client, struct ctxd_id id, struct ctx_context **ret_ctx)
{
	struct wire_message request = {.type = WIRE_JOIN, .join = {.id = id}};
	int result = client_check(client);

	if (result)
		return result;
	if (!ret_ctx || !id.epoch || !id.number)
		return -EINVAL;
	return join_context(client, &request, __builtin_return_address(0), ret_ctx);
}

int ctxd_join_name(struct ctxd_client *client, uid_t uid, const char *name, struct ctx_context **ret_ctx)
{
	struct wire_message request = {.type = WIRE_JOIN, .join = {.uid = uid}};
	int result = client_check(client);

	if (result)
		return result;
	if (!ret_ctx || !name || !name[0] || strlen(name) > CTXD_NAME_MAX)
		return -EINVAL;
	strcpy(request.join.name, name);
	return join_context(client, &request, __builtin_return_address(0), ret_ctx);
}
