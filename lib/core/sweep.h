/* SPDX-License-Identifier: MIT */
/* Marking a node and everything below it, and telling whoever wants to know. */
#ifndef CTX_SWEEP_H
#define CTX_SWEEP_H

#include "node.h"

/* One marking. The list holds what was marked and needs a second look, oldest first, each pinned. */
struct sweep {
	struct ctx_context *first, **last;
	struct deferred_list later; /* what those who were told leave to be done */
	bool foreign;		    /* met what another sweep has not finished */
	bool on_worker;		    /* callbacks go to the worker thread */
};

void sweep_init(struct sweep *sweep, bool on_worker);

/* How a context is ended by itself. */
struct end {
	int error; /* positive errno, for state */
	enum ctx_cause_kind kind;
	int code; /* as cause_code */
	const void *site;
	uint32_t tid;
	struct cause_text *text; /* the node's, if this end wins */
	bool on_worker;
};

/* 0, or -EALREADY: then end->text is still the caller's. */
int context_end(struct ctx_context *ctx, const struct end *end);

/* Ends ctx if its own deadline is not after now_ns. */
void context_end_deadline(struct ctx_context *ctx, uint64_t now_ns);

/* When ctx, which is done, is not done all the way down yet: sees to it. No lock held. */
void context_spread_end(struct ctx_context *ctx);

/* Under the shard lock of a done parent: marks a live merged node through its link. */
void sweep_mark_link(struct sweep *sweep, struct ctx_context *node, uint32_t error);

#endif
