/* SPDX-License-Identifier: MIT */
/*
 * What a process has counted, for each stem of labels: contexts made and ended, operations, and histograms of
 * times. The records of its threads are added up.
 *
 * As the reader does, this takes bytes that may change and may be hostile. The result is safe: texts end, and
 * sums that do not fit stay at UINT64_MAX.
 */
#ifndef TOOL_READ_COUNTERS_H
#define TOOL_READ_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "table_format.h"

/* Everything grows only, while the process lives. */
struct stem_counters {
	char stem[CTX_TABLE_LABEL_SIZE];  /* "": of contexts without a label; not escaped */
	uint64_t begun;			  /* contexts that were made */
	uint64_t released;		  /* contexts that were freed while they were live */
	uint64_t ended[CTX_TABLE_CAUSES]; /* by enum ctx_cause_kind */
	uint64_t operations_begun;
	uint64_t operations_finished;	     /* all that came to their final completion */
	uint64_t operations_cancelled;	     /* those of them that ended because their context did */
	uint64_t ages[CTX_TABLE_BUCKETS];    /* of contexts that ended */
	uint64_t cancels[CTX_TABLE_BUCKETS]; /* of batches, from their beginning to the last completion */
};

struct counters {
	struct stem_counters *stems; /* in the order in which the process met them; none twice */
	uint32_t count;
	/* The texts of all stems, by the slots that records of contexts have: see counters_stem_at(). */
	char (*texts)[CTX_TABLE_LABEL_SIZE];
	uint32_t text_count;
	bool present; /* false: the process has a library that does not count */
};

/*
 * Reads the counters of a table. The areas of header are within bytes, and it is not in bytes itself, so that
 * nobody changes it meanwhile. Stems that were never counted for are left out. 0, and the caller calls
 * counters_free(); or -ENOMEM.
 */
int counters_read(const void *bytes, const struct ctx_table_header *header, struct counters *ret_counters);
/* A zeroed one is allowed. */
void counters_free(struct counters *counters);

/* The text of the stem in that slot; NULL: the slot was not in use, or the process does not count. */
const char *counters_stem_at(const struct counters *counters, uint32_t slot);

/* The counters of this stem, or NULL. */
const struct stem_counters *counters_find(const struct counters *counters, const char *stem);

/* Adds all numbers of from. */
void stem_counters_add(struct stem_counters *to, const struct stem_counters *from);

/* Takes away all numbers of before, which was read earlier: what is left was counted in between. 0 where
 * before is greater, which a process that only counts up never shows. */
void stem_counters_subtract(struct stem_counters *from, const struct stem_counters *before);

/* How many contexts ended, by whatever kind of cause. */
uint64_t stem_counters_ended(const struct stem_counters *counters);

/* ---- histograms: CTX_TABLE_BUCKETS numbers, see CTX_TABLE_BUCKET_SHIFT */

uint64_t histogram_count(const uint64_t *buckets);

/* The time below which bucket counts, UINT64_MAX for the last one. The one before it begins where it ends. */
uint64_t histogram_bound(unsigned bucket);

/*
 * The time that a share of all (0.5: half of them) does not reach, in nanoseconds. Within its bucket the
 * times are taken to be spread evenly, so it is at most a third too long or too short, or half a microsecond.
 * In the last bucket it is that bucket's beginning. 0 when nothing was counted.
 */
uint64_t histogram_percentile(const uint64_t *buckets, double share);

#endif
