/* SPDX-License-Identifier: MIT */
#include "support/fleet_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/fleet_world.h"

/* ---- what the bridge was asked for */

static struct service_task *task_add(struct world_host *host, uint64_t number, const char *from)
{
	host->tasks = world_array_grow(host->tasks, host->task_count, sizeof(*host->tasks));
	struct service_task *task = &host->tasks[host->task_count++];
	*task = (struct service_task){.number = number};
	strcpy(task->host, from);
	return task;
}

static void task_remove(struct world_host *host, struct service_task *task)
{
	*task = host->tasks[--host->task_count];
}

static struct service_task *task_find(struct world_host *host, uint64_t number)
{
	for (unsigned i = 0; i < host->task_count; i++)
		if (host->tasks[i].number == number)
			return &host->tasks[i];
	return NULL;
}

static void on_cancel_asked(void *link, uint64_t number, const char *from, const struct fleet_cancel *cancel)
{
	struct world_host *host = link;
	struct service_task *task = task_add(host, number, from);

	task->kind = SERVICE_CANCEL;
	task->cancel = *cancel;
}

static void on_mirrors_cancel(void *link, uint64_t number, const char *from, const struct fleet_key *key,
			      const struct fleet_cancel *cancel)
{
	struct world_host *host = link;
	struct service_task *task = task_add(host, number, from);

	task->kind = SERVICE_MIRRORS;
	task->key = *key;
	task->cancel = *cancel;
}

static void on_list_asked(void *link, uint64_t number, const char *from, uint32_t kinds)
{
	struct world_host *host = link;

	ck_assert_uint_eq(kinds, CTXD_SHARED | CTXD_JOINED);
	task_add(host, number, from)->kind = SERVICE_LIST;
}

static void on_list_more(void *link, uint64_t number)
{
	struct service_task *task = task_find(link, number);

	ck_assert(task && task->is_waiting);
	task->is_waiting = false;
}

static void on_list_closed(void *link, uint64_t number)
{
	struct service_task *task = task_find(link, number);

	ck_assert_ptr_nonnull(task);
	task_remove(link, task);
}

/* ---- cancels */

static void mirror_cancel(void *data, void *link)
{
	struct world_mirror *mirror = data;
	struct service_task *task = link;

	/* What it is a mirror of has ended, or ends now: the owner's host has allowed the cancel. */
	task->done.report.asked++;
	if (task->cancel.flags & FLEET_CANCEL_DRY_RUN)
		return;
	task->done.report.ended++;
	task->done.report.operations += SERVICE_OPERATIONS;
	world_assert(mirror->world, mirror->world->contexts[mirror->context].is_ended);
	world_mirror_cancelled(mirror);
}

/* The service of the owner's host is told of a wish once in the life of its bridge. */
static void check_seen_once(struct world_host *host, const struct fleet_cancel *cancel)
{
	struct world_cancel *wish = host->world->cancels[cancel->pid];

	world_assert(host->world, wish->seen_by != host->config.incarnation);
	world_assert(host->world, strcmp(cancel->host, host->world->hosts[wish->host].name) == 0);
	wish->seen_by = host->config.incarnation;
}

static void context_cancel(struct world_host *host, struct service_task *task)
{
	struct world *world = host->world;
	unsigned number = (unsigned)task->cancel.id.number - 1;
	const struct world_context *context = &world->contexts[number];

	check_seen_once(host, &task->cancel);
	if (strcmp(task->cancel.user, "root") != 0) {
		task->done.error = -EPERM;
		return;
	}
	if (context->is_ended) {
		task->done.error = -EALREADY;
		return;
	}
	fleet_cancel_allow(host->fleet, task->number, world->now_ns);
	task->done.report.asked = 1;
	if (task->cancel.flags & FLEET_CANCEL_DRY_RUN)
		return;
	world_end(world, number);
	if (host->ends_early) {
		task->done.error = -EALREADY;
		return;
	}
	task->done.report.ended = 1;
	task->done.report.operations = SERVICE_OPERATIONS;
}

/* False: the operations have not been reaped yet. */
static bool cancel_turn(struct world_host *host, struct service_task *task)
{
	struct world *world = host->world;

	if (!task->is_allowed) {
		task->is_allowed = true;
		task->due_ns = world->now_ns + host->reap_ns;
		if (task->kind == SERVICE_CANCEL)
			context_cancel(host, task);
		else
			fleet_mirrors_visit(host->fleet, task->host, &task->key, mirror_cancel, task);
		if (task->done.error)
			task->due_ns = world->now_ns;
	}
	if (task->due_ns > world->now_ns)
		return false;
	fleet_report(host->fleet, task->number, task->done.error, &task->done.report, world->now_ns);
	return true;
}

static void on_cancel_done(void *data, const struct fleet_outcome *outcome)
{
	struct world_cancel *cancel = data;
	struct world *world = cancel->world;
	const struct world_context *context = &world->contexts[cancel->context];

	world_assert(world, !cancel->is_done && !cancel->is_lost);
	world_assert(world, world->now_ns <= cancel->end_ns);
	world_assert(world, outcome->host_count <= SERVICE_OUTCOME_HOSTS);
	world_assert(world, outcome->hosts_silent <= outcome->hosts_asked);
	cancel->is_done = true;
	cancel->outcome = *outcome;
	for (unsigned i = 0; i < outcome->host_count; i++)
		cancel->hosts[i] = outcome->hosts[i];
	cancel->outcome.hosts = cancel->hosts;
	if (outcome->error == 0) {
		world_assert(world, context->is_ended || cancel->flags & FLEET_CANCEL_DRY_RUN);
		world_assert(world, outcome->host_count <= outcome->hosts_asked);
		if (outcome->host_count)
			ck_assert_str_eq(outcome->hosts[0].host, context->id.host);
	}
}

struct world_cancel *world_cancel(struct world *world, unsigned number, unsigned context, const char *user,
				  uint32_t flags, uint64_t wait_ns)
{
	struct world_host *host = &world->hosts[number];
	struct world_cancel *wish = sure_realloc(NULL, sizeof(*wish));
	struct fleet_cancel cancel = {.id = world->contexts[context].id.key.id,
				      .flags = flags,
				      .wait_ns = wait_ns,
				      .pid = (int32_t)world->cancel_count};

	*wish = (struct world_cancel){.world = world,
				      .number = world->cancel_count,
				      .host = number,
				      .context = context,
				      .flags = flags,
				      .asked_ns = world->now_ns,
				      .end_ns = world->now_ns + wait_ns + 2 * WORLD_BEAT_NS};
	world->cancels = world_array_grow(world->cancels, world->cancel_count, sizeof(wish));
	world->cancels[world->cancel_count++] = wish;
	snprintf(cancel.user, sizeof(cancel.user), "%s", user);
	snprintf(cancel.text, sizeof(cancel.text), "wish %u", wish->number);
	if (!host->fleet ||
	    fleet_cancel(host->fleet, world->contexts[context].id.host, &cancel, wish, world->now_ns))
		wish->is_lost = true;
	return wish;
}

/* ---- lists */

/* False: more entries are left. */
static bool list_turn(struct world_host *host, struct service_task *task)
{
	struct world *world = host->world;
	struct ctxd_entry entry = {.kind = CTXD_SHARED,
				   .created_ns = world->now_ns - NS_PER_SECOND,
				   .deadline_ns = world->now_ns + NS_PER_SECOND,
				   .name = "a name of twenty-odd bytes",
				   .process = "server"};

	if (host->list_error) {
		fleet_list_end(host->fleet, task->number, host->list_error, world->now_ns);
		return true;
	}
	snprintf(entry.label, sizeof(entry.label), "%s", host->name);
	for (; task->position < host->entries; task->position++) {
		if (host->entries_ready && task->position >= host->entries_ready)
			return false;
		entry.id = (struct ctxd_id){7, task->position + 1};
		entry.ctx_id = task->position;
		int error = fleet_list_entry(host->fleet, task->number, &entry, world->now_ns);
		task->is_waiting = error == -EAGAIN;
		if (error) {
			world_assert(world, task->is_waiting);
			return false;
		}
	}
	fleet_list_end(host->fleet, task->number, 0, world->now_ns);
	return true;
}

static void on_list_entry(void *data, const struct ctxd_entry *entry)
{
	struct world_list *list = data;
	struct world *world = list->world;

	world_assert(world, !list->is_done && !list->is_lost);
	world_assert(world, entry->ctx_id == list->count && entry->id.number == list->count + 1);
	world_assert(world, strcmp(entry->label, world->hosts[list->of].name) == 0);
	world_assert(world, entry->created_ns <= world->now_ns && !entry->ended_ns);
	world_assert(world, entry->deadline_ns >= world->now_ns);
	list->count++;
}

static void on_list_again(void *data)
{
	struct world_list *list = data;

	world_assert(list->world, !list->is_done && !list->is_lost);
	list->count = 0;
	list->restarts++;
}

static void on_list_end(void *data, int error)
{
	struct world_list *list = data;
	struct world *world = list->world;

	world_assert(world, !list->is_done && !list->is_lost && world->now_ns <= list->end_ns);
	world_assert(world, error || list->count == world->hosts[list->of].entries);
	list->is_done = true;
	list->error = error;
}

struct world_list *world_list(struct world *world, unsigned number, unsigned of, uint64_t wait_ns)
{
	struct world_host *host = &world->hosts[number];
	struct world_list *list = sure_realloc(NULL, sizeof(*list));

	*list = (struct world_list){
		.world = world, .host = number, .of = of, .end_ns = world->now_ns + wait_ns};
	world->lists = world_array_grow(world->lists, world->list_count, sizeof(list));
	world->lists[world->list_count++] = list;
	if (!host->fleet || fleet_list(host->fleet, world->hosts[of].name, CTXD_SHARED | CTXD_JOINED, wait_ns,
				       list, world->now_ns))
		list->is_lost = true;
	return list;
}

/* ---- turns */

void world_service_output(struct fleet_output *output)
{
	output->cancel_asked = on_cancel_asked;
	output->mirrors_cancel = on_mirrors_cancel;
	output->cancel_done = on_cancel_done;
	output->list_asked = on_list_asked;
	output->list_more = on_list_more;
	output->list_closed = on_list_closed;
	output->list_entry = on_list_entry;
	output->list_again = on_list_again;
	output->list_end = on_list_end;
}

void world_service_turn(struct world_host *host)
{
	for (unsigned i = 0; i < host->task_count && !host->is_service_down;) {
		/* The array may grow meanwhile. */
		struct service_task task = host->tasks[i];
		bool is_done = !task.is_waiting && (task.kind == SERVICE_LIST ? list_turn(host, &task)
									      : cancel_turn(host, &task));
		struct service_task *kept = task_find(host, task.number);
		ck_assert_ptr_nonnull(kept);
		*kept = task;
		if (is_done)
			task_remove(host, kept);
		else
			i++;
	}
}

uint64_t world_service_next_ns(const struct world_host *host)
{
	uint64_t next_ns = UINT64_MAX;

	for (unsigned i = 0; i < host->task_count && !host->is_service_down; i++)
		if (!host->tasks[i].is_waiting && host->tasks[i].due_ns < next_ns &&
		    (host->tasks[i].kind != SERVICE_LIST ||
		     host->tasks[i].position < (host->entries_ready ? host->entries_ready : UINT_MAX)))
			next_ns = host->tasks[i].due_ns;
	return next_ns;
}

void world_service_forget(struct world_host *host)
{
	struct world *world = host->world;

	host->task_count = 0;
	free(host->tasks);
	host->tasks = NULL;
	for (unsigned i = 0; i < world->cancel_count; i++)
		if (world->cancels[i]->host == host->number && !world->cancels[i]->is_done)
			world->cancels[i]->is_lost = true;
	for (unsigned i = 0; i < world->list_count; i++)
		if (world->lists[i]->host == host->number && !world->lists[i]->is_done)
			world->lists[i]->is_lost = true;
}

void world_service_check(struct world *world)
{
	for (unsigned i = 0; i < world->cancel_count; i++) {
		const struct world_cancel *cancel = world->cancels[i];
		world_assert(world, cancel->is_done || cancel->is_lost || cancel->end_ns > world->now_ns);
	}
	for (unsigned i = 0; i < world->list_count; i++) {
		const struct world_list *list = world->lists[i];
		world_assert(world, list->is_done || list->is_lost || list->end_ns > world->now_ns);
	}
}

void world_service_free(struct world *world)
{
	for (unsigned i = 0; i < world->cancel_count; i++)
		free(world->cancels[i]);
	for (unsigned i = 0; i < world->list_count; i++)
		free(world->lists[i]);
	free(world->cancels);
	free(world->lists);
}
