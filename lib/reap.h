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
	_Atomic uint32_t holders; /* whoever still has to report, and the one who asked */
	/*
	 * All has been reported, or will not be because the ring was closed. On whatever thread was last: a
	 * ring's owner, or that of reap_end. No lock is held. From here on the memory is the caller's again.
	 */
	void (*done)(struct reap *reap);
};

/* Before ctx is ended: asks all rings with operations under it to report. */
void reap_begin(struct reap *reap, struct ctx_context *ctx, void (*done)(struct reap *reap));

/* After it was ended. */
void reap_end(struct reap *reap);

#endif
