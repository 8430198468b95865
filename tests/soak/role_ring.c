/* SPDX-License-Identifier: MIT */
/* The owner of a ring: begins operations of all sorts under contexts that others end, and ends some itself.
 */
#include <poll.h>
#include <stdlib.h>

#include "soak/crew.h"
#include "soak/fork.h"

static struct crew *crew_of(struct actor *actor)
{
	return actor->state;
}

static struct channel *any_channel(struct crew *crew)
{
	return &crew->channels[chance_below(&crew->actor->chance, CREW_CHANNELS)];
}

static unsigned count_free(const struct crew *crew)
{
	unsigned number = 0;

	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		number += !crew->operations[i].used;
	return number;
}

/* ---- operations */

static void begin_some(struct actor *actor)
{
	struct crew *crew = crew_of(actor);

	for (unsigned left = 1 + chance_below(&actor->chance, 8); left; left--) {
		struct scope *scope = crew_scope(crew);
		operation_begin(crew, scope, 0);
		scope_drop(scope);
	}
}

static void begin_draining(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct scope *scope = crew_scope(crew);

	operation_begin(crew, scope, IOSQE_IO_DRAIN);
	scope_drop(scope);
}

/* scopes: one or two, in turn. */
static void begin_chain_of(struct crew *crew, struct scope *scopes[2])
{
	struct chance *chance = &crew->actor->chance;
	unsigned length = 2 + chance_below(chance, 3);
	unsigned link = chance_one_in(chance, 4) ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;

	if (count_free(crew) < length)
		return;
	for (unsigned i = 0; i < length; i++) {
		struct soak_operation *operation =
			operation_begin(crew, scopes[i % 2], i + 1 < length ? link : 0);
		operation->may_be_cancelled = true;
	}
}

static void begin_chain(struct actor *actor)
{
	struct scope *scope = crew_scope(crew_of(actor));

	begin_chain_of(crew_of(actor), (struct scope *[]){scope, scope});
	scope_drop(scope);
}

static void begin_mixed_chain(struct actor *actor)
{
	struct scope *scope = crew_scope(crew_of(actor)), *other = crew_scope(crew_of(actor));

	begin_chain_of(crew_of(actor), (struct scope *[]){scope, other});
	scope_drop(scope);
	scope_drop(other);
}

static void submit(struct actor *actor)
{
	int result = ctx_ring_submit(crew_of(actor)->ring);

	must(result >= 0 || result == -EBUSY || result == -EAGAIN, "ctx_ring_submit: %d", result);
}

static void dispatch(struct actor *actor)
{
	crew_dispatch(crew_of(actor), 0);
}

static void wait_a_little(struct actor *actor)
{
	crew_dispatch(crew_of(actor), chance_short_ns(&actor->chance));
}

static void cancel_one(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct soak_operation *operation = &crew->operations[chance_below(&actor->chance, CREW_OPERATIONS)];

	if (!operation->used)
		return;
	operation->may_be_cancelled = true;
	int error = ctx_op_cancel(crew->ring, &operation->op);
	must(error == 0 || error == -EALREADY, "ctx_op_cancel: %d", error);
}

static void feed(struct actor *actor)
{
	for (unsigned left = 1 + chance_below(&actor->chance, 8); left; left--)
		channel_feed(&actor->chance, any_channel(crew_of(actor)));
}

/* ---- contexts */

static void replace_scope(struct crew *crew, struct scope *scope)
{
	struct scope **place = &crew->scopes[chance_below(&crew->actor->chance, CREW_SCOPES)];

	scope_drop(*place);
	*place = scope;
}

static void derive_own(struct actor *actor)
{
	struct scope *parent = crew_scope(crew_of(actor));

	replace_scope(crew_of(actor), scope_derive(&actor->chance, parent));
	scope_drop(parent);
}

static void end_own(struct actor *actor)
{
	struct scope *scope = crew_of(actor)->scopes[chance_below(&actor->chance, CREW_SCOPES)];

	if (scope)
		scope_end(&actor->chance, scope);
}

static void move_own(struct actor *actor)
{
	struct scope *scope = crew_of(actor)->scopes[chance_below(&actor->chance, CREW_SCOPES)];

	if (scope)
		scope_move(&actor->chance, scope);
}

static void set_grace(struct actor *actor)
{
	struct scope *scope = crew_of(actor)->scopes[chance_below(&actor->chance, CREW_SCOPES)];

	if (!scope || !scope->own)
		return;
	int error = ctx_set_grace(scope->own, chance_short_ns(&actor->chance));
	must(error == 0 || error == -EALREADY, "ctx_set_grace: %d", error);
}

/* What was begun under a context that is done is let go of soon; of a live one, perhaps. */
static void drain(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct scope *scope = crew_scope(crew);

	if (chance_one_in(&actor->chance, 2))
		scope_end(&actor->chance, scope);
	bool over = !operations_go_on(crew, scope);
	int error = ctx_ring_drain(crew->ring, scope->ctx,
				   over ? SOAK_SOON_NS : chance_short_ns(&actor->chance), NULL, 0, NULL);
	if (error == -EBUSY && crew->adopted)
		crew_dispatch(crew, 0);
	else
		must(error == 0 || error == -EINTR || (!over && error == -ETIMEDOUT),
		     "ctx_ring_drain: %d, over %d", error, over);
	if (!error) {
		operations_poison(crew, scope);
		count(&verdict_counts.drains);
	}
	scope_drop(scope);
}

/* ---- descriptors */

static void reopen_channel(struct crew *crew, unsigned number)
{
	struct channel *channel = &crew->channels[number];

	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		if (crew->operations[i].used && crew->operations[i].channel == number)
			crew->operations[i].may_be_cancelled = true;
	int error = ctx_ring_close_fd(crew->ring, channel->near);
	must(error == 0, "ctx_ring_close_fd: %d", error);
	channel_close_far(channel);
	channel_open(channel, (enum channel_kind)chance_below(&crew->actor->chance, CHANNEL_KINDS));
}

static void close_channel(struct actor *actor)
{
	reopen_channel(crew_of(actor), chance_below(&actor->chance, CREW_CHANNELS));
}

static void look_at_fd(struct actor *actor)
{
	struct pollfd ring = {.fd = ctx_ring_fd(crew_of(actor)->ring), .events = POLLIN};

	must(ring.fd >= 0, "ctx_ring_fd: %d", ring.fd);
	poll(&ring, 1, 0);
}

/* ---- callbacks, sources and task groups of the ring */

static void called(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct ring_callback *mine = data;

	must(callback == &mine->callback && mine->scope && mine->scope->ctx == ctx, "a callback of nothing");
	must(actor_self == mine->crew->actor, "a callback of a ring on another thread");
	must(ctx_err(ctx) != 0, "a callback of a live context");
	struct scope *scope = mine->scope;
	mine->scope = NULL;
	scope_drop(scope);
}

static void add_callback(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct ring_callback *callback = &crew->callbacks[chance_below(&actor->chance, CREW_CALLBACKS)];

	if (callback->scope) {
		must(ctx_callback_stop(callback->id), "neither stopped nor called");
		scope_drop(callback->scope);
	}
	*callback = (struct ring_callback){.crew = crew, .scope = crew_scope(crew)};
	/* If it is done it runs in this call or in a dispatch, and lets go of the scope. */
	int error = ctx_callback_add_on_ring(callback->scope->ctx, crew->ring, &callback->callback, called,
					     callback, &callback->id);
	must(error == 0, "ctx_callback_add_on_ring: %d", error);
}

static void add_source(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct scope *parent = crew_scope(crew);
	const struct channel *channel = any_channel(crew);
	struct ctx_context *ctx = NULL;
	int error;

	if (channel_is_socket(channel) && chance_one_in(&actor->chance, 2))
		error = ctx_with_hangup(parent->ctx, crew->ring, channel->near, 0, "hang-up", &ctx);
	else
		error = ctx_with_fd(parent->ctx, crew->ring, channel->near, POLLIN, "readable", &ctx);
	must(error == 0, "no source: %d", error);
	struct scope *scope = scope_wrap(ctx, ctx, parent, NULL);
	scope->by_event = true;
	replace_scope(crew, scope);
	scope_drop(parent);
}

static void run_group(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct scope *parent = crew_scope(crew);
	struct ctx_taskgroup *group = NULL;

	if (crew->adopted || count_free(crew) < 4) {
		scope_drop(parent);
		return;
	}
	must(ctx_taskgroup_new_on_ring(parent->ctx, crew->ring, "group", &group) == 0, "no group");
	struct scope *scope = scope_wrap(ctx_ref(ctx_taskgroup_context(group)), NULL, parent, NULL);
	scope->by_event = true; /* a failure ends it */
	for (unsigned i = 0; i < 4; i++)
		operation_begin_in(crew, scope, group);
	if (chance_one_in(&actor->chance, 2))
		feed(actor);
	if (chance_one_in(&actor->chance, 2))
		crew_dispatch(crew, chance_short_ns(&actor->chance));
	if (chance_one_in(&actor->chance, 3))
		ctx_taskgroup_fail(group, -EIO, "because of chance");
	ctx_taskgroup_free(group);
	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		must(!crew->operations[i].used || crew->operations[i].scope != scope,
		     "in flight after its group");
	scope_drop(scope);
	scope_drop(parent);
}

struct first_member {
	struct crew *crew;
	struct scope *scope; /* of the group */
	unsigned begins, calls;
	bool fails;
};

/* A member of a group whose first success ends the rest: some operations, or none. */
static int begin_member(struct ctx_taskgroup *group, void *data)
{
	struct first_member *member = data;
	struct scope *scope = scope_wrap(ctx_ref(ctx_taskgroup_context(group)), NULL, member->scope, NULL);

	scope->by_event = true; /* a failure of its operations ends it */
	member->calls++;
	for (unsigned i = 0; i < member->begins && count_free(member->crew) > 0; i++)
		operation_begin_in(member->crew, scope, group);
	scope_drop(scope);
	return member->fails ? -EIO : 0;
}

static void run_first_group(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct ctx_taskgroup_options options = {.flags = CTX_TASKGROUP_FIRST,
						.limit = chance_below(&actor->chance, 3),
						.delay_ns = chance_short_ns(&actor->chance),
						.ring = crew->ring};
	struct first_member members[4];
	struct ctx_taskgroup *group = NULL;

	if (crew->adopted || count_free(crew) < 4)
		return;
	struct scope *parent = crew_scope(crew);
	must(ctx_taskgroup_new_with_options(parent->ctx, &options, "first", &group) == 0, "no group");
	struct scope *scope = scope_wrap(ctx_ref(ctx_taskgroup_context(group)), NULL, parent, NULL);
	scope->by_event = true; /* a success ends it */
	for (unsigned i = 0; i < 4; i++) {
		members[i] = (struct first_member){.crew = crew,
						   .scope = scope,
						   .begins = chance_below(&actor->chance, 3),
						   .fails = chance_one_in(&actor->chance, 3)};
		int error = ctx_taskgroup_start_on_ring(group, begin_member, &members[i], "member");
		must(error == 0 || error == -ECANCELED || error == -ETIME, "no member: %d", error);
	}
	if (chance_one_in(&actor->chance, 2))
		feed(actor);
	if (chance_one_in(&actor->chance, 2))
		crew_dispatch(crew, chance_short_ns(&actor->chance));
	ctx_taskgroup_free(group);
	for (unsigned i = 0; i < 4; i++)
		must(members[i].calls <= 1, "a member began %u times", members[i].calls);
	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		must(!crew->operations[i].used || !scope_is_below(crew->operations[i].scope, scope),
		     "in flight after its group");
	must(ctx_err(scope->ctx) != 0, "the context of a group that is gone looks live");
	scope_drop(scope);
	scope_drop(parent);
}

/* ---- the ring */

static void reopen_ring(struct actor *actor)
{
	struct crew *crew = crew_of(actor);

	crew_close_ring(crew);
	crew_open_ring(crew);
}

static void fork_with_ring(struct actor *actor)
{
	struct crew *crew = crew_of(actor);
	struct scope *scope = crew_scope(crew);

	fork_and_look(&actor->chance, crew->adopted ? NULL : crew->ring, scope);
	scope_drop(scope);
}

static void begin(struct actor *actor)
{
	struct crew *crew = calloc(1, sizeof(*crew));

	must(crew, "no memory");
	actor->state = crew;
	crew->actor = actor;
	for (unsigned i = 0; i < CREW_CHANNELS; i++)
		channel_open(&crew->channels[i], (enum channel_kind)(i % CHANNEL_KINDS));
	crew_open_ring(crew);
}

static void end(struct actor *actor)
{
	struct crew *crew = crew_of(actor);

	for (unsigned i = 0; i < CREW_SCOPES; i++)
		if (crew->scopes[i] && chance_one_in(&actor->chance, 2))
			scope_end(&actor->chance, crew->scopes[i]);
	if (chance_one_in(&actor->chance, 2))
		for (unsigned i = 0; i < CREW_CHANNELS; i++)
			reopen_channel(crew, i);
	crew_close_ring(crew);
	for (unsigned i = 0; i < CREW_CHANNELS; i++) {
		close(crew->channels[i].near);
		channel_close_far(&crew->channels[i]);
	}
	for (unsigned i = 0; i < CREW_SCOPES; i++)
		scope_drop(crew->scopes[i]);
	free(crew);
	actor->state = NULL;
}

static struct action actions[] = {
	{"ring-begin", 50, begin_some},
	{"ring-drain-flag", 1, begin_draining},
	{"ring-chain", 6, begin_chain},
	{"ring-mixed-chain", 3, begin_mixed_chain},
	{"ring-submit", 10, submit},
	{"ring-dispatch", 20, dispatch},
	{"ring-wait", 20, wait_a_little},
	{"ring-cancel", 4, cancel_one},
	{"ring-feed", 60, feed},
	{"ring-derive", 8, derive_own},
	{"ring-end", 3, end_own},
	{"ring-move", 2, move_own},
	{"ring-grace", 1, set_grace},
	{"ring-drain", 4, drain},
	{"ring-close-fd", 2, close_channel},
	{"ring-fd", 1, look_at_fd},
	{"ring-callback", 2, add_callback},
	{"ring-source", 2, add_source},
	{"ring-group", 1, run_group},
	{"ring-first", 1, run_first_group},
	{"ring-reopen", 1, reopen_ring},
	{"ring-fork", 1, fork_with_ring},
	{0},
};

const struct role role_ring = {"ring", actions, begin, end};
