/* SPDX-License-Identifier: MIT */
#include "soak/tasks.h"

#include <stdatomic.h>
#include <unistd.h>

#include "soak/scope.h"

#define TASKS_MAX 8

struct job {
	struct ctx_taskgroup *group;
	struct scope *scope; /* of the group */
	struct chance chance;
	unsigned depth;
	_Atomic unsigned started, ran; /* of all tasks of the group */
	_Atomic unsigned calls;	       /* of this task */
	_Atomic int result;	       /* of this task */
	struct job *common;
};

static int task(const struct ctx_context *ctx, void *data)
{
	struct job *job = data, *common = job->common;

	must(ctx == common->scope->ctx, "a task of another group");
	count(&verdict_counts.tasks);
	if (chance_one_in(&job->chance, 2)) {
		int error = ctxio_sleep_for(ctx, chance_short_ns(&job->chance));
		must(error == 0 || error == ctx_err(ctx), "a sleep of a task: %d, ctx_err %d", error,
		     ctx_err(ctx));
	}
	int result = chance_one_in(&job->chance, 8) ? -EIO : ctx_err(ctx);
	job->result = result;
	job->calls++;
	atomic_fetch_add_explicit(&common->ran, 1, memory_order_release);
	return result;
}

/* Returns how many of jobs it has set. */
static unsigned start_tasks(struct actor *actor, struct job *common, struct job *jobs)
{
	unsigned number = 1 + chance_below(&actor->chance, TASKS_MAX);

	for (unsigned i = 0; i < number; i++) {
		jobs[i] = (struct job){.common = common, .chance = {.state = chance_next(&actor->chance)}};
		int error = chance_one_in(&actor->chance, 3)
				    ? ctx_taskgroup_try_start(common->group, task, &jobs[i], "tried")
				    : ctx_taskgroup_start(common->group, task, &jobs[i], "task");
		must(error == 0 || error == -EAGAIN || error == -ECANCELED || error == -ETIME, "no task: %d",
		     error);
		common->started += error == 0;
	}
	return number;
}

void tasks_run_group(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct job jobs[TASKS_MAX], common = {0};
	struct ctx_failure failures[TASKS_MAX];

	must(ctx_taskgroup_new(parent->ctx, 1 + chance_below(&actor->chance, 4), "group", &common.group) == 0,
	     "no group");
	common.scope = scope_wrap(ctx_ref(ctx_taskgroup_context(common.group)), NULL, parent, NULL);
	common.scope->by_event = true; /* a failure ends it */
	start_tasks(actor, &common, jobs);
	if (chance_one_in(&actor->chance, 4))
		ctx_taskgroup_fail(common.group, -EIO, "because of chance");
	if (chance_one_in(&actor->chance, 2)) {
		int first = ctx_taskgroup_wait(common.group);
		int number = ctx_taskgroup_failures(common.group, failures, TASKS_MAX);
		must((first == 0) == (number == 0), "the first failure is %d, of %d", first, number);
		must(common.ran == common.started, "%u of %u tasks after the wait", common.ran,
		     common.started);
	}
	ctx_taskgroup_free(common.group);
	must(atomic_load_explicit(&common.ran, memory_order_acquire) == common.started,
	     "%u of %u tasks after the group", common.ran, common.started);
	must(ctx_err(common.scope->ctx) != 0, "the context of a group that is gone looks live");
	scope_drop(common.scope);
	scope_drop(parent);
}

/* After a wait for a group whose first success ends the rest. result: of the wait. */
static void check_first(struct job *common, struct job *jobs, unsigned number, int result)
{
	void *winner = NULL;
	int found = ctx_taskgroup_first(common->group, &winner);
	unsigned succeeded = 0;
	bool known = false;

	for (unsigned i = 0; i < number; i++) {
		bool success = jobs[i].calls && !jobs[i].result;
		must(jobs[i].calls <= 1, "a task was called %u times", jobs[i].calls);
		succeeded += success;
		known |= success && winner == &jobs[i];
	}
	must(common->ran <= common->started, "%u of %u tasks ran", common->ran, common->started);
	must(found == (succeeded ? 0 : -ENOENT), "%u have succeeded, and the first: %d", succeeded, found);
	must(!succeeded || known, "the first is none of those that have succeeded");
	must(!succeeded || result == 0, "one has succeeded, and the wait: %d", result);
	must(!succeeded || ctx_err(common->scope->ctx) != 0, "a success has not ended the group");
	must(succeeded || common->ran == 0 || result < 0, "%u have failed, and the wait: %d", common->ran,
	     result);
}

void tasks_run_first(struct actor *actor)
{
	struct ctx_taskgroup_options options = {.flags = CTX_TASKGROUP_FIRST,
						.limit = chance_below(&actor->chance, 4),
						.delay_ns = chance_short_ns(&actor->chance)};
	struct scope *parent = scope_common(&actor->chance);
	struct job jobs[TASKS_MAX], common = {0};

	if (chance_one_in(&actor->chance, 2))
		options.delay_ns = chance_one_in(&actor->chance, 2) ? CTX_FOREVER : 0;
	must(ctx_taskgroup_new_with_options(parent->ctx, &options, "first", &common.group) == 0, "no group");
	common.scope = scope_wrap(ctx_ref(ctx_taskgroup_context(common.group)), NULL, parent, NULL);
	common.scope->by_event = true; /* a success ends it */
	unsigned number = start_tasks(actor, &common, jobs);
	if (chance_one_in(&actor->chance, 2))
		check_first(&common, jobs, number, ctx_taskgroup_wait(common.group));
	ctx_taskgroup_free(common.group);
	must(ctx_err(common.scope->ctx) != 0, "the context of a group that is gone looks live");
	scope_drop(common.scope);
	scope_drop(parent);
}

struct doomed {
	struct ctx_taskgroup *group;
	_Atomic int waiter; /* its thread id, from just before it waits */
};

/* Once the waiter is within its wait. */
static int free_group(const struct ctx_context *ctx, void *data)
{
	struct doomed *doomed = data;

	(void)ctx;
	while (!doomed->waiter || !actors_thread_sleeps(doomed->waiter))
		ctxio_sleep_for(ctx_background(), 50000);
	ctx_taskgroup_free(doomed->group);
	return 0;
}

void tasks_free_within(struct actor *actor)
{
	struct scope *parent = scope_common(&actor->chance);
	struct doomed doomed = {.waiter = 0};

	must(ctx_taskgroup_new(parent->ctx, 2, "freed", &doomed.group) == 0, "no group");
	struct scope *scope = scope_wrap(ctx_ref(ctx_taskgroup_context(doomed.group)), NULL, parent, NULL);
	scope->by_event = true;
	if (ctx_taskgroup_start(doomed.group, free_group, &doomed, "task")) {
		ctx_taskgroup_free(doomed.group);
	} else {
		doomed.waiter = gettid();
		must(ctx_taskgroup_wait(doomed.group) == 0, "the wait for a group that was freed failed");
	}
	scope_await(scope);
	scope_drop(scope);
	scope_drop(parent);
}
