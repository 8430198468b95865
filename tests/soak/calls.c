/* SPDX-License-Identifier: MIT */
#include "soak/calls.h"

#include <stdlib.h>
#include <time.h>

#include "soak/scope.h"

#define CALLS 16

struct call {
	struct ctx_callback callback;
	struct scope *scope;
	_Atomic unsigned runs;
};

/* What is known of one outside of it, for its function may have freed it. Whoever takes one out stops it. */
struct registration {
	struct call *call;
	uint64_t id;
	bool frees;
};

static struct registration *_Atomic registrations[CALLS];
static _Atomic unsigned freeing; /* of those that free themselves: not yet run */

static void run(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct call *call = data;

	must(callback == &call->callback && ctx == call->scope->ctx, "a callback of another one");
	must(ctx_err(ctx) != 0, "a callback of a live context");
	must(__atomic_fetch_add((unsigned *)&call->runs, 1, __ATOMIC_RELEASE) == 0, "a callback ran twice");
}

static void await_run(const struct call *call)
{
	uint64_t end_ns = clock_now_ns() + SOAK_SOON_NS;

	while (!__atomic_load_n((const unsigned *)&call->runs, __ATOMIC_ACQUIRE)) {
		struct timespec pause = {.tv_nsec = 50000};
		must(clock_now_ns() < end_ns, "a callback was not stopped, and does not run");
		nanosleep(&pause, NULL);
	}
}

static void let_go(struct call *call)
{
	scope_drop(call->scope);
	free(call);
}

static void stop_kept(struct chance *chance, struct registration *registration)
{
	struct call *call = registration->call;
	bool waits = chance_one_in(chance, 2);
	bool stopped = waits ? ctx_callback_stop_wait(registration->id) : ctx_callback_stop(registration->id);

	if (!waits && !stopped)
		await_run(call);
	must(call->runs == (stopped ? 0 : 1), "stopped %d, and ran %u times", stopped, call->runs);
	/* That it has run does not say that the library lets go of it: a stop that waits does. */
	must(!ctx_callback_stop_wait(registration->id), "stopped twice");
	let_go(call);
}

static void stop_freeing(struct chance *chance, struct registration *registration)
{
	bool waits = chance_one_in(chance, 2);

	if (!(waits ? ctx_callback_stop_wait(registration->id) : ctx_callback_stop(registration->id)))
		return;
	let_go(registration->call);
	__atomic_fetch_sub((unsigned *)&freeing, 1, __ATOMIC_RELEASE);
}

static void stop(struct chance *chance, struct registration *registration)
{
	if (registration && registration->frees)
		stop_freeing(chance, registration);
	else if (registration)
		stop_kept(chance, registration);
	free(registration);
}

static struct registration *exchange(unsigned place, struct registration *registration)
{
	return __atomic_exchange_n((struct registration **)&registrations[place], registration,
				   __ATOMIC_ACQ_REL);
}

static void run_and_free(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct call *call = data;

	must(callback == &call->callback && ctx_err(ctx) != 0, "a callback of another one");
	let_go(call);
	__atomic_fetch_sub((unsigned *)&freeing, 1, __ATOMIC_RELEASE);
}

static void add(struct actor *actor, struct scope *scope, bool frees)
{
	struct registration *registration = calloc(1, sizeof(*registration));
	struct call *call = calloc(1, sizeof(*call));

	must(call && registration, "no memory");
	call->scope = scope;
	registration->call = call;
	registration->frees = frees;
	int error = ctx_callback_add(scope->ctx, &call->callback, frees ? run_and_free : run, call,
				     &registration->id);
	must(error == 0 && registration->id, "ctx_callback_add: %d", error);
	stop(&actor->chance, exchange(chance_below(&actor->chance, CALLS), registration));
}

void calls_add(struct actor *actor)
{
	add(actor, scope_common(&actor->chance), false);
}

void calls_add_freeing(struct actor *actor)
{
	struct scope *common = scope_common(&actor->chance);
	struct scope *scope = scope_with_timeout(common, chance_short_ns(&actor->chance));

	__atomic_fetch_add((unsigned *)&freeing, 1, __ATOMIC_RELAXED);
	add(actor, scope, true);
	scope_drop(common);
}

void calls_stop(struct actor *actor)
{
	stop(&actor->chance, exchange(chance_below(&actor->chance, CALLS), NULL));
}

void calls_end(struct actor *actor)
{
	uint64_t end_ns = clock_now_ns() + SOAK_SOON_NS;

	for (unsigned i = 0; i < CALLS; i++)
		stop(&actor->chance, exchange(i, NULL));
	while (__atomic_load_n((unsigned *)&freeing, __ATOMIC_ACQUIRE)) {
		struct timespec pause = {.tv_nsec = 200000};
		must(clock_now_ns() < end_ns, "%u callbacks of deadlines do not run", freeing);
		nanosleep(&pause, NULL);
	}
}
