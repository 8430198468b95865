/* SPDX-License-Identifier: MIT */
/*
 * The order in which the operations of a batch are cancelled. Nothing here touches the kernel.
 *
 * Requests that wait on a poll sit in the kernel in at most 256 hash buckets with the
 * newest at the head, and a cancelled one stays there until its task work ran; plain
 * timeouts hang on one list with the oldest at the head. So the former are
 * cancelled newest first and the latter oldest first: then each search finds its
 * target at the head, and a cancel costs the same among 16 or 60,000.
 */
#ifndef CTX_PLAN_H
#define CTX_PLAN_H

#include "op.h"

/* Merge sort from below: run n, newest first, was merged from 2^n that were added. */
#define PLAN_RUNS_MAX 32

struct plan_sorter {
	struct list runs[PLAN_RUNS_MAX];
};

struct plan {
	struct plan_sorter others, timeouts;
	unsigned count; /* operations in it */
};

void plan_init(struct plan *plan);

/* Takes over a run of operations, which is newest first; most groups are one run. O(n log runs) in all. */
void plan_add(struct plan *plan, struct list *run);

/* Sorts; nothing is added afterwards. */
void plan_finish(struct plan *plan);

/* The next to cancel, taken out of the plan; NULL at the end. */
struct operation *plan_next(struct plan *plan);

#endif
