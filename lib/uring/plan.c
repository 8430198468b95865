/* SPDX-License-Identifier: MIT */
#include "plan.h"

static struct operation *operation_of(struct list *link)
{
	return container_of(link, struct operation, link);
}

static bool is_newer(struct list *a, struct list *b)
{
	return operation_of(a)->order > operation_of(b)->order;
}

/* Merges the run from into the run to; both are newest first. Runs that do not overlap, the common case, are
 * joined without going through them. */
static void merge_runs(struct list *to, struct list *from)
{
	if (list_empty(to) || list_empty(from) || is_newer(to->prev, from->next)) {
		list_splice(to, from);
		return;
	}
	struct list *place = to->next;
	while (!list_empty(from)) {
		struct list *link = from->next;
		while (place != to && is_newer(place, link))
			place = place->next;
		if (place == to) {
			list_splice(to, from);
			return;
		}
		list_remove(link);
		list_append(place, link);
	}
}

static void sorter_init(struct plan_sorter *sorter)
{
	for (unsigned i = 0; i < PLAN_RUNS_MAX; i++)
		list_init(&sorter->runs[i]);
}

static void sorter_add(struct plan_sorter *sorter, struct list *run)
{
	unsigned i = 0;

	if (list_empty(run))
		return;
	for (; i < PLAN_RUNS_MAX - 1 && !list_empty(&sorter->runs[i]); i++)
		merge_runs(run, &sorter->runs[i]);
	merge_runs(&sorter->runs[i], run);
}

static void sorter_finish(struct plan_sorter *sorter)
{
	for (unsigned i = 1; i < PLAN_RUNS_MAX; i++)
		merge_runs(&sorter->runs[0], &sorter->runs[i]);
}

void plan_init(struct plan *plan)
{
	sorter_init(&plan->others);
	sorter_init(&plan->timeouts);
	plan->count = 0;
}

void plan_add_sorted(struct plan *plan, struct list *others, struct list *timeouts, unsigned count)
{
	plan->count += count;
	sorter_add(&plan->others, others);
	sorter_add(&plan->timeouts, timeouts);
}

void plan_add(struct plan *plan, struct list *run)
{
	struct list timeouts;
	unsigned count = 0;

	list_init(&timeouts);
	for (struct list *link = run->next, *next; link != run; link = next) {
		next = link->next;
		count++;
		if (operation_of(link)->opcode != IORING_OP_TIMEOUT)
			continue;
		list_remove(link);
		list_append(&timeouts, link);
	}
	plan_add_sorted(plan, run, &timeouts, count);
}

void plan_finish(struct plan *plan)
{
	sorter_finish(&plan->others);
	sorter_finish(&plan->timeouts);
}

struct operation *plan_next(struct plan *plan)
{
	struct list *others = &plan->others.runs[0], *timeouts = &plan->timeouts.runs[0];
	struct list *link = !list_empty(others) ? others->next : timeouts->prev;

	if (link == timeouts)
		return NULL;
	list_remove(link);
	plan->count--;
	return operation_of(link);
}
