/* SPDX-License-Identifier: MIT */
/* Contexts of other processes that work of this one stands under. */
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "client.h"
#include "clock.h"
#include "memory.h"
#include "node.h"
#include "sys.h"

/* A pipe that hangs up would be told again and again until it is closed. */
#define JOIN_EVENTS (EPOLLIN | EPOLLONESHOT)

/* ---- what the core tells */

static void told_done(struct watch *watch, struct deferred_list *later)
{
	(void)later;
	bond_told(watch, PENDING_GONE);
}

static void told_released(struct watch *watch)
{
	bond_told(watch, PENDING_RELEASED);
}

const struct watch_ops join_watch_ops = {.done = told_done, .released = told_released};

/* ---- the end */

/* What the pipe holds stays in it for the others who joined. 0: cause is filled; -EAGAIN: there is nothing to
 * read; -ENODATA: it is hung up, without a word that could be understood. */
static int read_last_words(struct ctxd_client *client, int pipe, struct wire_cause *ret_cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	if (!client_has_scratch(client))
		return -ENODATA;
	int size = sys_tee(pipe, client->scratch[1], sizeof(bytes));

	if (size == -EAGAIN || size == -EINTR)
		return -EAGAIN;
	if (size <= 0)
		return -ENODATA;
	size = sys_read(client->scratch[0], bytes, sizeof(bytes));
	if (size <= 0) {
		/* Not even that: away with what is in the way of the next one. */
		sys_drain(client->scratch[0]);
		return -ENODATA;
	}
	return wire_unpack_last_words(bytes, (size_t)size, ret_cause) ? -ENODATA : 0;
}

static bool is_dead(const struct owner *owner)
{
	struct pollfd ended = {.fd = owner->source.fd, .events = POLLIN};
	const struct timespec now = {0};

	return owner->source.fd < 0 || sys_poll(&ended, 1, &now) == 1;
}

/* A process that ends closes its pipes first, and its pidfd says so a moment later: nobody waits for that. */
static void owner_cause(const struct owner *owner, struct ctx_cause *ret_cause)
{
	*ret_cause = (struct ctx_cause){
		.error = -ECANCELED,
		.kind = CTX_CAUSE_OWNER,
		.time_ns = clock_now_ns(),
		.pid = owner->pid,
		.uid = owner->uid,
	};
	snprintf(ret_cause->text, sizeof(ret_cause->text),
		 is_dead(owner) ? "process %d, its owner, died"
				: "process %d, its owner, died or let go of it",
		 owner->pid);
}

/* No lock is held: callbacks of the context run in here. */
static void end_join(struct bond *bond, const struct wire_cause *words)
{
	struct ctx_cause cause;

	/* Its pipe goes with it, later: first what is pending under the context is to be cancelled. */
	bond->over = bond->client->ended_some = true;
	if (words)
		wire_cause_to(words, &cause);
	else
		owner_cause(bond->owner, &cause);
	context_end_foreign(bond->ctx, words && words->expired ? ETIME : ECANCELED, &cause);
}

void join_pipe_ready(struct bond *bond)
{
	struct wire_cause words;

	if (bond->over || bond->source.fd < 0)
		return;
	int result = read_last_words(bond->client, bond->source.fd, &words);
	if (result == -EAGAIN)
		client_rearm(bond->client, &bond->source, JOIN_EVENTS);
	else
		end_join(bond, result ? NULL : &words);
}

/* The next one of owner that goes on; NULL: none. What it has passed goes behind the rest, out of the way of
 * the next time. */
static struct bond *next_of(struct ctxd_client *client, const struct owner *owner)
{
	struct bond *found = NULL;
	struct list passed;

	list_init(&passed);
	lock_acquire(&client->lock);
	while (!list_empty(&client->joins) && !found) {
		struct bond *bond = container_of(client->joins.next, struct bond, link);
		list_remove(&bond->link);
		list_append(&passed, &bond->link);
		if (bond->owner == owner && !bond->over && !(bond->pending & PENDING_GONE))
			found = bond;
	}
	list_splice(&client->joins, &passed);
	lock_release(&client->lock);
	return found;
}

void owner_ready(struct ctxd_client *client, struct owner *owner)
{
	struct wire_cause words;
	struct bond *bond;

	lock_acquire(&client->lock);
	client_close_source(client, &owner->source);
	lock_release(&client->lock);
	/* It may have ended some of them before it died. */
	while ((bond = next_of(client, owner)))
		end_join(bond, read_last_words(client, bond->source.fd, &words) ? NULL : &words);
}

/* The next one of that id that has another deadline; NULL: none. */
static struct bond *next_to_move(struct ctxd_client *client, const struct wire_move *move)
{
	struct bond *found = NULL;

	lock_acquire(&client->lock);
	for (struct list *link = client->joins.next; link != &client->joins && !found; link = link->next) {
		struct bond *bond = container_of(link, struct bond, link);
		if (bond->known && wire_id_equal(bond->id, move->id) && bond->moved_ns != move->deadline_ns &&
		    !(bond->pending & PENDING_GONE))
			found = bond;
	}
	if (found)
		found->moved_ns = move->deadline_ns;
	lock_release(&client->lock);
	return found;
}

void join_moved(struct ctxd_client *client, const struct wire_move *move)
{
	struct bond *bond;

	while ((bond = next_to_move(client, move)))
		ctx_set_deadline(bond->ctx, move->deadline_ns);
}

/* ---- owners */

/* Takes over pidfd. With the client lock held. */
static int owner_join(struct ctxd_client *client, const struct wire_joined *joined, int pidfd,
		      struct owner **ret_owner)
{
	/* A process that is not dead is the same one under the same number; 0: of a name space without it. */
	for (struct list *link = client->owners.next; link != &client->owners; link = link->next) {
		struct owner *owner = container_of(link, struct owner, link);
		if (!owner->pid || owner->pid != joined->owner_pid || is_dead(owner))
			continue;
		sys_close(pidfd);
		owner->joins++;
		*ret_owner = owner;
		return 0;
	}
	struct owner *owner = memory_allocate(sizeof(*owner));
	if (!owner) {
		sys_close(pidfd);
		return -ENOMEM;
	}
	*owner = (struct owner){.source = {.kind = SOURCE_OWNER, .fd = pidfd},
				.joins = 1,
				.pid = joined->owner_pid,
				.uid = joined->owner_uid};
	int result = client_add_source(client, &owner->source, EPOLLIN);
	if (result) {
		sys_close(pidfd);
		memory_release(owner);
		return result;
	}
	list_append(&client->owners, &owner->link);
	*ret_owner = owner;
	return 0;
}

void owner_leave(struct ctxd_client *client, struct owner *owner)
{
	lock_acquire(&client->lock);
	bool last = --owner->joins == 0;
	if (last) {
		list_remove(&owner->link);
		if (client->fork_count == thread_fork_count)
			client_close_source(client, &owner->source);
	}
	lock_release(&client->lock);
	if (last)
		memory_release(owner);
}

/* ---- joining */

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
	return bond->source.fd >= 0 ? bond->source.fd : -EBADF;
}

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

/* Makes the dispatcher see what becomes of the owner's. Takes over the descriptors. */
static int connect_bond(struct bond *bond, const struct wire_joined *joined, const int fds[2])
{
	struct ctxd_client *client = bond->client;

	bond->source.fd = fds[0];
	bond->source.file = file_id_of(fds[0]);
	lock_acquire(&client->lock);
	int result = owner_join(client, joined, fds[1], &bond->owner);
	lock_release(&client->lock);
	if (result)
		return result;
	result = context_watch(bond->ctx, &bond->watch, &join_watch_ops);
	if (result > 0)
		result = 0; /* its deadline has come already; the dispatcher frees the bond */
	if (!result)
		result = client_add_source(client, &bond->source, JOIN_EVENTS);
	return result;
}

/* Lists bond; whatever comes of it, it is freed at the end of a turn. */
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
		ctx_unref(ctx); /* the bond is gone, and does not lead to it */
	return result;
}

struct joining {
	struct call call;
	struct bond *bond; /* NULL once the dispatcher has it */
	const void *site;  /* the program's call */
	struct ctx_context *ctx;
};

/* Orders and deadlines that come behind the answer find the context. */
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

static int join(struct ctxd_client *client, struct wire_message *request, const void *site,
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
	return join(client, &request, __builtin_return_address(0), ret_ctx);
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
	return join(client, &request, __builtin_return_address(0), ret_ctx);
}
