/* SPDX-License-Identifier: MIT */
/*
 * Rates and percentiles of what processes count in their tables: two readings make a rate. Nothing here makes
 * a system call or prints.
 */
#ifndef TOP_RATES_H
#define TOP_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "table_format.h"

/* What a process has counted for one stem of labels since it began. */
struct top_total {
	uint64_t table; /* the inode */
	uid_t uid;
	uint64_t table_created_ns; /* by the clock of top_rates_take() */
	char stem[CTX_TABLE_LABEL_SIZE];
	uint64_t begun, ended, cancelled, expired; /* ended: in any way, also by being freed */
	uint64_t ages[CTX_TABLE_BUCKETS];
};

/* Counts in buckets of struct ctx_table_counters. */
struct top_ages {
	uint64_t buckets[CTX_TABLE_BUCKETS];
};

struct top_series {
	struct top_total total;
	double begun, ended, cancelled, expired; /* per second */
	bool has_rates;				 /* false: there was one reading only */
	uint32_t recent[2][CTX_TABLE_BUCKETS];	 /* ends of this half minute, and of the one before */
};

struct top_rates {
	struct top_series *series; /* sorted by table and stem */
	size_t count;
	uint64_t taken_ns;	/* when the last reading was; 0: there was none */
	uint64_t half_began_ns; /* when the half minute began */
};

/*
 * Takes a reading of all processes at that time of CLOCK_MONOTONIC. Sorts the totals. What was read first now
 * has rates if its table is younger than the reading before. 0 or -ENOMEM.
 */
int top_rates_take(struct top_rates *rates, struct top_total *totals, size_t count, uint64_t now_ns);
void top_rates_free(struct top_rates *rates);

/* Adds the ends of the last minute; or, where nothing ended in it, all. */
void top_ages_add_recent(struct top_ages *ages, const struct top_series *series);
void top_ages_add_total(struct top_ages *ages, const struct top_series *series);

#endif
