/* SPDX-License-Identifier: MIT */
/* Contexts of the fleet: their global ids, and joining them. */
#include "global.h"

#include <string.h>

#include "client.h"
#include "memory.h"
#include "node.h"

/* So many joins of ctx_extract() may wait for the first word of their hosts. */
#define UNHEARD_MAX 4096

/* ---- ids */

/* The share or join of a watch; NULL: the watch is of something else. */
static struct bond *bond_of(struct watch *watch)
{
	bool is_bond = watch->ops == &share_watch_ops || watch->ops == &join_watch_ops;

	return is_bond ? container_of(watch, struct bond, watch) : NULL;
}

/*
 * The global id of ctx itself, of its share or join by client, or by any client if that is NULL. Errors as
 * bond_global().
 */
static int global_of(const struct ctxd_client *client, const struct ctx_context *ctx,
		     struct wire_global *ret_global)
{
	struct extension *extension = node_extension(ctx);
	int result = -ENOENT;

	if (!extension)
		return result;
	node_lock(node_mutable(ctx));
	for (struct list *link = extension->watches.next; link != &extension->watches && result;
	     link = link->next) {
		struct bond *bond = bond_of(container_of(link, struct watch, link));
		if (!bond || (client && bond->client != client) ||
		    bond->client->fork_count != thread_fork_count)
			continue;
		lock_acquire(&bond->client->lock);
		int found = bond_global(bond, ret_global);
		lock_release(&bond->client->lock);
		result = found == -ENOENT ? result : found;
	}
	lock_release(&node_mutable(ctx)->lock);
	return result;
}

bool client_global_id(const struct ctx_context *ctx, char text[CTXD_GLOBAL_ID_TEXT])
{
	struct wire_global global;

	if (!atomic_load_explicit(&bonds_global, memory_order_relaxed))
		return false;
	for (; ctx; ctx = ctx->flags & NODE_DETACHED ? NULL : ctx->parent)
		if (!global_of(NULL, ctx, &global)) {
			wire_global_format(&global, text);
			return true;
		}
	return false;
}

int ctxd_global_id_of(struct ctxd_client *client, const struct ctx_context *ctx, char id[CTXD_GLOBAL_ID_TEXT])
{
	struct wire_global global;

	if (!client || !ctx || !id)
		return debug_invalid(NULL, client, ctx);
	if (client->fork_count != thread_fork_count)
		return client_result(-EPERM);
	int result = global_of(client, ctx, &global);
	if (!result)
		wire_global_format(&global, id);
	return client_result(result);
}

/* ---- joining */

struct join_options {
	const char *label; /* NULL: the id without its secret */
	bool survive, extracted;
	const void *site; /* the return address of the program's call */
};

/* Lists a join whose context is watched, and lets the dispatcher ask for its pipe. */
static void begin_join(struct bond *bond)
{
	struct ctxd_client *client = bond->client;

	lock_acquire(&client->lock);
	bond->asking = false;
	bond_list(bond, &client->joins);
	client->unheard += bond->remote->extracted;
	remote_want(bond, REMOTES_NEW);
	lock_release(&client->lock);
}

static void write_label(const struct wire_global *global, const char *label,
			char ret_label[CTX_LABEL_MAX + 1])
{
	char text[CTX_HOST_MAX + CTXD_ID_TEXT], *end = stpcpy(text, global->host);

	*end++ = ' ';
	ctxd_format_id(global->id, end, CTXD_ID_TEXT);
	label = label ? label : text;
	memcpy(ret_label, label, strnlen(label, CTX_LABEL_MAX));
}

/* Joins without waiting: makes the context, which lives, and has the dispatcher send the JOIN_GLOBAL. */
static int join_at_once(struct ctxd_client *client, const struct wire_global *global,
			const struct ctx_context *parent, const struct join_options *options,
			struct ctx_context **ret_ctx)
{
	struct bond *bond = bond_new(client, NULL, true, global);
	struct ctx_context *ctx;

	if (!bond)
		return -ENOMEM;
	bond->asking = true;
	bond->remote->survive = options->survive;
	bond->remote->extracted = options->extracted;
	write_label(global, options->label, bond->label);
	int result = context_new_joined(parent, CTX_FOREVER, true, bond->label, options->site, &ctx);
	if (result) {
		memory_release(bond);
		return result;
	}
	bond->ctx = ctx;
	bond->own_id = ctx_id(ctx);
	result = context_watch(ctx, &bond->watch, &join_watch_ops);
	if (!result)
		begin_join(bond);
	else
		memory_release(bond);
	if (result < 0) {
		ctx_unref(ctx);
		return result;
	}
	*ret_ctx = ctx; /* which ended with parent, if the result is an errno */
	return 0;
}

/* Whether the service is known to belong to no fleet. */
static bool has_no_fleet(struct ctxd_client *client)
{
	lock_acquire(&client->lock);
	bool none = client->state == CLIENT_READY && !client->host[0];
	lock_release(&client->lock);
	return none;
}

int ctxd_join_remote(struct ctxd_client *client, const char *id, const char *label, unsigned flags,
		     struct ctx_context **ret_ctx)
{
	struct wire_message request = {.type = WIRE_JOIN_GLOBAL};
	const void *site = __builtin_return_address(0);
	bool wait = flags & CTXD_JOIN_WAIT, survive = flags & CTXD_JOIN_SURVIVE;
	int result = client_usable(client);

	/* What does not wait may also be called on the dispatcher's own thread. */
	if (result && (wait || result != -EDEADLK))
		return client_result(client_check(client));
	if (!ret_ctx || !id || flags & ~(CTXD_JOIN_WAIT | CTXD_JOIN_SURVIVE) ||
	    wire_global_parse(id, &request.join_global.global))
		return debug_invalid("another argument is out of range", ret_ctx, id);
	if (has_no_fleet(client))
		return client_result(-ENOTSUP);
	if (!wait) {
		struct join_options options = {.label = label, .survive = survive, .site = site};
		return client_result(join_at_once(client, &request.join_global.global, ctx_background(),
						  &options, ret_ctx));
	}
	request.join_global.flags = survive ? WIRE_SURVIVE : 0;
	result = join_and_wait(client, &request, label, site, ret_ctx);
	return client_result(result == -ETIMEDOUT ? -EHOSTUNREACH : result);
}

struct ctx_context *client_join_sent(const struct ctx_context *parent, const char *id, const void *site)
{
	struct join_options options = {.extracted = true, .site = site};
	struct ctx_context *ctx = NULL;
	struct wire_global global;

	if (wire_global_parse(id, &global))
		return NULL;
	struct ctxd_client *client = client_take_fleet();
	if (!client)
		return NULL;
	lock_acquire(&client->lock);
	bool room = client->unheard < UNHEARD_MAX;
	lock_release(&client->lock);
	if (!room || join_at_once(client, &global, parent, &options, &ctx))
		ctx = NULL;
	client_give_back(client);
	return ctx;
}
