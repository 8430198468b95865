/* SPDX-License-Identifier: MIT */
/* What the files of the core share about nodes. The folders above use context.h; a few files of blocking,
 * propagate and client look at nodes themselves. */
#ifndef CTX_NODE_H
#define CTX_NODE_H

#include <stdatomic.h>

#include "context.h"
#include "timer.h"

#define STATE_ATTENTION (STATE_ATTACHED | STATE_CHILDREN | STATE_WAITERS)

/* So many that the threads of a large machine seldom meet in one. A node gets them when two threads met in
 * its own shard. */
#define SHARD_COUNT 16

struct shard_line {
	struct shard shard;
} __attribute__((aligned(64)));

/* The part of a node that few nodes need: made on demand, freed with the node. */
struct extension {
	struct list watches;		   /* ctx lock */
	struct list callbacks;		   /* ctx lock; only of this process, see callbacks_of() */
	struct list ring_callbacks;	   /* as callbacks: those that are bound to a ring */
	struct done *done;		   /* the pipe; ctx lock */
	struct cause_text *deadline_cause; /* what the cause says when its own deadline ends it; ctx lock */
	/* The timer of a node that was made without NODE_TIMER and was given a deadline. Stored with ctx
	 * lock. */
	struct timer *_Atomic timer;
	_Atomic uint64_t grace_ns;	       /* of ctx_set_grace; 0: not set, CTX_FOREVER: none */
	struct signal_request *_Atomic signal; /* of ctx_signal_prepare(); stored with ctx lock */
	/* Read by all threads that derive. The filling keeps its cache line apart from the memory behind. */
	struct shard_line *_Atomic shards; /* SHARD_COUNT of them, from number 1; 0 is the node's own */
	void *shards_memory;
	uint32_t callbacks_forks; /* the fork count of the process that registered the callbacks; ctx lock */
	char filling[28];
};
_Static_assert(offsetof(struct extension, shards) >= 48, "apart from what lies before");

/* How a merged node is a child of one of its parents: node is the hidden child, target the merged node. */
struct parent_link {
	struct ctx_context node;
	struct ctx_context *target;
};

/* The part of a merged node that lies behind it. */
struct merge {
	struct parent_link *_Atomic from; /* the link to the parent that ended it; NULL: none did */
	struct heap_node walk_node;	  /* walk lock, as walk_queued */
	uint64_t walk_queued;		  /* the serial of the last walk that queued it */
	uint64_t order; /* counts merges: larger than in all merged nodes above it. constant */
	unsigned count;
	struct parent_link links[];
};

/* The part of a value node that lies behind it. */
struct value {
	const struct ctx_key *key;
	void *value;
	const struct ctx_context *outer; /* the next node towards the root that has a value; NULL: none has */
};

static inline struct merge *node_merge(const struct ctx_context *ctx)
{
	return (struct merge *)(ctx + 1);
}

static inline struct value *node_value(const struct ctx_context *ctx)
{
	return (struct value *)(ctx + 1);
}

static inline struct parent_link *node_parent_link(const struct ctx_context *node)
{
	return container_of(node, struct parent_link, node);
}

/* A const context is one that its holder may not end. Its memory can be written all the same. */
static inline struct ctx_context *node_mutable(const struct ctx_context *ctx)
{
	return (struct ctx_context *)ctx;
}

static inline struct extension *node_extension(const struct ctx_context *ctx)
{
	return atomic_load_explicit(&node_mutable(ctx)->extension, memory_order_acquire);
}

static inline struct timer *node_timer(const struct ctx_context *ctx)
{
	if (ctx->flags & NODE_TIMER)
		return (struct timer *)(ctx + 1);
	struct extension *extension = node_extension(ctx);
	return extension ? atomic_load_explicit(&extension->timer, memory_order_acquire) : NULL;
}

/* The node's own deadline, not its ancestors'. CTX_FOREVER: it has none. */
static inline uint64_t node_own_deadline(const struct ctx_context *ctx)
{
	struct timer *timer = node_timer(ctx);
	return timer ? atomic_load_explicit(&timer->own_ns, memory_order_relaxed) : CTX_FOREVER;
}

/* ---- forked children */

/* True for a node that was made before a fork, in an ancestor of this process. */
static inline bool node_is_inherited(const struct ctx_context *ctx)
{
	return ctx->table_epoch != thread_fork_count && !(ctx->flags & NODE_STATIC);
}

/* Repair what a lock guards that was taken over from a thread which is not in this process (mend.c). */
void node_mend(struct ctx_context *ctx);
void shard_mend(struct shard *shard);

static inline void node_lock(struct ctx_context *ctx)
{
	if (__builtin_expect(lock_acquire(&ctx->lock), 0))
		node_mend(ctx);
}

static inline void shard_acquire(struct shard *shard)
{
	if (__builtin_expect(lock_acquire(&shard->lock), 0))
		shard_mend(shard);
}

/*
 * Makes sure that ends reach ctx in this process, before somebody derives from it or waits for it: starts the
 * timer where ctx has a deadline. In a forked child the inherited ctx then also gets its deadline, and an end
 * that a thread of the parent had begun above it. Returns 0, or the error of timer_start().
 */
int node_serve(struct ctx_context *ctx);

/* True for nodes that can be cancelled, and have deadlines and signals of their own. */
static inline bool node_can_end(const struct ctx_context *ctx)
{
	return !(ctx->flags & (NODE_STATIC | NODE_ENDLESS | NODE_VALUE | NODE_DETACHED));
}

/* How a node is to be made. */
struct node_options {
	unsigned flags;
	unsigned kind;	      /* enum ctx_table_kind */
	size_t tail;	      /* bytes to allocate behind the node */
	uint64_t deadline_ns; /* its own; CTX_FOREVER: none */
	uint64_t now_ns;      /* 0: read the coarse clock */
	const char *label;
	const void *site;
};

/* Allocates a node and writes its record. The caller fills the tail and calls node_publish(). NULL: no
 * memory. */
struct ctx_context *node_new(const struct ctx_context *parent, const struct node_options *options);

/* Links the node to its parent, whose end and deadline it takes over. */
void node_publish(struct ctx_context *node, uint64_t own_deadline_ns);

/* Links member, a node or the hidden child of a merged one, to member->parent. Returns the parent's positive
 * errno, or 0: the parent is live. */
int node_link_member(struct ctx_context *member, uint64_t own_deadline_ns);

/* Takes a reference on a node that may be about to be freed. False: it is being freed, and none was taken. */
static inline bool node_pin(struct ctx_context *ctx)
{
	uint32_t refs = atomic_load_explicit(&ctx->refs, memory_order_relaxed);

	while (refs)
		if (atomic_compare_exchange_weak_explicit(&ctx->refs, &refs, refs + 1, memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

/* Takes a reference on a node that cannot be freed now, since somebody else has one. */
static inline void node_hold(struct ctx_context *ctx)
{
	atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
}

/* Gives a reference back. May free the node and run release functions of values, so no lock may be held. */
void node_unref(struct ctx_context *ctx);

/* Gives a reference back. Does not free: a node without references is put in front of *dead, a list by
 * sweep_next for node_free_all(). */
static inline void node_unref_later(struct ctx_context *ctx, struct ctx_context **dead)
{
	if (atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
		return;
	ctx->sweep_next = *dead;
	*dead = ctx;
}
void node_free_all(struct ctx_context *dead);

/* Returns the extension of ctx, made if there is none. NULL: no memory. */
struct extension *node_extend(struct ctx_context *ctx);

/*
 * Sets STATE_ATTACHED: a sweep that marks ctx will look at its extension. With the ctx lock held. Returns the
 * positive errno if the node is done: then no sweep comes.
 *
 * Sequentially consistent. A node with a timer is born with STATE_ATTACHED, so that nothing is written here.
 * This thread stores the extension (node_extend()), then loads the state; a sweep stores the state, then
 * loads the extension. One of the two sees the other's store.
 */
static inline int node_attach(struct ctx_context *ctx)
{
	uint32_t state = atomic_load(&ctx->state);

	if (!(state & STATE_ATTACHED))
		state = atomic_fetch_or(&ctx->state, STATE_ATTACHED);
	return (int)(state & STATE_ERRNO);
}

/* The shard with that number, below node_shard_count(). */
static inline struct shard *node_shard(struct ctx_context *ctx, unsigned number)
{
	if (number == 0)
		return &ctx->children;
	struct extension *extension = node_extension(ctx);
	return &atomic_load_explicit(&extension->shards, memory_order_acquire)[number - 1].shard;
}

static inline unsigned node_shard_count(struct ctx_context *ctx)
{
	struct extension *extension = atomic_load(&ctx->extension);
	return extension && atomic_load(&extension->shards) ? 1 + SHARD_COUNT : 1;
}

#endif
