/* SPDX-License-Identifier: MIT */
/*
 * Adds up what becomes of the operations under a context that is about to be ended: the batches of all rings
 * that have some.
 */
#ifndef CTX_TALLY_H
#define CTX_TALLY_H

#include "context.h"

struct tally {
	struct lock lock;     /* guards sum and batches */
	struct ctx_batch sum; /* submit_ns and reap_ns are the longest of all; ctx_id is unused */
	unsigned batches;
	_Atomic uint32_t holders; /* groups and batches that will report, and the caller of tally_begin */
	/*
	 * Called when all batches have been reported, or will never be because their ring was closed. Runs on
	 * the thread that was last: a ring's owner, or the caller of tally_end. No lock is held. The memory
	 * of the tally is the caller's again.
	 */
	void (*done)(struct tally *tally);
};

/* To be called before ctx is ended: asks all rings with operations under ctx to report. */
void tally_begin(struct tally *tally, struct ctx_context *ctx, void (*done)(struct tally *tally));

/* To be called after ctx was ended. */
void tally_end(struct tally *tally);

/* ---- for rings */

void tally_ref(struct tally *tally);
void tally_report(struct tally *tally, const struct ctx_batch *batch);

/* Gives back a reference. NULL is allowed. */
void tally_unref(struct tally *tally);

#endif
