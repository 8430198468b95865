/* SPDX-License-Identifier: MIT */
/*
 * The order in which the operations of a batch are cancelled. Nothing here touches the kernel.
 *
 * In the kernel, requests that wait on a poll are in at most 256 hash buckets, the newest at the head, and a
 * cancelled one stays there until its task work has run. Plain timeouts are in one list, the oldest at the
 * head. So requests on a poll are cancelled newest first and timeouts oldest first: then each search finds
 * its target at the head, and a cancel costs the same among 16 or 60,000.
 */
#ifndef CTX_PLAN_H
#define CTX_PLAN_H

#include "op.h"

/* A bottom-up merge sort: runs[n], newest first, was merged from 2^n runs that were added. */
#define PLAN_RUNS_MAX 32

struct plan_sorter {
	struct list runs[PLAN_RUNS_MAX];
};

struct plan {
	struct plan_sorter others, timeouts;
	unsigned count; /* how many operations are in it */
};

void plan_init(struct plan *plan);

/* Takes over a run: a list of operations, newest first. Most groups are one run. In all O(n log runs). */
void plan_add(struct plan *plan, struct list *run);

/* The same of count operations that the caller has sorted into timeouts and others, each newest first. */
void plan_add_sorted(struct plan *plan, struct list *others, struct list *timeouts, unsigned count);

/* Sorts the operations. Nothing is added afterwards. */
void plan_finish(struct plan *plan);

/* Takes the operation that is to be cancelled next out of the plan. NULL: there is none. */
struct operation *plan_next(struct plan *plan);

/*
 * The operations that are no timeouts, in the order in which they are to be cancelled. Who takes some from
 * its head subtracts them from plan->count. Timeouts come after all of them.
 */
static inline struct list *plan_others(struct plan *plan)
{
	return &plan->others.runs[0];
}

#endif
