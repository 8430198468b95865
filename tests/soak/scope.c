/* SPDX-License-Identifier: MIT */
#include "soak/scope.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define COMMON_MAX 40
#define DEPTH_MAX 12
/* Ancestors that a question looks at: at most two parents, and DEPTH_MAX levels, of which few merge. */
#define ANCESTORS_MAX 256

static struct {
	pthread_mutex_t lock; /* guards the array */
	struct scope *scopes[COMMON_MAX];
	struct scope *root;
} common = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct ctx_key key = {.name = "soak"};

struct scope *scope_take(struct scope *scope)
{
	if (scope)
		__atomic_fetch_add((unsigned *)&scope->references, 1, __ATOMIC_RELAXED);
	return scope;
}

void scope_drop(struct scope *scope)
{
	/* Only first parents are followed here; others are rare and let go of by a call. */
	while (scope && __atomic_sub_fetch((unsigned *)&scope->references, 1, __ATOMIC_ACQ_REL) == 0) {
		struct scope *parent = scope->parents[0];
		ctx_unref(scope->ctx);
		if (scope->parents[1])
			scope_drop(scope->parents[1]);
		free(scope);
		scope = parent;
	}
}

struct scope *scope_wrap(const struct ctx_context *ctx, struct ctx_context *own, struct scope *parent,
			 struct scope *other)
{
	struct scope *scope = calloc(1, sizeof(*scope));

	must(scope && ctx, "no memory");
	scope->ctx = ctx;
	scope->own = own;
	scope->parents[0] = scope_take(parent);
	scope->parents[1] = scope_take(other);
	scope->parent_count = parent ? other ? 2 : 1 : 0;
	scope->depth = parent ? parent->depth + 1 : 0;
	if (other && other->depth >= scope->depth)
		scope->depth = other->depth + 1;
	scope->earliest_ns = CTX_FOREVER;
	scope->references = 1;
	count(&verdict_counts.contexts);
	return scope;
}

struct scope *scope_child(struct scope *parent)
{
	struct ctx_context *ctx = NULL;

	must(ctx_with_cancel(parent->ctx, "child", &ctx) == 0, "no child");
	return scope_wrap(ctx, ctx, parent, NULL);
}

static struct scope *with_deadline(struct scope *parent, uint64_t deadline_ns, bool movable)
{
	struct ctx_context *ctx = NULL;
	int error = movable ? ctx_with_movable_deadline(parent->ctx, deadline_ns, "movable", &ctx)
			    : ctx_with_deadline(parent->ctx, deadline_ns, "deadline", &ctx);

	must(error == 0, "no context with a deadline: %d", error);
	struct scope *scope = scope_wrap(ctx, ctx, parent, NULL);
	scope->earliest_ns = deadline_ns;
	scope->movable = movable;
	return scope;
}

struct scope *scope_with_timeout(struct scope *parent, uint64_t timeout_ns)
{
	return with_deadline(parent, clock_now_ns() + timeout_ns, false);
}

static struct scope *merged(struct chance *chance, struct scope *parent)
{
	struct scope *other = scope_common(chance);
	const struct ctx_context *parents[] = {parent->ctx, other->ctx};
	struct ctx_context *ctx = NULL;

	must(ctx_merge(parents, 2, "merged", &ctx) == 0, "no merged context");
	struct scope *scope = scope_wrap(ctx, ctx, parent, other);
	scope_drop(other);
	return scope;
}

static struct scope *with_value(struct scope *parent)
{
	const struct ctx_context *ctx = NULL;
	void *value = NULL;

	must(ctx_with_value(parent->ctx, &key, parent, "value", &ctx) == 0, "no value");
	must(ctx_value(ctx, &key, &value) == 0 && value == parent, "the value is another one");
	return scope_wrap(ctx, NULL, parent, NULL);
}

static struct scope *shielded(struct scope *parent)
{
	const struct ctx_context *ctx = NULL;

	must(ctx_without_cancel(parent->ctx, "shielded", &ctx) == 0, "no shielded context");
	struct scope *scope = scope_wrap(ctx, NULL, parent, NULL);
	scope->shields = true;
	/* It never ends, and must not stay among the common ones, whose end is awaited: its child can. */
	struct scope *child = scope_child(scope);
	scope_drop(scope);
	return child;
}

struct scope *scope_derive(struct chance *chance, struct scope *parent)
{
	if (parent->depth >= DEPTH_MAX)
		parent = common.root;
	switch (chance_below(chance, 12)) {
	case 0:
	case 1:
		return scope_with_timeout(parent, chance_short_ns(chance));
	case 2:
		return with_deadline(parent, clock_now_ns() + chance_short_ns(chance), true);
	case 3:
		return with_deadline(parent, clock_now_ns() + 3600 * NS_PER_SECOND, chance_one_in(chance, 2));
	case 4:
	case 5:
		return merged(chance, parent);
	case 6:
		return with_value(parent);
	case 7:
		return shielded(parent);
	default:
		return scope_child(parent);
	}
}

/* ---- what must hold */

bool scope_is_below(const struct scope *scope, const struct scope *top)
{
	while (scope != top) {
		/* What is below a merged context's other parent is below that one as well, but not looked at.
		 */
		if (scope->shields || scope->parent_count != 1)
			return false;
		scope = scope->parents[0];
	}
	return true;
}

/* scope and all from which it was made, nearest first; shields end the way unless through is set. */
static unsigned list_ancestors(const struct scope *scope, bool through,
			       const struct scope *ancestors[ANCESTORS_MAX])
{
	unsigned number = 1;

	ancestors[0] = scope;
	for (unsigned i = 0; i < number; i++)
		for (unsigned k = 0; (through || !ancestors[i]->shields) && k < ancestors[i]->parent_count;
		     k++)
			if (number < ANCESTORS_MAX)
				ancestors[number++] = ancestors[i]->parents[k];
	return number;
}

bool scope_stems_from(const struct scope *scope, const struct scope *top)
{
	const struct scope *ancestors[ANCESTORS_MAX];
	unsigned number = list_ancestors(scope, true, ancestors);

	for (unsigned i = 0; i < number; i++)
		if (ancestors[i] == top)
			return true;
	return false;
}

/* Whether anything on the way to the roots explains that scope is done with this error. */
static bool is_explained(const struct scope *scope, int error)
{
	const struct scope *ancestors[ANCESTORS_MAX];
	unsigned number = list_ancestors(scope, false, ancestors);

	for (unsigned i = 0; i < number; i++) {
		if (error == -ECANCELED && (ancestors[i]->asked || ancestors[i]->by_event))
			return true;
		if (error == -ETIME && ancestors[i]->earliest_ns <= clock_now_ns())
			return true;
	}
	return number == ANCESTORS_MAX; /* too many to say */
}

void scope_check(const struct scope *scope)
{
	int error = ctx_err(scope->ctx);
	struct ctx_cause cause;

	if (!error)
		return;
	must(error == -ECANCELED || error == -ETIME, "ctx_err is %d", error);
	must(is_explained(scope, error), "done with %d, though nobody asked and no deadline has passed",
	     error);
	must(ctx_err(scope->ctx) == error, "ctx_err was %d and is %d", error, ctx_err(scope->ctx));
	must(ctx_get_cause(scope->ctx, &cause) == 0 && cause.kind != CTX_CAUSE_NONE, "done without a cause");
	must((error == -ETIME) == (cause.kind == CTX_CAUSE_DEADLINE), "error %d, but the cause is of kind %d",
	     error, cause.kind);
}

static unsigned collect_below(const struct scope *top, struct scope *found[COMMON_MAX])
{
	unsigned number = 0;

	pthread_mutex_lock(&common.lock);
	for (unsigned i = 0; i < COMMON_MAX; i++)
		if (common.scopes[i] && scope_is_below(common.scopes[i], top))
			found[number++] = scope_take(common.scopes[i]);
	pthread_mutex_unlock(&common.lock);
	return number;
}

void scope_end(struct chance *chance, struct scope *scope)
{
	struct scope *below[COMMON_MAX];
	unsigned number = collect_below(scope, below);
	int error = 0;

	if (scope->own) {
		scope->asked = true;
		error = chance_one_in(chance, 2) ? ctx_cancel(scope->own)
						 : ctx_cancel_cause(scope->own, -EIO, "step %u", number);
		must(error == 0 || error == -EALREADY, "ctx_cancel: %d", error);
		must(ctx_err(scope->ctx) != 0, "live after ctx_cancel: %d", error);
	}
	for (unsigned i = 0; i < number; i++) {
		must(!scope->own || error || ctx_err(below[i]->ctx) != 0, "live below what ctx_cancel ended");
		scope_check(below[i]);
		scope_drop(below[i]);
	}
}

static void lower(_Atomic uint64_t *earliest_ns, uint64_t to_ns)
{
	uint64_t before_ns = *earliest_ns;

	while (to_ns < before_ns && !atomic_compare_exchange_weak(earliest_ns, &before_ns, to_ns))
		;
}

void scope_move(struct chance *chance, struct scope *scope)
{
	uint64_t to_ns =
		clock_now_ns() + (chance_one_in(chance, 4) ? 3600 * NS_PER_SECOND : chance_short_ns(chance));

	if (!scope->own)
		return;
	lower(&scope->earliest_ns, to_ns);
	int error = ctx_set_deadline(scope->own, to_ns);
	must(error == 0 || error == -EALREADY || (error == -EPERM && !scope->movable), "ctx_set_deadline: %d",
	     error);
}

void scope_await(struct scope *scope)
{
	must(ctx_wait(scope->ctx, SOAK_SOON_NS) == 0, "not done, asked %d, deadline %lld ns ago",
	     scope->asked, (long long)(clock_now_ns() - scope->earliest_ns));
	scope_check(scope);
}

/* ---- those that are common to all */

void scopes_begin(void)
{
	struct ctx_context *ctx = NULL;

	must(ctx_with_cancel(ctx_background(), "round", &ctx) == 0, "no context for the round");
	common.root = scope_wrap(ctx, ctx, NULL, NULL);
}

void scopes_end(void)
{
	struct chance chance = {.state = 1};

	scope_end(&chance, common.root);
	for (unsigned i = 0; i < COMMON_MAX; i++) {
		struct scope *scope = common.scopes[i];
		common.scopes[i] = NULL;
		if (!scope)
			continue;
		struct scope *ending = scope;
		while (!ending->own)
			ending = ending->parents[0];
		scope_end(&chance, ending);
		scope_await(scope);
		scope_drop(scope);
	}
	must(__atomic_load_n((unsigned *)&common.root->references, __ATOMIC_ACQUIRE) == 1,
	     "%u references to the root of the round are left", common.root->references);
	scope_drop(common.root);
	common.root = NULL;
}

struct scope *scope_common(struct chance *chance)
{
	/* Mostly a live one, so that not all that is begun is refused. */
	unsigned place = chance_below(chance, COMMON_MAX), tries = chance_one_in(chance, 8) ? 1 : 6;
	struct scope *scope;

	pthread_mutex_lock(&common.lock);
	do {
		scope = common.scopes[place] ? common.scopes[place] : common.root;
		place = (place + 7) % COMMON_MAX;
	} while (--tries && ctx_err(scope->ctx));
	scope_take(scope);
	pthread_mutex_unlock(&common.lock);
	return scope;
}

void scope_publish(struct chance *chance, struct scope *scope)
{
	unsigned place = chance_below(chance, COMMON_MAX);

	pthread_mutex_lock(&common.lock);
	struct scope *before = common.scopes[place];
	common.scopes[place] = scope;
	pthread_mutex_unlock(&common.lock);
	scope_drop(before);
}
