/* SPDX-License-Identifier: MIT */
/* What the files of the context core share about nodes. Nothing above the core includes it. */
#ifndef CTX_NODE_H
#define CTX_NODE_H

#include <stdatomic.h>

#include "context.h"
#include "timer.h"

#define STATE_ATTENTION (STATE_ATTACHED | STATE_CHILDREN | STATE_WAITERS)

/* Enough for the threads of a large machine to seldom meet; a node has them only when two did. */
#define SHARD_COUNT 16

struct shard_line {
	struct shard shard;
} __attribute__((aligned(64)));

/* What few nodes have. Freed with the node. */
struct extension {
	struct list watches;		   /* ctx lock */
	struct list callbacks;		   /* ctx lock; of this process only, see callbacks_of() */
	struct list ring_callbacks;	   /* those that are bound to a ring; as callbacks */
	struct done *done;		   /* the pipe; ctx lock */
	struct cause_text *deadline_cause; /* for when its own deadline fires; ctx lock */
	struct timer *_Atomic timer;	   /* of a node that was not made with one */
	_Atomic uint64_t grace_ns;	   /* of ctx_set_grace; 0: not set, CTX_FOREVER: none */
	struct signal_request *_Atomic signal;
	/* Read by all who derive; the filling keeps its cache line from the memory behind. */
	struct shard_line *_Atomic shards; /* SHARD_COUNT of them, numbered from 1; 0 is the node's own */
	void *shards_memory;
	uint32_t callbacks_forks; /* fork count of the process that callbacks are of; ctx lock */
	char filling[28];
};
_Static_assert(offsetof(struct extension, shards) >= 48, "apart from what lies before");

/* One parent of a merged node. */
struct parent_link {
	struct ctx_context node;
	struct ctx_context *target;
};

/* Follows a merged node. */
struct merge {
	struct parent_link *_Atomic from; /* the parent that ended it, if one did */
	struct heap_node walk_node;	  /* walk lock, as the next one */
	uint64_t walk_queued;		  /* serial of the last walk that had it in its queue */
	uint64_t order;			  /* of its making: after whatever it is below. constant */
	unsigned count;
	struct parent_link links[];
};

/* Follows a value node. */
struct value {
	const struct ctx_key *key;
	void *value;
	const struct ctx_context *outer; /* next node with a value */
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

/* The const of a context says what its holder may ask for, not where it lies. */
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

/* Of its own, CTX_FOREVER without one. */
static inline uint64_t node_own_deadline(const struct ctx_context *ctx)
{
	struct timer *timer = node_timer(ctx);
	return timer ? atomic_load_explicit(&timer->own_ns, memory_order_relaxed) : CTX_FOREVER;
}

/* ---- forked children */

/* Of before a fork, made by an ancestor of this process. */
static inline bool node_is_inherited(const struct ctx_context *ctx)
{
	return ctx->table_epoch != thread_fork_count && !(ctx->flags & NODE_STATIC);
}

/* Of one whose lock was taken over from a thread that is not in this process (mend.c). */
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
 * Before ctx is derived from, waited for or the like: its deadline in force, and an end that had begun above
 * it, come to it in this process also if they are inherited. 0; or what timer_start() says.
 */
int node_serve(struct ctx_context *ctx);

/* Cancel, deadline and signal are for these only. */
static inline bool node_can_end(const struct ctx_context *ctx)
{
	return !(ctx->flags & (NODE_STATIC | NODE_ENDLESS | NODE_VALUE | NODE_DETACHED));
}

/* How a node is to be made. */
struct node_options {
	unsigned flags;
	unsigned kind;	      /* enum ctx_table_kind */
	size_t tail;	      /* bytes behind the node */
	uint64_t deadline_ns; /* own, CTX_FOREVER: none */
	uint64_t now_ns;      /* 0: read the coarse clock */
	const char *label;
	const void *site;
};

/* Memory and record, not yet linked: the caller fills the tail and calls node_publish. NULL: no memory. */
struct ctx_context *node_new(const struct ctx_context *parent, const struct node_options *plan);

/* Links the node to its parent and takes over its end and deadline. */
void node_publish(struct ctx_context *node, uint64_t own_deadline_ns);

/* Links any member, a link too, to member->parent. Returns the parent's positive errno, 0 when it is live. */
int node_link_member(struct ctx_context *member, uint64_t own_deadline_ns);

/* For a reference that somebody else holds now: true unless the node is being freed. */
static inline bool node_pin(struct ctx_context *ctx)
{
	uint32_t refs = atomic_load_explicit(&ctx->refs, memory_order_relaxed);

	while (refs)
		if (atomic_compare_exchange_weak_explicit(&ctx->refs, &refs, refs + 1, memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

/* For a node that cannot be freed now. */
static inline void node_hold(struct ctx_context *ctx)
{
	atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
}

/* May free the node, and run release functions of values: call it without locks. */
void node_unref(struct ctx_context *ctx);

/* Drops, but leaves the freeing to node_free_all: *dead is a list by sweep_next. */
static inline void node_unref_later(struct ctx_context *ctx, struct ctx_context **dead)
{
	if (atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
		return;
	ctx->sweep_next = *dead;
	*dead = ctx;
}
void node_free_all(struct ctx_context *dead);

/* Makes the extension if there is none. NULL: no memory. */
struct extension *node_extend(struct ctx_context *ctx);

/*
 * With the ctx lock held: says that the extension has something to tell. Returns
 * the positive errno if the node is done: then nobody will come for it.
 *
 * Sequentially consistent: a node with a timer is born attached, so nothing is written here. It is
 * node_extend()'s store of the extension, then this look at the state, against a marker's store of the
 * state, then its look at the extension: one of both sees the other.
 */
static inline int node_attach(struct ctx_context *ctx)
{
	uint32_t state = atomic_load(&ctx->state);

	if (!(state & STATE_ATTACHED))
		state = atomic_fetch_or(&ctx->state, STATE_ATTACHED);
	return (int)(state & STATE_ERRNO);
}

/* Shard by number; count says how many numbers there are. */
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
