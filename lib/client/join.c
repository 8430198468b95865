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

/* A join whose answer a thread waits for. */
struct joining {
	struct call call;
	struct bond *bond; /* NULL once the bond is in the list of joins */
	const char *label; /* NULL: the owner's */
	const void *site;  /* the return address of the program's call */
	struct ctx_context *ctx;
};

static int join_ended(struct joining *joining, const struct wire_joined *joined)
{
	struct ctx_context **ret_ctx = &joining->ctx;
	struct ctx_cause cause;

	if (joining->bond->remote && joined->cause.kind == CTX_CAUSE_UNREACHABLE)
		return -EHOSTUNREACH;
	int result =
		context_new_joined(ctx_background(), CTX_FOREVER, false,
				   joining->label ? joining->label : joined->label, joining->site, ret_ctx);
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
	int result = bond_set_owner(bond, joined, fds);
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
static int join_live(struct joining *joining, const struct wire_joined *joined, const int *fds)
{
	struct bond *bond = joining->bond;
	struct ctxd_client *client = bond->client;
	struct ctx_context *ctx = NULL;
	/* Another host may come back with a later deadline than it has told first. */
	bool movable = joined->flags & WIRE_MOVABLE || bond->remote;
	const char *label = joining->label ? joining->label : joined->label;
	int result = context_new_joined(ctx_background(), joined->deadline_ns, movable, label, joining->site,
					&ctx);

	joining->bond = NULL;
	if (result) {
		for (unsigned i = 0; i < joining->call.fd_count; i++)
			sys_close(fds[i]);
	} else {
		bond->ctx = ctx;
		bond->own_id = ctx_id(ctx);
		bond->moved_ns = joined->deadline_ns;
		memcpy(bond->label, label, strnlen(label, CTX_LABEL_MAX));
		result = connect_bond(bond, joined, fds);
	}
	if (bond->remote)
		bond->remote->known_live = true;
	lock_acquire(&client->lock);
	bond_list(bond, &client->joins);
	bond_set_id(bond, joined->id);
	bond_pend(bond, result || context_error(ctx) ? PENDING_GONE : PENDING_ATTACH);
	lock_release(&client->lock);
	if (!result)
		joining->ctx = ctx;
	else
		ctx_unref(ctx); /* the bond is PENDING_GONE, and is not used to reach ctx */
	return result;
}

/* Makes the context before the next message is read, which may be an order or a deadline for it. */
static int take_join(struct ctxd_client *client, struct call *call)
{
	struct joining *joining = container_of(call, struct joining, call);
	const struct wire_message *answer = call->answer;

	(void)client;
	if (answer->type != WIRE_JOINED) {
		dispose(call->fds, call->fd_count);
		return -EPROTO;
	}
	if (answer->joined.ended)
		return join_ended(joining, &answer->joined);
	return join_live(joining, &answer->joined, call->fds);
}

int join_and_wait(struct ctxd_client *client, struct wire_message *request, const char *label,
		  const void *site, struct ctx_context **ret_ctx)
{
	struct wire_message answer;
	bool global = request->type == WIRE_JOIN_GLOBAL;
	struct joining joining = {
		.call = {.answer = &answer, .take = take_join},
		.bond = bond_new(client, NULL, true, global ? &request->join_global.global : NULL),
		.label = label,
		.site = site};

	if (!joining.bond)
		return -ENOMEM;
	if (global)
		joining.bond->remote->survive = request->join_global.flags & WIRE_SURVIVE;
	int result = call_run(client, &joining.call, request, -1, client->options.timeout_ns);
	if (joining.bond && global && result == -ETIMEDOUT)
		bond_withdraw(joining.bond, joining.call.serial);
	else if (joining.bond)
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
		return client_result(result);
	if (!ret_ctx || !id.epoch || !id.number)
		return debug_invalid("another argument is out of range", ret_ctx);
	return client_result(join_and_wait(client, &request, NULL, __builtin_return_address(0), ret_ctx));
}

int ctxd_join_name(struct ctxd_client *client, uid_t uid, const char *name, struct ctx_context **ret_ctx)
{
	struct wire_message request = {.type = WIRE_JOIN, .join = {.uid = uid}};
	int result = client_check(client);

	if (result)
		return client_result(result);
	if (!ret_ctx || !name || !name[0] || strlen(name) > CTXD_NAME_MAX)
		return debug_invalid("another argument is out of range", ret_ctx, name);
	strcpy(request.join.name, name);
	return client_result(join_and_wait(client, &request, NULL, __builtin_return_address(0), ret_ctx));
}
