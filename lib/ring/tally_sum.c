/* SPDX-License-Identifier: MIT */
#include "tally.h"

void tally_ref(struct tally *tally)
{
	atomic_fetch_add(&tally->holders, 1);
}

void tally_report(struct tally *tally, const struct ctx_batch *batch)
{
	struct ctx_batch *sum = &tally->sum;

	lock_acquire(&tally->lock);
	tally->batches++;
	sum->operations += batch->operations;
	sum->unsent += batch->unsent;
	sum->timed += batch->timed;
	sum->sqes += batch->sqes;
	sum->enters += batch->enters;
	sum->cancelled += batch->cancelled;
	sum->finished += batch->finished;
	sum->held += batch->held;
	if (batch->submit_ns > sum->submit_ns)
		sum->submit_ns = batch->submit_ns;
	if (batch->reap_ns > sum->reap_ns)
		sum->reap_ns = batch->reap_ns;
	lock_release(&tally->lock);
}

void tally_unref(struct tally *tally)
{
	if (tally && atomic_fetch_sub(&tally->holders, 1) == 1)
		tally->done(tally);
}
