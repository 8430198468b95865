/* SPDX-License-Identifier: MIT */
/*
 * Adding up what becomes of the operations under a context that is about to be ended: the batches of all
 * rings that have some.
 */
#ifndef CTX_TALLY_H
#define CTX_TALLY_H

#include "context.h"

struct tally {
	struct lock lock;     /* guards sum and batches */
	struct ctx_batch sum; /* submit_ns and reap_ns: of the slowest; ctx_id unused */
	unsigned batches;
	_Atomic uint32_t holders; /* groups and batches that still have to report, and whoever asked */
	/*
	 * All has been reported, or never will be because the ring was closed. On whatever thread was last: a
	 * ring's owner, or the caller of tally_end. No lock is held. The memory is the caller's again.
	 */
	void (*done)(struct tally *tally);
};

/* Before ctx is ended: asks all rings with operations under it to report. */
void tally_begin(struct tally *tally, struct ctx_context *ctx, void (*done)(struct tally *tally));

/* After it was ended. */
void tally_end(struct tally *tally);

/* ---- for rings */

void tally_ref(struct tally *tally);
void tally_report(struct tally *tally, const struct ctx_batch *batch);

/* One holder less. NULL is allowed. */
void tally_unref(struct tally *tally);

#endif
