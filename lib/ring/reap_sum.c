/* SPDX-License-Identifier: MIT */
#include "reap.h"

void reap_hold(struct reap *reap)
{
	atomic_fetch_add(&reap->holders, 1);
}

void reap_report(struct reap *reap, const struct ctx_batch *batch)
{
	struct ctx_batch *sum = &reap->sum;

	lock_acquire(&reap->lock);
	reap->batches++;
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
	lock_release(&reap->lock);
}

void reap_drop(struct reap *reap)
{
	if (reap && atomic_fetch_sub(&reap->holders, 1) == 1)
		reap->done(reap);
}
