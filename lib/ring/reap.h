/* SPDX-License-Identifier: MIT */
/*
 * Adding up what becomes of the operations under a context that is about to be ended: the batches of all
 * rings that have some.
 */
#ifndef CTX_REAP_H
#define CTX_REAP_H

#include "context.h"

struct reap {
	struct lock lock;     /* guards sum and batches */
	struct ctx_batch sum; /* submit_ns and reap_ns: of the slowest; ctx_id unused */
	unsigned batches;
	_Atomic uint32_t holders; /* groups and batches that still have to report, and whoever asked */
	/*
	 * All has been reported, or never will be because the ring was closed. On whatever thread was last: a
	 * ring's owner, or the caller of reap_end. No lock is held. The memory is the caller's again.
	 */
	void (*done)(struct reap *reap);
};

/* Before ctx is ended: asks all rings with operations under it to report. */
void reap_begin(struct reap *reap, struct ctx_context *ctx, void (*done)(struct reap *reap));

/* After it was ended. */
void reap_end(struct reap *reap);

/* ---- for rings */

void reap_hold(struct reap *reap);
void reap_report(struct reap *reap, const struct ctx_batch *batch);

/* One holder less. NULL is allowed. */
void reap_drop(struct reap *reap);

#endif
