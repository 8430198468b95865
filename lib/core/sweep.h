/* SPDX-License-Identifier: MIT */
/* A sweep ends a context: it marks the node and all nodes below it, and then tells all that wait for them. */
#ifndef CTX_SWEEP_H
#define CTX_SWEEP_H

#include "counters.h"
#include "node.h"

/* One sweep. The list has the marked nodes that somebody waits for or that have children, in the order of
 * marking, each with a reference. */
struct sweep {
	struct ctx_context *first, **last;
	struct deferred_list later; /* what watches leave to be done without locks */
	uint32_t marked;	    /* how many nodes it has marked below the first */
	bool foreign;		    /* it met a part that another sweep has not finished */
	bool on_worker;		    /* callbacks run on the worker thread */
	/* What is counted for the contexts that it marks. Where two ends meet, those below both are counted
	 * for the cause of the sweep that marks them. */
	struct counters_run ended;
	uint32_t cause_tid; /* of the root, for probes */
};

/* Of an end of this kind of cause at now_ns. sweep_mark_link() is to be followed by counters_end_run(). */
void sweep_init(struct sweep *sweep, bool on_worker, unsigned cause_kind, uint64_t now_ns);

/* How a context is to be ended: its error, and its cause. */
struct end {
	int error; /* ECANCELED or ETIME, for state */
	enum ctx_cause_kind kind;
	int code; /* for cause_code */
	const void *site;
	uint32_t tid;
	struct cause_text *text; /* taken over if ctx ends by this */
	bool on_worker;
};

/* Ends ctx and all below it. Returns 0, or -EALREADY: end->text is still the caller's. */
int context_end(struct ctx_context *ctx, const struct end *end);

/* Ends ctx if its own deadline is not after now_ns. */
void context_end_deadline(struct ctx_context *ctx, uint64_t now_ns);

/* Finishes the end of ctx, which is done, where nodes below it are not marked yet. No lock held. */
void context_spread_end(struct ctx_context *ctx);

/* Marks a merged node through its link node, whose parent is done. With the lock of the parent's shard held,
 * or before others know the node. */
void sweep_mark_link(struct sweep *sweep, struct ctx_context *node, uint32_t error);

#endif
