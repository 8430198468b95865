/* SPDX-License-Identifier: MIT */
/* What ctxtool top takes from the counters and stems in tables. */
#ifndef TOP_COUNTS_H
#define TOP_COUNTS_H

#include "discover.h"
#include "rates.h"

/*
 * Sums up the counters of all processes that have some: one total for each process and stem. now_ns is the
 * time of the survey by our CLOCK_MONOTONIC. 0, and the caller frees the totals; or -ENOMEM.
 */
int top_read_totals(const struct survey *survey, uint64_t now_ns, struct top_total **ret_totals,
		    size_t *ret_count);

/* Writes the stem of a context's label: the one that its process counts it under, if it has counters. */
void top_context_stem(const struct process *process, const struct reader_context *context,
		      char ret_stem[CTX_TABLE_LABEL_SIZE]);

#endif
